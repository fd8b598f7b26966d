"""Front matter: fields at the beginning of a Markdown file, in YAML between lines of `---`, or TOML between `+++`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_SIMPLE_FIELD = re.compile(r"([\w-]+):(?:[ \t]+(.*))?")


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return the fields of a document's front matter, and the document without it.

    Text, numbers, booleans and lists of these are kept, dates as text in ISO form; what is nested deeper is left out.
    Lines between two rules that hold no fields are text.
    """
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}, text
    fields = _parsed(_toml if match[1] == "+++" else _yaml, match[2])
    if fields is None:
        return {}, text
    # The lines stay counted, for messages.
    rest = "\n" * match[0].count("\n") + text[match.end() :]
    kept = {str(name): _plain(value) for name, value in fields.items() if isinstance(name, str)}
    return {name: value for name, value in kept.items() if value is not None}, rest


def _parsed(parse: Callable[[str], Any], text: str) -> Mapping[Any, Any] | None:
    """Return the fields, or None if there are none; templates, say, are not valid YAML: then its simple lines."""
    try:
        fields = parse(text)
    except (ValueError, RecursionError):
        lines = [match for line in text.splitlines() if (match := _SIMPLE_FIELD.fullmatch(line))]
        return {match[1]: match[2].strip("'\" ") for match in lines if match[2]} if lines else None
    if fields is None:
        return {}
    return fields if isinstance(fields, Mapping) else None


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _toml(text: str) -> Any:
    return tomllib.loads(text)


def _plain(value: Any) -> Any:
    """Return a value of a kind that records have, or None."""
    if isinstance(value, date):  # or datetime
        return value.isoformat()
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode(
            "utf-8"
        )  # without halves of surrogate pairs, which YAML can name
    if isinstance(value, list):
        # Not deeper: few lines of YAML can stand for a list that fills the memory.
        plain = [None if isinstance(part, list) else _plain(part) for part in value]
        return None if None in plain else plain
    return value if isinstance(value, int | float) else None
