"""Routes that take a JSON body: FastAPI describes them, but requests do not go through it.

FastAPI's way to an endpoint (middleware, routing, exit stacks, dependencies) takes longer than the search of a small
subnet. A `DirectRoute` reads and checks the body itself, with the model that also describes it, and a `DirectRouter`
finds the route by its path.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, get_type_hints

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from elasticdenser.errors import ElasticDenserError
from elasticdenser.serving.errors import flat_routes, is_json, response_to
from elasticdenser.serving.fast_json import JsonResponse, json_bytes, json_value

Endpoint = Callable[[Any, Request], Awaitable[Any]]
"""Takes the checked body and the request, and returns a response, or a value that becomes one as JSON."""


class DirectRoute(APIRoute):
    """Route of an endpoint `async def endpoint(body: Model, request: Request)`.

    Args:
        path: The path, which is constant.
        endpoint: The endpoint.
        options: As for `APIRoute`; those for dependencies and the rendering of responses have no effect.
    """

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._body = TypeAdapter[Any](get_type_hints(endpoint, include_extras=True)["body"])

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that FastAPI has found to be for this path."""
        if scope["method"] in (self.methods or ()):
            await self.answer(scope, receive, send)
        else:
            await super().handle(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        try:
            body = self._checked(await _read(receive), request)
            answer = await self.endpoint(body, request)
            response = answer if isinstance(answer, Response) else JsonResponse(json_bytes(answer))
        except (ElasticDenserError, HTTPException, RequestValidationError) as error:
            response = response_to(request, error)
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body})

    def _checked(self, content: bytes, request: Request) -> Any:
        """Return the body of a request as its model.

        Raises:
            RequestValidationError: It is not JSON, or does not fit the model; the reasons are those of FastAPI.
            HTTPException: It cannot be read at all.
        """
        if not content:
            raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
        if not is_json(request.headers.get("content-type", "")):
            raise RequestValidationError([{"type": "model_attributes_type", "loc": ("body",), "input": content}])
        try:
            return self._body.validate_python(json_value(content))
        except ValidationError as error:
            # Later faults are not reported.
            first = error.errors(include_url=False)[0]
            raise RequestValidationError([{**first, "loc": ("body", *first["loc"])}]) from error
        except json.JSONDecodeError as error:
            fault = {"type": "json_invalid", "loc": ("body", error.pos), "ctx": {"error": error.msg}}
            raise RequestValidationError([fault]) from error
        except (RecursionError, ValueError) as error:
            raise HTTPException(400) from error


class DirectRouter:
    """Passes a request for a direct route to that route, and any other one to the application.

    Args:
        app: The application.
        indexes: Applications whose direct routes are served, by the prefix of their paths.
    """

    def __init__(self, app: ASGIApp, indexes: Mapping[str, FastAPI]) -> None:
        self._app = app
        self._routes = {
            (method, f"{prefix}{route.path}"): (own, route)
            for prefix, own in indexes.items()
            for route in _direct_routes(own)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        found = self._routes.get((scope["method"], scope["path"]))
        if found is None or scope.get("root_path"):
            await self._app(scope, receive, send)
        else:
            scope["app"], scope["route"] = found
            await found[1].answer(scope, receive, send)


def _direct_routes(app: FastAPI) -> Iterator[DirectRoute]:
    return (route for route in flat_routes(app.routes) if isinstance(route, DirectRoute))


async def _read(receive: Receive) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPException: The client hung up before it was complete.
    """
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400)
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
