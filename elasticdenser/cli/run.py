"""`elasticdenser run`: a TREC run for a whole query set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, progress_bars
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from ir_measures import ScoredDoc

_EXAMPLES = options.examples(
    "run indexes/nq beir/nq/ -k 100 -o runs/nq.trec",
    "run indexes/msmarco msmarco-passage/dev/small -k 1000 -o runs/dev.trec.gz",
    "run indexes/mine questions.tsv -o runs/mine.trec --exact",
    "run indexes/nq beir/nq/ -o runs/nq.trec --subnet all    (a run for each size)",
)


@explained
def run(
    index: options.IndexPath,
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="Queries: a BEIR folder, an ir_datasets id, or a file (TSV, JSONL, plain lines, .csv of DPR).",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Run file to write; .gz is compressed.")],
    k: options.Hits = 1000,
    split: options.Split = None,
    tag: Annotated[str, typer.Option(help="Name of the run, its last column.")] = "elasticdenser",
    subnet: options.SubnetName = None,
    exact: options.Exact = False,
    recall: options.Recall = None,
    encoder: options.EncoderName = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    download: options.Download = False,
) -> None:
    """Search for every query of a query set and write a TREC run."""
    from elasticdenser.datasets import load_queries
    from elasticdenser.datasets.runs import write_run

    queries = load_queries(dataset, split=split, download=download)
    retriever = options.open_retriever(index, encoder, device, offline, precision)
    sizes = options.sizes_of(retriever, subnet)
    files = [output] if subnet != "all" else [_named(output, str(size)) for size in sizes]
    for size, file in zip(sizes, files, strict=True):
        with progress_bars() as progress:
            hits = retriever.search(queries, k, subnet=size, exact=exact, recall=recall)
            written = write_run(file, _counted(hits, len(queries), f"searching at {size}", progress), tag=tag)
        note(f"{file}: {written:,} hits for {len(queries):,} queries")
    of_split = f" --split {split}" if split else ""
    note(f"now try:  elasticdenser evaluate {dataset} {files[-1]} nDCG@10 RR@10 R@100{of_split}")


def _named(output: Path, size: str) -> Path:
    """Return the file of one size: `runs/nq.w0.5-d3.trec.gz` of `runs/nq.trec.gz`."""
    ending = "".join(output.suffixes[-2:] if output.suffix == ".gz" else output.suffixes[-1:])
    return output.with_name(f"{output.name.removesuffix(ending)}.{size}{ending}")


def _counted(hits: Iterator[ScoredDoc], n_queries: int, what: str, progress: Progress) -> Iterator[ScoredDoc]:
    done, last = 0, None
    for hit in hits:
        if hit.query_id != last:
            last = hit.query_id
            done += 1
            progress(what, done, n_queries)
        yield hit


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(run)
