"""Requests of a load test over HTTP, and what their responses say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from time import perf_counter
from typing import Annotated, Any, Protocol

import msgspec

from elasticdenser.engine.request import Status
from elasticdenser.loadtest.target import LoadRequest, LoadResponse

_LEAST_DEADLINE_MS = 0.1


class HttpApi(Protocol):
    """One path of a server."""

    @property
    def path(self) -> str:
        """The path, below the URL of the server."""

    def body_of(self, request: LoadRequest) -> dict[str, Any]:
        """Return the body of a request."""

    def read(self, number: int, body: bytes) -> LoadResponse:
        """Return what the body of a response with status 200 says, for the request of this number.

        Raises:
            msgspec.DecodeError: It is not such a response.
        """


@dataclass(frozen=True)
class _QueryResult:
    level: str
    queued_ms: float
    ran_ms: float
    late: bool


@dataclass(frozen=True)
class _SearchResponse:
    results: Annotated[list[_QueryResult], msgspec.Meta(min_length=1)]


# Fields that a load test does not need, such as the hits, are skipped.
_SEARCH_RESPONSE = msgspec.json.Decoder(_SearchResponse)


@dataclass(frozen=True, kw_only=True)
class SearchApi:
    """`POST /search` of `elasticdenser serve`: each request has the time until its deadline.

    Args:
        with_text: Whether hits include their texts.
    """

    with_text: bool = False
    path: str = "/search"

    def body_of(self, request: LoadRequest) -> dict[str, Any]:
        """See `HttpApi`."""
        remaining_ms = max(_LEAST_DEADLINE_MS, 1000 * (request.deadline_s - perf_counter()))
        fields = {"query": request.text, "k": request.k, "deadline_ms": round(remaining_ms, 3)}
        return {**fields, "with_text": self.with_text}

    def read(self, number: int, body: bytes) -> LoadResponse:
        """See `HttpApi`."""
        result = _SEARCH_RESPONSE.decode(body).results[0]
        status = Status.LATE if result.late else Status.IN_TIME
        return LoadResponse(number, status, result.level, queued_s=result.queued_ms / 1000, ran_s=result.ran_ms / 1000)


@dataclass(frozen=True, kw_only=True)
class EmbeddingsApi:
    """Embeddings of one text, in the form of OpenAI's API; responses are not read, only counted.

    Args:
        model: Name of the model.
        path: The path.
        options: Further fields of requests.
    """

    model: str
    path: str = "/v1/embeddings"
    options: tuple[tuple[str, Any], ...] = ()

    def body_of(self, request: LoadRequest) -> dict[str, Any]:
        """See `HttpApi`."""
        return {"model": self.model, "input": request.text, **dict(self.options)}

    def read(self, number: int, body: bytes) -> LoadResponse:
        """See `HttpApi`."""
        return LoadResponse(number, Status.IN_TIME, self.model)


def read_response(api: HttpApi, number: int, status: int, body: bytes) -> LoadResponse:
    """Return what a response says."""
    if status == 429:
        return LoadResponse(number, Status.REFUSED)
    if status != 200:
        return LoadResponse(number, Status.FAILED)
    try:
        return api.read(number, body)
    except msgspec.DecodeError:
        return LoadResponse(number, Status.FAILED)


def body_bytes(api: HttpApi, request: LoadRequest) -> bytes:
    """Return the body of a request as JSON."""
    return json.dumps(api.body_of(request)).encode()
