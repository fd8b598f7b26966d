"""The web server: an engine behind HTTP. Needs the extra `serve`; nothing else of the package imports it."""

from __future__ import annotations

from importlib.util import find_spec

from elasticdenser.errors import MissingExtraError

_NEEDED = ("fastapi", "uvicorn", "httptools", "prometheus_client")


def check_installed() -> None:
    """Refuse to go on without what serving needs, before any work.

    Raises:
        MissingExtraError: Some of it is not installed.
    """
    if any(find_spec(name) is None for name in _NEEDED):
        raise MissingExtraError("elasticdenser serve", "serve")
