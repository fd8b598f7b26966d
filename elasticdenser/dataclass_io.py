"""Reader of JSON and TOML into dataclasses: unknown keys, wrong types and values out of range are errors.

Every settings file, manifest and profile is read here. The types are those of the dataclass's annotations; a range is
written `Annotated[int, msgspec.Meta(ge=1)]`, a list that must not be empty
`Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]`.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from threading import RLock
from types import UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from elasticdenser.artifacts import check_name
from elasticdenser.errors import BadInputError, ElasticDenserError, QueryError

T = TypeVar("T")

_MAX_SHOWN = 60
"""Maximum characters of a value in a message: enough to recognise it, and the message stays on one line."""

_CONVERSION_ERRORS = (msgspec.ValidationError, RecursionError, OverflowError, UnicodeEncodeError)

_describing = RLock()
_described: set[Any] = set()
"""Types of which msgspec knows all."""

_PLAIN_TYPES = {
    "int": "a value of type int",
    "float": "a value of type float",
    "str": "a value of type str",
    "bool": "a value of type bool",
    "array": "a list",
    "object": "a table",
}
_PLAIN_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_PLAIN_ITEMS = {"array": "item", "object": "key", "str": "character"}


def read_toml(path: str | Path, what: str, make: Callable[[dict[str, Any]], T]) -> T:
    """Read a TOML file and convert its content, naming the file in every error.

    Args:
        path: The file.
        what: Kind of file for error messages, such as `suite`.
        make: Converts the parsed content.

    Raises:
        BadInputError: The file is missing or not TOML, or `make` refuses its content.
    """
    path = Path(path)
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8-sig"), parse_float=_finite_float)
    except OSError as error:
        raise BadInputError(f"cannot read this {what} ({error.strerror}): expected a .toml file", path) from error
    except RecursionError as error:
        raise BadInputError("this TOML is nested too deeply: flatten it", path) from error
    except ValueError as error:
        raise BadInputError(f"this is not TOML ({error}): repair it", path) from error
    try:
        return make(value)
    except (BadInputError, QueryError) as error:
        raise BadInputError(str(error), path) from error


def loads_json(text: str | bytes) -> Any:
    """Parse strict JSON: every number is finite, and no object has the same key twice; a byte order mark is skipped.

    Raises:
        ValueError: The text is not JSON, or not strict.
    """
    try:
        return json.loads(
            text.removeprefix("\ufeff") if isinstance(text, str) else text,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            object_pairs_hook=_unique_keys,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_tables(value: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the tables `[key.NAME]` by name.

    Raises:
        BadInputError: There is none, or one of them is not a table or has a name that cannot be part of a file name.
    """
    tables = value.get(key)
    if not isinstance(tables, dict) or not tables:
        raise BadInputError(f"there are no {key}: expected at least one table [{key}.NAME]")
    for name, table in tables.items():
        check_name(f"table in {key}", name)
        if not isinstance(table, dict):
            raise BadInputError(f"{key}.{name}: got {_shown(table)}, expected a table [{key}.{name}]")
    return tables


def check_keys(
    value: Mapping[str, Any], known: Collection[str], where: str, error: type[ElasticDenserError] = BadInputError
) -> None:
    """Refuse keys that are not among the known ones.

    Raises:
        ElasticDenserError: Of the type `error`: a key is unknown; the message lists the known ones.
    """
    if unknown := [key for key in value if key not in known]:
        similar = difflib.get_close_matches(str(unknown[0]), known, n=1)
        hint = f": did you mean {similar[0]!r}?" if similar else ""
        raise error(f"{where}: unknown key {_shown(unknown[0])}, expected some of {', '.join(known)}{hint}")


def from_value(kind: type[T], value: Any, where: str, error: type[ElasticDenserError] = BadInputError) -> T:
    """Return a parsed value of JSON or TOML as `kind`, checked all the way down.

    Args:
        kind: A dataclass, or any other type that a field of a dataclass may have. Lists become tuples where the
            annotation says so, whole numbers floats.
        value: Result of a parser: dictionaries, lists, strings, numbers, booleans, None.
        where: Place of the value for error messages, such as `systems.bm25`.
        error: The type of error to raise.

    Raises:
        ElasticDenserError: Of the type `error`: a key is unknown or missing, a value has another type or is out of
            range, or the dataclass refuses it with a ValueError or TypeError. An error of the package that a
            dataclass itself raises passes unchanged.
    """
    _refuse_unknown_keys(kind, value, where, error)
    try:
        return _converted(kind, value)
    except _CONVERSION_ERRORS as fault:
        raise error(_explained(fault, kind, value, where)) from fault


def _converted(kind: type[T], value: Any) -> T:
    """Convert a value, in one thread at a time if it is the first one of its type.

    msgspec 0.22 then stores what it knows of a dataclass before it is complete, and a second thread that uses it ends
    the process.
    """
    with nullcontext() if kind in _described else _describing:
        try:
            converted: T = msgspec.convert(value, kind, str_keys=True)
        finally:
            _described.add(kind)
    return converted


