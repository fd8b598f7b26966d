"""The command line: one file a command, shared options in `options`, everything printed in `output`.

Nothing heavy is imported before a command runs, so that `--help` answers at once.
"""

from __future__ import annotations

import typer

from elasticdenser.cli import (
    demo,
    diagnose,
    eval,
    evaluate,
    exchange,
    index,
    inspect,
    loadtest,
    options,
    profile,
    run,
    search,
    simulate,
    train,
)
from elasticdenser.cli.output import show_warnings

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
        "run indexes/mine questions.tsv -o runs/mine.trec",
        "eval eval/suites/open-qa.toml -o eval/runs/open-qa",
        "train --queries queries.txt --index indexes/mine -o models/mine",
    ),
)
for _module in (
    demo,
    index,
    search,
    run,
    evaluate,
    eval,
    train,
    profile,
    simulate,
    loadtest,
    inspect,
    exchange,
    diagnose,
):
    _module.register(app)


def _version(value: bool) -> None:
    if value:
        from elasticdenser import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """Dense retrieval: index passages once, search them by meaning."""


def main() -> None:
    """Run the command line; exit codes are 0, 1 (failed) and 2 (usage)."""
    show_warnings()
    app()
