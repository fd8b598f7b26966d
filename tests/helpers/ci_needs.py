"""Things that a test needs and that not every machine has."""

from __future__ import annotations

import os

import pytest


def require(what: object, message: str) -> None:
    """Skip the test if something is missing; fail it in continuous integration, where nobody reads about skips."""
    if what:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{message}: the variable CI is set, so these tests must run")
    pytest.skip(message)
