"""Tables of TOML as frozen dataclasses: unknown keys, missing ones and wrong types are refused by name."""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from elasticdenser.artifacts import check_name
from elasticdenser.errors import BadInputError, QueryError

T = TypeVar("T")


def read_file(path: str | Path, what: str, make: Callable[[dict[str, Any]], T]) -> T:
    """Read a TOML file and make something of it, naming the file in every error.

    Args:
        path: The file.
        what: What messages call it, such as `suite`.
        make: Takes the file's content.

    Raises:
        BadInputError: It is missing, no TOML, or says something that cannot be.
    """
    path = Path(path)
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"cannot read this {what} ({error.strerror}): expected a .toml file", path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"this is no TOML ({error}): repair it", path) from error
    try:
        return make(value)
    except (BadInputError, QueryError) as error:
        raise BadInputError(str(error), path) from error


def read_tables(value: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the tables `[key.NAME]` by name.

    Raises:
        BadInputError: There is none, or it is no table, or its name will not do.
    """
    table = value.get(key)
    if not isinstance(table, dict) or not table:
        raise BadInputError(f"there are no {key}: expected at least one table [{key}.NAME]")
    for name, its in table.items():
        check_name(f"table in {key}", name)
        if not isinstance(its, dict):
            raise BadInputError(f"{key}.{name} is {its!r}: expected a table [{key}.{name}]")
    return table


def read_table(kind: type[T], value: dict[str, Any], where: str) -> T:
    """Make settings of a table.

    Args:
        kind: A dataclass.
        value: The table.
        where: What messages call it.

    Raises:
        BadInputError: A key is unknown or missing, or a value of the wrong type.
    """
    hints = typing.get_type_hints(kind)
    known = {one.name: one for one in fields(kind)}  # type: ignore[arg-type]
    if unknown := [key for key in value if key not in known]:
        raise BadInputError(f"{where}: unknown key {unknown[0]!r}, expected some of {', '.join(known)}")
    required = [key for key, one in known.items() if one.default is MISSING and one.default_factory is MISSING]
    if missing := [key for key in required if key not in value]:
        raise BadInputError(f"{where}: {missing[0]!r} is missing: add it")
    return kind(**{key: typed(its, hints[key], f"{where}.{key}") for key, its in value.items()})


def typed(value: Any, kind: Any, where: str) -> Any:
    """Return a value of TOML as `kind`: bool, int, float, str, a tuple of these, or one or a tuple of them.

    Raises:
        BadInputError: It is of another type.
    """
    if isinstance(kind, types.UnionType):
        wants_list = isinstance(value, list)
        kind = next(part for part in kind.__args__ if isinstance(part, types.GenericAlias) == wants_list)
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, list) or not value:
            raise BadInputError(f"{where}: got {value!r}, expected a list with at least one item")
        return tuple(typed(item, kind.__args__[0], where) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise BadInputError(f"{where}: got {value!r}, expected a value of type {kind.__name__}")
    return value
