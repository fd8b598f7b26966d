"""`elastic.json`: the shape of an elastic encoder's sizes, and the full encoder that they were made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from elasticdenser.errors import ElasticDenserError, ModelError
from elasticdenser.models.locate import ELASTIC, is_elastic
from elasticdenser.models.settings import read_json
from elasticdenser.models.shape import ElasticShape

FORMAT = 1
"""Counts the changes of the layout that older versions of this package cannot read."""

MADE_BY = ("name", "weights_sha256")
"""What must be known of the full encoder: what it was loaded by, and the SHA-256 of its weights file."""

AGAIN = "fetch the model again, or train it again"


def read_about(folder: Path) -> tuple[ElasticShape, dict[str, Any]]:
    """Return the shape of an elastic encoder, and the full encoder that it was made by.

    Raises:
        ModelError: The file is missing, damaged or of another format.
    """
    path = folder / ELASTIC
    if not is_elastic(folder):
        raise ModelError(f"{path} is missing: give the folder of an elastic encoder, as `elasticdenser train` makes it")
    about = read_json(path)
    given = about if isinstance(about, dict) else {}
    if given.get("format") != FORMAT:
        raise ModelError(
            f"{path} is of format {given.get('format')!r}; this version reads format {FORMAT}: use the version of "
            "elasticdenser that wrote it, or train again"
        )
    check_made_by(given.get("made_by"), f"{path}: made_by")
    return _read_shape(path, given.get("shape")), given["made_by"]


def check_made_by(made_by: object, where: str) -> None:
    """Refuse what does not say which full encoder a model was made of (ModelError)."""
    given = made_by if isinstance(made_by, Mapping) else {}
    absent = [key for key in MADE_BY if not (isinstance(given.get(key), str) and given[key])]
    if absent:
        raise ModelError(
            f"got {where} = {made_by!r}; expected the full encoder's {' and '.join(MADE_BY)} as text, as `find_model` "
            "says them: an index is searched only by encoders of its own vector space"
        )


def check_use(folder: Path, shape: ElasticShape, n_layers: int, pooling: str) -> None:
    """Refuse trained sizes whose full encoder is used in another way than they were trained for (ModelError)."""
    if (shape.n_layers, shape.pooling) != (n_layers, pooling):
        raise ModelError(
            f"{folder}: got sizes of {shape.n_layers} layers with {shape.pooling} pooling; expected {n_layers} with "
            f"{pooling}, as its full encoder is used: train them for that"
        )


def check_names(what: str, got: Iterable[str], *, required: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that are missing or unknown (ModelError)."""
    names = set(got)
    faults = []
    for verb, those in (("missing", set(required) - names), ("unknown", names - set(known))):
        if those:
            more = f" and {len(those) - 5} more" if len(those) > 5 else ""
            faults.append(f"{verb} {', '.join(sorted(those)[:5])}{more}")
    if faults:
        raise ModelError(f"{what}: {'; '.join(faults)}: {AGAIN}")


def _read_shape(path: Path, value: object) -> ElasticShape:
    given = value if isinstance(value, dict) else {}
    known = {field.name: field for field in fields(ElasticShape)}
    check_names(
        f"{path}: got another shape than this version knows",
        given,
        required=[name for name, field in known.items() if field.default is MISSING],
        known=known,
    )
    for name, its_value in given.items():
        wanted = str(known[name].type)
        if not _is_of(its_value, wanted):
            above = "" if wanted in ("str", "bool") else " above 0"
            raise ModelError(f"{path}: got {name} = {its_value!r} in the shape; expected {wanted}{above}: {AGAIN}")
    values: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in given.items()}
    try:
        return ElasticShape(**values)
    except (ElasticDenserError, ArithmeticError) as error:
        raise ModelError(f"{path}: the shape is of no model ({error}): {AGAIN}") from error


def _is_of(value: Any, wanted: str) -> bool:
    """Say whether a value of JSON is of a type of `ElasticShape`, spelled as there; all its numbers are positive."""
    if wanted.startswith("tuple"):
        inner = wanted.removeprefix("tuple[").split(",")[0]
        return isinstance(value, list) and all(_is_of(each, inner) for each in value)
    if wanted == "bool" or isinstance(value, bool):
        return wanted == "bool" and isinstance(value, bool)
    if wanted == "str":
        return isinstance(value, str)
    return isinstance(value, int if wanted == "int" else (int, float)) and bool(value > 0)
