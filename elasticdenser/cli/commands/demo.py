"""`elasticdenser demo`: index and search the documentation of Python's standard library."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.commands.search import show_hits
from elasticdenser.cli.output import note, progress_bars

_QUESTIONS = (
    "read a csv file with headers",
    "wait for several threads to finish",
    "measure how long a piece of code takes",
    "send an email with an attachment",
    "largest common divisor of two numbers",
)
_SMALLER_SUBNETS = ("w0.5-d3", "level0")


@command
def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the index to build.", callback=options.output_folder)
    ] = Path("indexes/python-docs"),
    k: options.Hits = 3,
    offline: options.Offline = False,
) -> None:
    """Index the documentation of Python's standard library, and search it with some questions."""
    from elasticdenser.datasets import Corpus
    from elasticdenser.datasets.python_docs import python_docs
    from elasticdenser.encoders import PassageEncoder
    from elasticdenser.index import PassageIndex

    note("indexing the documentation of Python's standard library")
    corpus = Corpus.from_passages("the documentation of Python's standard library", python_docs)
    started = time.monotonic()
    with progress_bars() as progress:
        encoder = PassageEncoder.from_pretrained(download=not offline)
        index = PassageIndex.build(corpus, output, encoder, overwrite=True, progress=progress)
    note(f"{output}: {len(index):,} passages in {time.monotonic() - started:.0f} s")
    retriever = options.EncoderOptions(offline=offline).open_retriever(output)
    retriever.encoder.encode(["warm up"])
    for question in _QUESTIONS:
        show_hits(retriever, question, k=k)
    note("\nThe last question again, with smaller subnets of the query encoder and the same index:")
    for subnet in _SMALLER_SUBNETS:
        retriever.encoder.encode(["warm up"], subnet)
        show_hits(retriever, _QUESTIONS[-1], k=k, subnet=subnet)
    note(
        f'\nNow try your own question:   elasticdenser search {output} "sort a list by a key"\n'
        "Then index your own passages, a JSONL file with _id, title and text:\n"
        "                              elasticdenser index passages.jsonl -o indexes/mine\n"
        '                              elasticdenser search indexes/mine "your question"'
    )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("demo", "demo -k 5 -o indexes/docs"))(demo)
