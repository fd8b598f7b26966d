"""Command line: one file per command in `commands`, shared options in `options`, all printing in `output`.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import gc
import importlib
import sys
from typing import Any

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import writable_output
from elasticdenser.cli.output import show_any_text, show_warnings

COMMANDS = (
    "demo",
    "index",
    "add",
    "delete",
    "compact",
    "snapshot",
    "token-vectors",
    "search",
    "run",
    "rerank",
    "classify",
    "evaluate",
    "eval",
    "train",
    "tune",
    "profile",
    "simulate",
    "loadtest",
    "serve",
    "info",
    "verify",
    "rebuild",
    "import",
    "export",
    "models",
    "doctor",
)
"""All commands, in the order in which `--help` lists them."""

_MODULES = {"import": "import_", "token-vectors": "token_vectors"}
"""Command -> module, where the module cannot have the same name: it is a keyword, or a name with a hyphen."""


def make_app(command: str | None = None) -> typer.Typer:
    """Return the app with all commands, or with one only: building them all takes a noticeable time."""
    app = typer.Typer(
        name="elasticdenser",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Dense retrieval: index passages once, search them by meaning.",
        epilog=options.examples(
            "demo",
            "index passages.jsonl -o indexes/mine",
            'search indexes/mine "who wrote dune"',
            "add indexes/mine more.jsonl",
            "run indexes/mine questions.tsv -o runs/mine.trec",
            "eval eval/suites/open-qa.toml -o eval/runs/open-qa",
            "serve indexes/mine",
            "train --queries queries.txt --index indexes/mine -o models/mine",
        ),
    )
    app.callback()(_root)
    for name in COMMANDS if command is None else (command,):
        importlib.import_module(f"{__name__}.commands.{_MODULES.get(name, name)}").register(app)
    return app


def __getattr__(name: str) -> Any:
    """Make `app`, with all commands, only for those who import it: `main` needs but one command."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return make_app()


def _version(value: bool) -> None:
    if value:
        from elasticdenser import __version__

        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Dense retrieval: index passages once, search them by meaning."""


def main() -> None:
    """Run the command line; exit codes are 0, 1 (failed), 2 (usage) and 143 (ended by SIGTERM)."""
    show_any_text()
    show_warnings()
    # Start-up leaves no garbage, and at the end the process exits: a collection would only take time.
    gc.disable()
    try:
        with writable_output():
            make_app(sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in COMMANDS else None)()
    finally:
        gc.freeze()
