"""`elasticdenser demo`: the main job on the documentation that every Python carries."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, progress_bars
from elasticdenser.cli.search import show

_QUESTIONS = (
    "read a csv file with headers",
    "wait for several threads to finish",
    "measure how long a piece of code takes",
    "send an email with an attachment",
    "largest common divisor of two numbers",
)
_SMALLER = ("w0.5-d3", "level0")


@explained
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the index to make.")] = Path(
        "indexes/python-docs"
    ),
    k: Annotated[int, typer.Option("-k", min=1, help="Hits for each question.")] = 3,
    offline: options.Offline = False,
) -> None:
    """Index the documentation of Python's standard library and ask it some questions."""
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
    retriever = options.open_retriever(output, None, "auto", offline)
    retriever.encoder.encode(["warm up"])
    for question in _QUESTIONS:
        show(retriever, question, k=k)
    note("\nThe last one once more, at smaller sizes of the query encoder; the index stays what it is:")
    for size in _SMALLER:
        retriever.encoder.encode(["warm up"], size)
        show(retriever, question, k=k, subnet=size)
    note(
        f'\nAsk it something yourself:   elasticdenser search {output} "sort a list by a key"\n'
        "Then take your own passages, a JSONL file with _id, title and text:\n"
        "                             elasticdenser index passages.jsonl -o indexes/mine\n"
        '                             elasticdenser search indexes/mine "your question"'
    )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=options.examples("demo", "demo -k 5 -o indexes/docs"))(demo)
