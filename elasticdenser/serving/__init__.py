"""Web server: a retrieval engine behind HTTP. Needs the extra `serve`; no other package imports this one."""

from __future__ import annotations

from elasticdenser import lazy_imports

_REQUIRED_MODULES = ("fastapi", "uvicorn", "httptools", "prometheus_client")


def check_installed() -> None:
    """Check, before any work, that the packages which the server needs are installed.

    Raises:
        MissingExtraError: A package is not installed.
    """
    lazy_imports.check_installed("elasticdenser serve", "serve", *_REQUIRED_MODULES)