def _refuse_unknown_keys(kind: Any, value: Any, where: str, error: type[ElasticDenserError]) -> None:
    """Refuse keys that no field of the dataclasses in `kind` has, which msgspec ignores in plain dataclasses."""
    if not _holds_dataclass(kind):
        return
    for part in _alternatives(kind):
        if isinstance(part, type) and is_dataclass(part):
            if isinstance(value, Mapping):
                check_keys(value, _hints(part), where, error)
                for key, inner_kind in _nested(part).items():
                    if key in value:
                        _refuse_unknown_keys(inner_kind, value[key], f"{where}.{key}", error)
        else:
            for inner_kind, inner, place in _children(part, value):
                _refuse_unknown_keys(inner_kind, inner, where + place, error)


@cache
def _holds_dataclass(kind: Any) -> bool:
    """Return whether a type contains a dataclass; other values, such as large tables of numbers, need no walk."""
    parts = _alternatives(kind)
    return any(is_dataclass(part) or any(map(_holds_dataclass, get_args(part))) for part in parts)


@cache
def _alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself if it is none, without `Annotated`."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(part for member in get_args(kind) for part in _alternatives(member))
    return (kind,)


def _children(kind: Any, value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield type, value and place of everything directly inside a value, if its type is known."""
    for part in _alternatives(kind):
        items = () if get_origin(part) is Literal else get_args(part)
        if isinstance(value, Mapping) and isinstance(part, type) and is_dataclass(part):
            hints = _hints(part)
            yield from ((hints[key], inner, f".{key}") for key, inner in value.items() if key in hints)
        elif isinstance(value, Mapping) and len(items) == 2 and get_origin(part) is not tuple:
            yield from ((items[1], inner, f".{key}") for key, inner in value.items())
        elif isinstance(value, list) and items:
            kinds = items if get_origin(part) is tuple and Ellipsis not in items else items[:1] * len(value)
            pairs = enumerate(zip(kinds, value, strict=False))  # a tuple of the wrong length is left to msgspec
            yield from ((inner_kind, inner, f"[{number}]") for number, (inner_kind, inner) in pairs)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the types of the fields that a dataclass takes as arguments, by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


@cache
def _nested(kind: type) -> dict[str, Any]:
    """Return those of the types of a dataclass's fields that contain dataclasses, by name."""
    return {name: hint for name, hint in _hints(kind).items() if _holds_dataclass(hint)}


def _explained(fault: Exception, kind: Any, value: Any, where: str) -> str:
    """Return the error message for the innermost part of a value that does not fit its type.

    msgspec itself names no keys of dictionaries and only one end of a range.
    """
    for inner_kind, inner, place in _children(kind, value):
        try:
            msgspec.convert(inner, inner_kind, str_keys=True)
        except _CONVERSION_ERRORS as inner_fault:
            return _explained(inner_fault, inner_kind, inner, where + place)
    what, _, place = str(fault).partition(" - at ")
    expected = what.removeprefix("Expected ").partition(", got ")[0].replace("`", "")
    if place.startswith("`key`"):
        return f"{where}: got the keys {_shown(list(value))}, expected each to be {_in_words(expected, kind)}"
    if missing := re.fullmatch(r"Object missing required field `(.+)`", what):
        return f"{where}: {missing[1]!r} is missing: add it"
    got = f"{where}: got {_shown(value)}"
    return f"{got}, expected {_in_words(expected, kind)}" if what.startswith("Expected ") else f"{got}: {what}"


def _in_words(expected: str, kind: Any) -> str:
    """Return a type or range as msgspec writes it, such as "int >= 1" or "float | null", in words."""
    if re.fullmatch(r"(int|float) (>=|<=|>|<) \S+", expected):
        bounds = ((words, getattr(meta, name)) for meta in _metas(kind) for name, words in _PLAIN_BOUNDS.items())
        return " and ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)
    if length := re.fullmatch(r"(array|object|str) of length (>=|<=) (\d+)", expected):
        items = _PLAIN_ITEMS[length[1]] + ("" if length[3] == "1" else "s")
        return f"{_PLAIN_TYPES[length[1]]} with {'at least' if length[2] == '>=' else 'at most'} {length[3]} {items}"
    return " or ".join(_PLAIN_TYPES.get(part, part) for part in expected.split(" | "))


def _metas(kind: Any) -> Iterator[msgspec.Meta]:
    """Yield the ranges of a type, and of the members of a union."""
    if get_origin(kind) is Annotated:
        yield from (meta for meta in get_args(kind)[1:] if isinstance(meta, msgspec.Meta))
    elif get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _metas(member)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def _finite_float(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"it holds {number}, which is not a finite number")
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is not a JSON number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it holds the key {next(key for key in value if keys.count(key) > 1)!r} twice")
    return value
