"""`/v1/embeddings` and `/v1/models`, in the form of OpenAI's API."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.schemas import EmbeddingsRequest, EmbeddingsResponse, Model, Models
from elasticdenser.serving.service import Service, add_log_fields, service_of

router = APIRouter(prefix="/v1")

_MAX_SHOWN_NAME = 100
_TEXTS_PER_BATCH = 16
"""Between two batches other requests get their turn, and a server that stops can stop."""

VectorFormat = Callable[[NDArray[np.float32]], str]
"""Turns a vector, float32 of shape (dim,), into its JSON text."""


@router.post(
    "/embeddings",
    response_model=EmbeddingsResponse,
    responses=error_responses(400, 401, 404, 408, 413, 415, 422, 429, 503),
)
async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """Encode texts as queries, with the full encoder or with the subnet that the model name ends in."""
    service = service_of(request)
    subnets = subnets_by_model(service)
    if body.model not in subnets:
        return _unknown_model(service, body.model)
    dim = service.retriever.encoder.dim
    if body.dimensions not in (None, dim):
        message = f"got dimensions = {body.dimensions}; expected {dim}, the dimension of this encoder: leave it out"
        return error_response(422, message, param="dimensions")
    texts = [body.input] if isinstance(body.input, str) else body.input
    vector_format = _base64_json if body.encoding_format == "base64" else _float_list_json
    vectors, n_tokens = await _embed(service, texts, subnets[body.model], vector_format)
    add_log_fields(request, level=subnets[body.model], texts=len(texts))
    service.metrics.count_tokens(n_tokens)
    rows = ", ".join(
        f'{{"object": "embedding", "index": {index}, "embedding": {vector}}}' for index, vector in enumerate(vectors)
    )
    rest = json.dumps({"model": body.model, "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens}})
    return Response(f'{{"object": "list", "data": [{rows}], {rest[1:]}', media_type="application/json")


@router.get("/models", response_model=Models, responses=error_responses(401, 503))
async def models(request: Request) -> dict[str, Any]:
    """List the subnets of the encoder as models; the encoder's name alone is the full encoder."""
    service = service_of(request)
    return {"object": "list", "data": [_model_object(service, name) for name in subnets_by_model(service)]}


@router.get("/models/{model:path}", response_model=Model, responses=error_responses(401, 404, 503))
async def model(
    request: Request, model: Annotated[str, Path(description="The model's name; slashes need not be escaped.")]
) -> dict[str, Any] | Response:
    """Return one subnet of the encoder."""
    service = service_of(request)
    return _model_object(service, model) if model in subnets_by_model(service) else _unknown_model(service, model)


def subnets_by_model(service: Service) -> dict[str, str]:
    """Return the subnet of every model name, the full encoder first."""
    encoder = service.retriever.encoder
    return {service.model: str(encoder.full_subnet)} | {
        f"{service.model}/{subnet}": str(subnet) for subnet in encoder.subnets
    }


def _model_object(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": service.started, "owned_by": "elasticdenser"}


def _unknown_model(service: Service, name: str) -> Response:
    example = list(subnets_by_model(service))[-1]
    message = f"got model {name[:_MAX_SHOWN_NAME]!a}; expected {service.model}, or a subnet of it such as {example}"
    return error_response(404, f"{message}: GET /v1/models lists all", param="model", code="model_not_found")


async def _embed(service: Service, texts: list[str], subnet: str, vector_format: VectorFormat) -> tuple[list[str], int]:
    """Return the vectors of texts as JSON texts, and the number of tokens.

    Raises:
        OverloadedError: Too many requests for embeddings are waiting.
    """
    if service.n_encoding >= service.settings.max_encoding:
        message = f"{service.n_encoding} requests for embeddings are waiting: try again later"
        raise OverloadedError(message, retry_after_s=1.0)
    encoder, loop = service.retriever.encoder, asyncio.get_running_loop()

    def embed_batch(batch: list[str]) -> tuple[list[str], int]:
        # A call of json.dumps keeps the interpreter to itself: one call for each vector lets other threads run between.
        return [vector_format(vector) for vector in encoder.encode(batch, subnet)], sum(encoder.count_tokens(batch))

    service.n_encoding += 1
    try:
        # A client that hangs up is noticed only at the end: its batches are not cancelled.
        batches = [
            await loop.run_in_executor(service.encoding_pool, embed_batch, texts[start : start + _TEXTS_PER_BATCH])
            for start in range(0, len(texts), _TEXTS_PER_BATCH)
        ]
    finally:
        service.n_encoding -= 1
    return [vector for vectors, _ in batches for vector in vectors], sum(n_tokens for _, n_tokens in batches)


def _base64_json(vector: NDArray[np.float32]) -> str:
    return f'"{b64encode(vector.astype("<f4").tobytes()).decode()}"'


def _float_list_json(vector: NDArray[np.float32]) -> str:
    return json.dumps(vector.tolist())
