"""Errors as responses: a status, and one line of JSON that says what was got, what was expected and the way out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from elasticdenser.engine.errors import EngineClosedError, OverloadedError, WorkerError
from elasticdenser.errors import ElasticDenserError, QueryError
from elasticdenser.serving.schemas import Refusal
from elasticdenser.serving.settings import MOST_QUERIES

# Status: (type, as OpenAI's clients know it; code; what it means).
KINDS = {
    400: ("invalid_request_error", "bad_request", "The request is no HTTP, or its body no JSON."),
    401: ("authentication_error", "unauthorized", "The API key is missing or wrong."),
    404: ("invalid_request_error", "not_found", "There is no such path, model or document."),
    405: ("invalid_request_error", "method_not_allowed", "The path does not have this method."),
    408: ("invalid_request_error", "too_slow", "The body did not come in time."),
    413: ("invalid_request_error", "too_large", "The body is too large."),
    415: ("invalid_request_error", "wrong_content_type", "The content type is not application/json."),
    421: ("invalid_request_error", "wrong_host", "The server is not to be called by that name."),
    422: ("invalid_request_error", "invalid", "The request is not as described."),
    429: ("rate_limit_error", "overloaded", "It could not be answered in time."),
    500: ("server_error", "failed", "The search has failed."),
    503: ("server_error", "unavailable", "The server is stopping, or not ready yet."),
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
_INPUT = f"text, or a list of 1 to {MOST_QUERIES} texts, none of them blank; token ids are not taken"
_EXAMPLE = 'an object, such as {"query": "who wrote dune"}'
_LONGEST_SHOWN = 60
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "finite_number": "a finite number",
    "string_pattern_mismatch": "text with at least one visible character",
    "string_unicode": "text that is Unicode",
    "string_too_short": "at least {min_length} character(s)",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than_equal": "a number of at most {le}",
    "literal_error": "{expected}",
    "int_parsing": "a whole number",
    "model_attributes_type": "a JSON object",
    "model_type": "a JSON object",
    "dict_type": "a JSON object",
}


def problem(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error as a response; None is the status's own code."""
    kind, usual, _ = KINDS.get(status, KINDS[400 if status < 500 else 500])
    error = {"message": " ".join(message.split()), "type": kind, "code": code or usual, "param": param}
    # In ASCII: what a client sent may hold what has no encoding.
    return Response(json.dumps({"error": error}), status, headers, media_type="application/json")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how the description of the API states these errors, and those that every path has."""
    made: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 421, 500}):
        made[status] = {"model": Refusal, "description": KINDS[status][2]}
        if status in (429, 503):
            made[status]["headers"] = _RETRY_AFTER
    return made


def problem_of(error: ElasticDenserError) -> Response:
    """Return what a client gets for an error of the package."""
    if isinstance(error, OverloadedError):
        return problem(429, str(error), headers={"Retry-After": str(max(1, math.ceil(error.retry_after_s)))})
    if isinstance(error, EngineClosedError):
        return unavailable("the server is stopping")
    if isinstance(error, WorkerError):
        return problem(500, "the search has failed: try again; the server's log says why")
    return problem(422 if isinstance(error, QueryError) else 500, str(error))


def unavailable(why: str) -> Response:
    """Return that there will be no answer here for now."""
    return problem(503, f"{why}: try again, or another server", headers={"Retry-After": "1"})


def register(app: FastAPI) -> None:
    """Let the app answer all its errors in this form."""

    @app.exception_handler(ElasticDenserError)
    async def _of_ours(request: Request, error: ElasticDenserError) -> Response:
        if error.__cause__ is not None:  # a batch that failed: its reason is for the log, not for the client
            request.scope["notes"]["error"] = str(error)
        return problem_of(error)

    @app.exception_handler(HTTPException)
    async def _of_http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404 and error.detail == "Not Found":
            return problem(404, f"there is nothing at {_shown(request.url.path)}: see /openapi.json for what there is")
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            return problem(405, f"got {request.method}; expected {allowed}", headers=error.headers)
        if error.status_code == 400:  # deeply nested, or numbers of thousands of digits
            return problem(400, f"the body cannot be read as JSON: send {_EXAMPLE}")
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _of_input(request: Request, error: RequestValidationError) -> Response:
        sent = request.headers.get("content-type", "")
        if request.method == "POST" and not is_json(sent):
            return problem(415, f"got content type {_shown(sent)}; expected application/json")
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            why = first.get("ctx", {}).get("error", "")
            return problem(400, f"the body is no JSON ({why}): send {_EXAMPLE}")
        param = _param(first["loc"])
        return problem(422, _explained(first, param), param=param or None)


def is_json(content_type: str) -> bool:
    """Return whether a content type is JSON's."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _param(loc: Sequence[str | int]) -> str:
    """Return the field that a validation error is about, such as `queries[3]`."""
    parts = list(loc[1:])
    if parts and parts[0] in ("query", "queries") and loc[0] == "body":
        parts = parts[1:]  # which of the two forms it is
    if parts and parts[0] == "input":
        return "input"
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _explained(error: Mapping[str, Any], param: str) -> str:
    kind, got, context = error["type"], error.get("input"), error.get("ctx", {})
    where = param or "the body"
    if param == "input" and kind != "missing":
        return f"input: got {_shown(got)}; expected {_INPUT}"
    if kind == "missing":
        return f"{where} is missing: see /openapi.json for what is expected"
    if kind == "extra_forbidden":
        return f"unknown field {_shown(param)}: leave it out, or see /openapi.json for how it is spelled"
    if kind == "string_too_long":
        return f"{where}: got {len(str(got)):,} characters; expected at most {context['max_length']:,}: shorten it"
    if kind == "too_long":
        return f"{where}: got a list of {context['actual_length']:,}; expected at most {context['max_length']:,}"
    if kind == "too_short":
        return f"{where}: got an empty list; expected at least {context['min_length']}, or leave it out"
    wanted = _WANTED[kind].format(**context) if kind in _WANTED else error["msg"]
    return f"{where}: got {_shown(got)}; expected {wanted}"


def _shown(value: Any) -> str:
    """Return a value as it may stand in a line."""
    shown = ascii(value)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
