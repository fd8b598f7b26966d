"""Errors as HTTP responses.

Each is a status and one line of JSON that says what was got, what was expected, and the way out.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from elasticdenser.engine.errors import EngineClosedError, OverloadedError, WorkerError
from elasticdenser.errors import ElasticDenserError, QueryError
from elasticdenser.serving.request_schemas import TAGS
from elasticdenser.serving.schemas import ErrorResponse
from elasticdenser.serving.settings import MAX_TEXTS

_log = logging.getLogger("elasticdenser.serving")


class _ErrorKind(NamedTuple):
    """Defaults of the responses that have one status.

    Attributes:
        type: Type of the error, a value that OpenAI's clients know.
        code: Code of the error unless a response has a more specific one.
        description: Meaning of the status in the description of the API.
    """

    type: str
    code: str
    description: str


_KINDS = {
    400: _ErrorKind("invalid_request_error", "bad_request", "The request is not HTTP, or its body is not JSON."),
    401: _ErrorKind("authentication_error", "unauthorized", "The API key is missing or wrong."),
    403: _ErrorKind("invalid_request_error", "read_only", "The server takes no changes."),
    404: _ErrorKind("invalid_request_error", "not_found", "The path, the model or a document does not exist."),
    405: _ErrorKind("invalid_request_error", "method_not_allowed", "The path does not have this method."),
    408: _ErrorKind("invalid_request_error", "too_slow", "The request did not arrive in time."),
    409: _ErrorKind("invalid_request_error", "conflict", "The index cannot be changed in this way."),
    413: _ErrorKind("invalid_request_error", "too_large", "The body is too large."),
    415: _ErrorKind("invalid_request_error", "wrong_content_type", "The content type is not application/json."),
    421: _ErrorKind("invalid_request_error", "wrong_host", "The server does not accept requests for this host name."),
    422: _ErrorKind("invalid_request_error", "invalid", "The request does not have the described form."),
    429: _ErrorKind("rate_limit_error", "overloaded", "The request could not be answered in time."),
    500: _ErrorKind("server_error", "failed", "The search failed."),
    503: _ErrorKind("server_error", "unavailable", "The server is stopping, or is not ready yet."),
}
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that hung up before its response."""

_RETRY_AFTER_HEADER = {
    "Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer", "minimum": 1}}
}
_WAY_OUT_OF_BAD_JSON = "send an object of JSON; /openapi.json has an example for each path"
_MAX_QUOTED = 60  # characters; a message stays readable on one line
_MAX_NAMED = 8  # fields of an object
_EXPECTED = {
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
    "union_tag_not_found": f"a text, a list of up to {MAX_TEXTS:,} texts, or their token ids",
    "document_type": "text, or an object with a field text",
}
"""Expected values in messages, by the type of the error of pydantic."""


