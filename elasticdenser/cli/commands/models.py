"""`elasticdenser models`: list well-known encoders."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from elasticdenser.models.known import KnownEncoder


@command
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each encoder.")] = False,
) -> None:
    """List well-known sentence encoders with their dimensions, prompts and licences; others may be used, too."""
    from elasticdenser.models.known import known_encoders

    if as_json:
        for encoder in known_encoders():
            print_json(asdict(encoder) | {"computed_by": _computed_by(encoder)})
        return
    columns = ["encoder", "computed by", "dim", "tokens", "pooling", "languages", "licence", "prompts"]
    rows = [
        [
            encoder.name,
            _computed_by(encoder),
            str(encoder.dim),
            "any" if encoder.max_length is None else str(encoder.max_length),
            encoder.pooling,
            encoder.languages,
            encoder.licence,
            ", ".join(kind for kind, prompt in _prompts(encoder) if prompt),
        ]
        for encoder in known_encoders()
    ]
    print_table("well-known encoders, as their model cards describe them", columns, rows)
    note("--json shows the prompts before queries and passages, which an encoder needs where it has them")
    note("check one on this machine with:  elasticdenser doctor --encoder NAME")


def _prompts(encoder: KnownEncoder) -> list[tuple[str, str]]:
    return [("query", encoder.query_prompt), ("passage", encoder.passage_prompt)]


def _computed_by(encoder: KnownEncoder) -> str:
    """Return what computes an encoder: the kernel in C, transformers, or NumPy."""
    from elasticdenser.models.architectures import ARCHITECTURES
    from elasticdenser.models.poolings import OWN_POOLINGS

    if encoder.architecture == "static":
        return "numpy"
    is_own = encoder.architecture in ARCHITECTURES and encoder.pooling in OWN_POOLINGS and not encoder.has_dense
    return "kernel" if is_own else "transformers"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("models", "models --json"))(models)
