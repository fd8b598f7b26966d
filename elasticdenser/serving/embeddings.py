"""`/v1/embeddings`, in the form of OpenAI's API."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from elasticdenser.errors import ModelError, QueryError
from elasticdenser.serving.encoding import admitted, in_batches
from elasticdenser.serving.direct import DirectRoute
from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.models import all_encoder_models, encoder_models, unknown_model
from elasticdenser.serving.request_schemas import EmbeddingsRequest
from elasticdenser.serving.schemas import EmbeddingsResponse
from elasticdenser.serving.service import Service, add_log_fields, answering_services

router = APIRouter(prefix="/v1", route_class=DirectRoute)

VectorFormat = Callable[[NDArray[np.float32]], str]
"""Turns a vector, float32 of shape (dim,), into its JSON text."""


@router.post(
    "/embeddings",
    response_model=EmbeddingsResponse,
    responses=error_responses(400, 401, 404, 408, 413, 415, 422, 429, 503),
)
async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """Encode texts, with the full encoder or with the subnet that the model name ends in."""
    services = all_encoder_models(answering_services(request))
    if body.model not in services:
        return unknown_model(body.model, services)
    service = services[body.model]
    subnets = encoder_models(service)
    if body.dimensions not in (None, *accepted_dimensions(service)):
        return _wrong_dimensions(service, body.dimensions)
    with admitted(service.server):
        try:
            texts = await _texts_of(service, body.input)
        except _TokenIdsError as error:
            return error_response(422, f"{error.param}: {error}", param=error.param)
        try:
            vectors, n_tokens = await _embed(service, texts, body, subnets[body.model])
        except ModelError as error:
            if body.input_type != "passage":
                raise
            return error_response(422, str(error), param="input_type")  # a student encodes queries only
    add_log_fields(request, level=subnets[body.model], texts=len(texts))
    service.metrics.count_tokens(n_tokens)
    rows = ", ".join(
        f'{{"object": "embedding", "index": {index}, "embedding": {vector}}}' for index, vector in enumerate(vectors)
    )
    rest = json.dumps({"model": body.model, "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens}})
    return Response(f'{{"object": "list", "data": [{rows}], {rest[1:]}', media_type="application/json")


def accepted_dimensions(service: Service) -> range:
    """Return the lengths of vectors that clients may ask for; the last is the default.

    Only an encoder whose vectors are cut already is known to bear shorter ones.
    """
    encoder = service.retriever.encoder
    return range(1 if encoder.is_cut else encoder.dim, encoder.dim + 1)


def _wrong_dimensions(service: Service, got: int | None) -> Response:
    dim = service.retriever.encoder.dim
    if len(accepted_dimensions(service)) > 1:
        message = f"got dimensions = {got}; expected 1 to {dim}, the dimension of the index"
    else:
        message = (
            f"got dimensions = {got}; expected {dim}, the dimension of this encoder: leave it out. Shorter vectors are "
            "cut only from an encoder known to be trained for it (Matryoshka): by truncate_dim in its "
            "config_sentence_transformers.json, or an index made with --dim"
        )
    return error_response(422, message, param="dimensions")


class _TokenIdsError(QueryError):
    """Token ids that cannot be read.

    Attributes:
        param: The field that holds them, such as `input[3]`.
    """

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


async def _texts_of(service: Service, given: str | list[str] | list[int] | list[list[int]]) -> list[str]:
    """Return the texts of an input, token ids turned into the texts that they stand for.

    Raises:
        _TokenIdsError: Token ids cannot be read.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], str):
        return given
    is_list = isinstance(given[0], list)
    token_lists = cast(list[list[int]], given if is_list else [given])

    def read_batch(numbers: Sequence[int]) -> list[str]:
        return [_read_token_ids(service, token_lists[n], f"input[{n}]" if is_list else "input") for n in numbers]

    batches = await in_batches(service.server, range(len(token_lists)), read_batch)
    return [text for texts in batches for text in texts]


def _read_token_ids(service: Service, token_ids: list[int], param: str) -> str:
    try:
        text = service.read_token_ids(token_ids)
    except QueryError as error:
        raise _TokenIdsError(str(error), param) from None
    if not text.strip():
        raise _TokenIdsError("got the token ids of a blank text; expected text with a visible character", param)
    return text


async def _embed(service: Service, texts: list[str], body: EmbeddingsRequest, subnet: str) -> tuple[list[str], int]:
    """Return the vectors of texts as JSON texts, and the number of tokens."""
    encoder = service.retriever.encoder
    encode = encoder.encode_passages if body.input_type == "passage" else encoder.encode
    vector_format: VectorFormat = _base64_json if body.encoding_format == "base64" else _float_list_json

    def embed_batch(batch: Sequence[str]) -> tuple[list[str], int]:
        # A call of json.dumps keeps the interpreter to itself: one call for each vector lets other threads run between.
        vectors = encoder.cut(encode(batch, subnet), body.dimensions or encoder.dim)
        return [vector_format(vector) for vector in vectors], sum(encoder.count_tokens(batch))

    batches = await in_batches(service.server, texts, embed_batch)
    return [vector for vectors, _ in batches for vector in vectors], sum(n_tokens for _, n_tokens in batches)


def _base64_json(vector: NDArray[np.float32]) -> str:
    return f'"{b64encode(vector.astype("<f4").tobytes()).decode()}"'


def _float_list_json(vector: NDArray[np.float32]) -> str:
    return json.dumps(vector.tolist())
