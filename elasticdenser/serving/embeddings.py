"""`/v1/embeddings` and `/v1/models`, as OpenAI's clients know them."""

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
from elasticdenser.serving.errors import documented, problem
from elasticdenser.serving.schemas import EmbeddingsRequest, EmbeddingsResponse, Model, Models
from elasticdenser.serving.service import Service, note_for_log, service_of

router = APIRouter(prefix="/v1")

_LONGEST_NAME = 100
_AT_ONCE = 16
"""Texts that are encoded before other requests get their turn, and before a server that stops can."""


@router.post(
    "/embeddings",
    response_model=EmbeddingsResponse,
    responses=documented(400, 401, 404, 408, 413, 415, 422, 429, 503),
)
async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """Encode texts as queries are encoded, at the full size or at the one that the model's name ends in."""
    service = service_of(request)
    sizes = models_of(service)
    if body.model not in sizes:
        return _no_model(service, body.model)
    dim = service.retriever.encoder.dim
    if body.dimensions not in (None, dim):
        message = f"got dimensions = {body.dimensions}; vectors of this encoder have {dim}: leave it out"
        return problem(422, message, param="dimensions")
    texts = [body.input] if isinstance(body.input, str) else body.input
    as_sent = _base64 if body.encoding_format == "base64" else _floats
    vectors, tokens = await _encoded(service, texts, sizes[body.model], as_sent)
    note_for_log(request, level=sizes[body.model], texts=len(texts))
    service.metrics.embedded(tokens)
    rows = ", ".join(
        f'{{"object": "embedding", "index": {number}, "embedding": {vector}}}' for number, vector in enumerate(vectors)
    )
    rest = json.dumps({"model": body.model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
    return Response(f'{{"object": "list", "data": [{rows}], {rest[1:]}', media_type="application/json")


@router.get("/models", response_model=Models, responses=documented(401, 503))
async def models(request: Request) -> dict[str, Any]:
    """List the sizes of the encoder; its name alone is the full one."""
    service = service_of(request)
    return {"object": "list", "data": [_described(service, name) for name in models_of(service)]}


@router.get("/models/{model:path}", response_model=Model, responses=documented(401, 404, 503))
async def model(
    request: Request, model: Annotated[str, Path(description="Slashes may stand as they are.")]
) -> dict[str, Any] | Response:
    """Return one size of the encoder."""
    service = service_of(request)
    return _described(service, model) if model in models_of(service) else _no_model(service, model)


def models_of(service: Service) -> dict[str, str]:
    """Return the size of every model name, the full one first."""
    encoder = service.retriever.encoder
    return {service.model: str(encoder.full_subnet)} | {
        f"{service.model}/{size}": str(size) for size in encoder.subnets
    }


def _described(service: Service, name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": service.started, "owned_by": "elasticdenser"}


def _no_model(service: Service, name: str) -> Response:
    known = f"{service.model}, or that with a size, such as {list(models_of(service))[-1]}; GET /v1/models lists all"
    message = f"got model {name[:_LONGEST_NAME]!a}; expected {known}"
    return problem(404, message, param="model", code="model_not_found")


async def _encoded(
    service: Service, texts: list[str], size: str, as_sent: Callable[[NDArray[np.float32]], str]
) -> tuple[list[str], int]:
    """Return the vectors as they are sent, in JSON, and the number of tokens.

    Raises:
        OverloadedError: Too many wait for that.
    """
    if service.n_encoding >= service.settings.max_encoding:
        message = f"{service.n_encoding} requests for embeddings are waiting: try again later"
        raise OverloadedError(message, retry_after_s=1.0)
    encoder, loop = service.retriever.encoder, asyncio.get_running_loop()

    def encode(some: list[str]) -> tuple[list[str], int]:
        # Vectors are written one by one: nothing else runs while json works.
        return [as_sent(vector) for vector in encoder.encode(some, size)], sum(encoder.count_tokens(some))

    service.n_encoding += 1
    try:
        # A client that has gone is noticed only at the end: there is no queue of its texts to take them out of.
        parts = [
            await loop.run_in_executor(service.encoding, encode, texts[start : start + _AT_ONCE])
            for start in range(0, len(texts), _AT_ONCE)
        ]
    finally:
        service.n_encoding -= 1
    return [vector for vectors, _ in parts for vector in vectors], sum(tokens for _, tokens in parts)


def _base64(vector: NDArray[np.float32]) -> str:
    return f'"{b64encode(vector.astype("<f4").tobytes()).decode()}"'


def _floats(vector: NDArray[np.float32]) -> str:
    return json.dumps(vector.tolist())
