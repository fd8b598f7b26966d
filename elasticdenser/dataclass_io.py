"""JSON and TOML as dataclasses: unknown and missing keys, wrong types and values out of range are refused by name.

Every settings file, manifest and profile is read here. Types are those of the dataclass's annotations; a range is
written `Annotated[int, msgspec.Meta(ge=1)]`.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from elasticdenser.artifacts import check_name
from elasticdenser.errors import BadInputError, ElasticDenserError, QueryError

T = TypeVar("T")

_SHOWN = 60
_FAULT = re.compile(r"(.+?)(?: - at `(key)?(?:` in `)?\$?([^`]*)`)?", re.DOTALL)


def read_toml(path: str | Path, what: str, make: Callable[[dict[str, Any]], T]) -> T:
    """Read a TOML file and make something of it, naming the file in every error.

    Args:
        path: The file.
        what: What messages call it, such as `suite`.
        make: Takes the file's content.

    Raises:
        BadInputError: The file is missing or not TOML, or `make` refuses its content.
    """
    path = Path(path)
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"cannot read this {what} ({error.strerror}): expected a .toml file", path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"this is not TOML ({error}): repair it", path) from error
    try:
        return make(value)
    except (BadInputError, QueryError) as error:
        raise BadInputError(str(error), path) from error


def loads_json(text: str | bytes) -> Any:
    """Parse strict JSON: NaN and infinities are not numbers, and no key stands twice in an object.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_tables(value: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the tables `[key.NAME]` by name.

    Raises:
        BadInputError: There are none, or one is not a table or has an unusable name.
    """
    tables = value.get(key)
    if not isinstance(tables, dict) or not tables:
        raise BadInputError(f"there are no {key}: expected at least one table [{key}.NAME]")
    for name, table in tables.items():
        check_name(f"table in {key}", name)
        if not isinstance(table, dict):
            raise BadInputError(f"{key}.{name} is {_shown(table)}: expected a table [{key}.{name}]")
    return tables


def from_value(kind: type[T], value: Any, where: str, error: type[ElasticDenserError] = BadInputError) -> T:
    """Return a parsed value of JSON or TOML as `kind`, checked all the way down.

    Args:
        kind: A dataclass, or any other type that the annotations of one may have. Lists become tuples where those are
            annotated, whole numbers floats.
        value: What a parser returned: objects as dictionaries, lists, strings, numbers, booleans, None.
        where: What messages call it.
        error: The error to raise.

    Raises:
        ElasticDenserError: Of the type `error`: a key is unknown or missing, a value has another type or is out of
            range, or the dataclass refuses it with a ValueError or TypeError. Errors of the package that a dataclass
            raises itself pass unchanged.
    """
    _refuse_unknown(kind, value, where, error)
    try:
        converted: T = msgspec.convert(value, kind, str_keys=True)
    except (msgspec.ValidationError, RecursionError, OverflowError) as fault:
        raise error(_message(str(fault), value, where)) from fault
    return converted


def _refuse_unknown(kind: Any, value: Any, where: str, error: type[ElasticDenserError]) -> None:
    """Refuse keys that no field of the dataclasses in `kind` has; wrong types are left to msgspec."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        for part in get_args(kind):
            _refuse_unknown(part, value, where, error)
    elif is_dataclass(kind) and isinstance(kind, type) and isinstance(value, Mapping):
        hints = _hints(kind)
        if unknown := [key for key in value if key not in hints]:
            raise error(f"{where}: unknown key {_shown(unknown[0])}, expected some of {', '.join(hints)}")
        for key, inner in value.items():
            _refuse_unknown(hints[key], inner, f"{where}.{key}", error)
    else:
        for place, inner in _items(value, get_args(kind)):
            _refuse_unknown(get_args(kind)[-1 if isinstance(value, Mapping) else 0], inner, where + place, error)


def _items(value: Any, kinds: tuple[Any, ...]) -> Iterable[tuple[str, Any]]:
    """Yield the items of a list or an object whose items have a known type, each with its place in it."""
    if isinstance(value, list) and kinds:
        yield from ((f"[{number}]", item) for number, item in enumerate(value))
    elif isinstance(value, Mapping) and len(kinds) == 2:
        yield from ((f".{key}", item) for key, item in value.items())


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields that can be given, by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}


def _message(fault: str, value: Any, where: str) -> str:
    """Return msgspec's message in our form: where, what was got, what was expected."""
    match = _FAULT.fullmatch(fault)
    what, is_key, path = (part or "" for part in match.groups()) if match else (fault, "", "")
    if is_key:
        return f"{where}{path}: got a key of another kind among {_shown(list(_at(value, path)))}: {what}"
    if missing := re.fullmatch(r"Object missing required field `(.+)`", what):
        return f"{where}{path}: {missing[1]!r} is missing: add it"
    expected = what.removeprefix("Expected ").partition(", got ")[0].replace("`", "")
    if what.startswith("Expected "):
        return f"{where}{path}: got {_shown(_at(value, path))}, expected {_PLAIN.get(expected, expected)}"
    return f"{where}{path}: got {_shown(_at(value, path))}: {what}"


_PLAIN = {
    "int": "a value of type int",
    "float": "a value of type float",
    "str": "a value of type str",
    "bool": "a value of type bool",
    "array": "a list",
    "object": "a table",
}


def _at(value: Any, path: str) -> Any:
    """Return what stands at a path such as `.levels[0].name`; the nearest known part where that cannot be told."""
    for key, number in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[int(number)] if number else value[key]
        except (KeyError, IndexError, TypeError):
            return value
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("it holds a key twice")
    return value
