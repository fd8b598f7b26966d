"""`/v1/embeddings`, in the form of OpenAI's API."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from numpy.typing import NDArray

from elasticdenser.errors import ModelError, QueryError
from elasticdenser.serving.direct import DirectRoute
from elasticdenser.serving.encoding import admitted, in_batches
from elasticdenser.serving.encoding_queue import EncodingMode
from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.fast_json import JsonResponse, json_bytes
from elasticdenser.serving.models import all_encoder_models, unknown_model
from elasticdenser.serving.request_schemas import EmbeddingsRequest
from elasticdenser.serving.schemas import EmbeddingsResponse
from elasticdenser.serving.service import Service, add_log_fields, answering_services
from elasticdenser.serving.settings import TEXTS_PER_BATCH

router = APIRouter(prefix="/v1", route_class=DirectRoute)

VectorFormat = Callable[[NDArray[np.float32]], Any]
"""Turns a vector, float32 of shape (dim,), into what stands for it in JSON."""


@router.post(
    "/embeddings",
    response_model=EmbeddingsResponse,
    responses=error_responses(400, 401, 404, 408, 413, 415, 422, 429, 503),
)
async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
    """Encode texts, with the full encoder or with the subnet that the model name ends in."""
    services = answering_services(request)
    service = next((service for service in services if body.model in service.encoder_models), None)
    if service is None:
        return unknown_model(body.model, all_encoder_models(services))
    subnet = service.encoder_models[body.model]
    if body.dimensions not in (None, *accepted_dimensions(service)):
        return _wrong_dimensions(service, body.dimensions)
    with admitted(service.server):
        try:
            texts = await _texts_of(service, body.input)
        except _TokenIdsError as error:
            return error_response(422, f"{error.param}: {error}", param=error.param)
        try:
            entries, n_tokens = await _embed(service, texts, body, subnet)
        except ModelError as error:
            if body.input_type != "passage":
                raise
            return error_response(422, str(error), param="input_type")  # a student encodes queries only
    add_log_fields(request, level=subnet, texts=len(texts))
    service.metrics.count_tokens(n_tokens)
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    rest = json_bytes({"object": "list", "model": body.model, "usage": usage})
    return JsonResponse(b'{"data":[' + b",".join(entries) + b"]," + rest[1:])


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


async def _embed(service: Service, texts: list[str], body: EmbeddingsRequest, subnet: str) -> tuple[list[bytes], int]:
    """Return the entries of a response, and the number of tokens."""
    encoder = service.retriever.encoder
    mode = EncodingMode(encoder, subnet, body.input_type == "passage")
    vector_format: VectorFormat = _base64_of if body.encoding_format == "base64" else _numbers_of
    entries: list[bytes] = []
    n_tokens = 0
    for start in range(0, len(texts), TEXTS_PER_BATCH):  # in between, other requests get their turn
        encoded = await service.server.encoding_queue.encode(mode, texts[start : start + TEXTS_PER_BATCH])
        n_tokens += sum(encoded.n_tokens)
        for index, vector in enumerate(encoder.cut(encoded.vectors, body.dimensions or encoder.dim), start):
            entries.append(json_bytes({"object": "embedding", "index": index, "embedding": vector_format(vector)}))
    return entries, n_tokens


def _base64_of(vector: NDArray[np.float32]) -> str:
    return b64encode(vector.astype("<f4").tobytes()).decode()


def _numbers_of(vector: NDArray[np.float32]) -> list[float]:
    numbers: list[float] = vector.tolist()
    return numbers
