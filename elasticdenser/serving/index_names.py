"""Names of the indexes of one server, which are parts of their paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from elasticdenser.errors import QueryError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROOT = "/indexes/"


def is_index_name(name: str) -> bool:
    """Return whether an index may have this name."""
    return _NAME.fullmatch(name) is not None


def checked_names(names: Iterable[str]) -> list[str]:
    """Return the names of indexes.

    Raises:
        QueryError: There are none, or one of them cannot be a part of a path, or is there twice.
    """
    checked = list(names)
    if not checked:
        raise QueryError("got no index; expected at least one")
    for name in checked:
        if not is_index_name(name):
            message = f"got {name!a} as the name of an index; expected up to 64 letters, digits and any of . _ -"
            raise QueryError(f"{message}, the first a letter or a digit: give NAME=PATH")
        if checked.count(name) > 1:
            raise QueryError(f"got two indexes with the name {name}; expected one: give others as NAME=PATH")
    return checked


def prefix_of(name: str) -> str:
    """Return the path below which an index has its paths."""
    return f"{_ROOT}{name}"


def split_path(path: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the index that a path is for, the first one if it names none, and the path below that of the index.

    Args:
        path: The path of a request.
        names: Names of the indexes.
    """
    if path.startswith(_ROOT):
        name, slash, rest = path.removeprefix(_ROOT).partition("/")
        if slash and name in names:
            return name, f"/{rest}"
    return names[0], path
