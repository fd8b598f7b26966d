"""Web server: a retrieval engine behind HTTP. Needs the extra `serve`; no other package imports this one."""

from __future__ import annotations

from importlib.util import find_spec

from elasticdenser.errors import MissingExtraError

_REQUIRED_MODULES = ("fastapi", "uvicorn", "httptools", "prometheus_client")


def check_installed() -> None:
    """Check, before any work, that the packages which the server needs are installed.

    Raises:
        MissingExtraError: A package is not installed.
    """
    if any(find_spec(name) is None for name in _REQUIRED_MODULES):
        raise MissingExtraError("elasticdenser serve", "serve")
