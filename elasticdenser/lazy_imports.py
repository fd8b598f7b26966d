"""Imports that happen late or not at all: public names imported when they are first used, and optional packages."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from elasticdenser.errors import MissingExtraError


def lazy_attributes(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package (PEP 562).

    Args:
        package: The package's `__name__`.
        modules: Public name -> module that defines it, relative to the package.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get


def is_installed(*modules: str) -> bool:
    """Return whether all these top-level modules are installed; none is imported."""
    return all(find_spec(module) is not None for module in modules)


def check_installed(what: str, extra: str, *modules: str) -> None:
    """Check, before any work, that the modules which a feature needs are installed.

    Args:
        what: The feature, for the message.
        extra: The extra of this package that installs them.
        modules: Top-level modules; none is imported.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    if not is_installed(*modules):
        raise MissingExtraError(what, extra)