def error_response(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response that reports an error.

    Args:
        status: The HTTP status.
        message: What was got, what was expected, and the way out.
        param: The field of the request that caused the error, if one did.
        code: A more specific code than the default of the status.
        headers: Further headers.
    """
    kind = _KINDS.get(status, _KINDS[400 if status < 500 else 500])
    error = {"message": " ".join(message.split()), "type": kind.type, "code": code or kind.code, "param": param}
    # json.dumps escapes everything beyond ASCII: a message may quote lone surrogates, which UTF-8 cannot hold.
    return Response(json.dumps({"error": error}), status, headers, media_type="application/json")


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of error responses for FastAPI: of these statuses and of those that every path has."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted({*statuses, 421, 500}):
        responses[status] = {"model": ErrorResponse, "description": _KINDS[status].description}
        if status in (429, 503):
            responses[status]["headers"] = _RETRY_AFTER_HEADER
    return responses


def log_failure(scope: Scope, error: BaseException) -> None:
    """Log the traceback of an error that a request has met."""
    _log.error("request %s failed", scope.get("request_id"), exc_info=error)


def unavailable_response(reason: str) -> Response:
    """Return a response that says that this server does not answer requests at the moment."""
    return error_response(503, f"{reason}: try again, or another server", headers={"Retry-After": "1"})


def register_handlers(app: FastAPI) -> None:
    """Make an application report all its errors as `error_response` does."""
    for kind in (ElasticDenserError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _handle)


async def _handle(request: Request, error: Exception) -> Response:
    return response_to(request, error)


def response_to(request: Request, error: Exception) -> Response:
    """Return the response to a request that raised an error of the package, of Starlette or of validation.

    Raises:
        Exception: It is another error: a bug.
    """
    if isinstance(error, ElasticDenserError):
        return _package_error_response(request, error)
    if isinstance(error, HTTPException):
        return _http_error_response(request, error)
    if isinstance(error, RequestValidationError):
        return _invalid_request_response(request, error)
    raise error


def _http_error_response(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404 and error.detail == "Not Found":
        path = _quoted(request.url.path)
        return error_response(404, f"there is nothing at {path}: see /openapi.json for all paths")
    if error.status_code == 405:
        allowed = ", ".join(_methods_at(request)) or (error.headers or {}).get("Allow", "another method")
        return error_response(405, f"got {request.method}; expected {allowed}", headers={"Allow": allowed})
    if error.status_code == 400:  # deeply nested, or numbers of thousands of digits
        return error_response(400, f"the body cannot be read as JSON: {_WAY_OUT_OF_BAD_JSON}")
    return error_response(error.status_code, str(error.detail), headers=error.headers)


def _invalid_request_response(request: Request, error: RequestValidationError) -> Response:
    content_type = request.headers.get("content-type", "")
    if request.method in ("POST", "DELETE") and not is_json(content_type):
        return error_response(415, f"got content type {_quoted(content_type)}; expected application/json")
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return error_response(400, f"the body is not JSON ({reason}): {_WAY_OUT_OF_BAD_JSON}")
    param = _field_of(first["loc"])
    return error_response(422, _explain(first, param), param=param or None)


def _package_error_response(request: Request, error: ElasticDenserError) -> Response:
    """Return the response to a request that raised an error of the package; the reasons for failures are logged."""
    if error.__cause__ is not None:  # the reason why a batch failed goes to the log, not to the client
        request.scope["log_fields"]["error"] = str(error)
    if isinstance(error, OverloadedError):
        return error_response(429, str(error), headers={"Retry-After": str(max(1, math.ceil(error.retry_after_s)))})
    if isinstance(error, EngineClosedError):
        return unavailable_response("the server is stopping")
    if isinstance(error, QueryError):
        return error_response(422, str(error))
    log_failure(request.scope, error)
    if isinstance(error, WorkerError):
        return error_response(500, "the search failed: try again; the server's log holds the reason")
    return error_response(500, str(error))


def _methods_at(request: Request) -> list[str]:
    """Return the methods of all routes at the path of a request; Starlette names those of the first alone."""
    at_path = (route for route in flat_routes(request.app.routes) if route.matches(request.scope)[0] is Match.PARTIAL)
    return sorted({method for route in at_path for method in getattr(route, "methods", None) or ()})


def flat_routes(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """Yield routes, those of included routers one by one."""
    for route in routes:
        included = getattr(route, "original_router", None)  # FastAPI keeps included routers as they are
        if included is None:
            yield route
        else:
            yield from flat_routes(included.routes)


def is_json(content_type: str) -> bool:
    """Return whether a content type is that of JSON."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _field_of(location: Sequence[str | int]) -> str:
    """Return the field that caused a validation error, such as `queries[3]`."""
    parts = [part for part in location[1:] if part not in TAGS]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _explain(error: Mapping[str, Any], param: str) -> str:
    """Return the message for an error of pydantic."""
    kind, value, context = error["type"], error.get("input"), error.get("ctx", {})
    where = param or "the body"
    if kind == "missing":
        return f"{where} is missing{_given_instead(value)}: see /openapi.json for what is expected"
    if kind == "extra_forbidden" and "as several queries" in error["loc"] and param == "query":
        return "got both query and queries; expected one of the two"
    if kind == "extra_forbidden":
        return f"unknown field {_quoted(param)}: leave it out, or see /openapi.json for its spelling"
    if kind == "string_too_long":
        return f"{where}: got {len(str(value)):,} characters; expected at most {context['max_length']:,}: shorten it"
    if kind == "too_long":
        limit = f"{context['max_length']:,}"
        return f"{where}: got a list of {context['actual_length']:,}; expected at most {limit}: send several requests"
    if kind == "too_short":
        way_out = ", or leave it out" if param == "doc_ids" else ""
        return f"{where}: got an empty list; expected at least {context['min_length']}{way_out}"
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else error["msg"]
    return f"{where}: got {_quoted(value)}; expected {expected}"


def _given_instead(value: Any) -> str:
    """Return what an object has where a field is missing, which may be that field under another name."""
    if not isinstance(value, Mapping):
        return ""
    names = [_quoted(name) for name in list(value)[:_MAX_NAMED]] + ["..."] * (len(value) > _MAX_NAMED)
    return f"; got {', '.join(names)}" if names else "; got an empty object"


def _quoted(value: Any) -> str:
    """Return a value of JSON for a message: in ASCII, on one line, shortened."""
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=ascii)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}..."
