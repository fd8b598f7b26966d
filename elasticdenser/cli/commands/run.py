"""`elasticdenser run`: search for a whole query set, and write a TREC run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.evaluation_advice import advise_evaluation
from elasticdenser.cli.output import note, progress_bars, with_progress
from elasticdenser.cli.ranker_options import RerankingOptions

_EXAMPLES = options.examples(
    "run indexes/nq beir/nq/ -k 100 -o runs/nq.trec",
    "run indexes/msmarco msmarco-passage/dev/small -k 1000 -o runs/dev.trec.gz",
    "run indexes/mine questions.tsv -o runs/mine.trec --exact",
    "run indexes/nq beir/nq/ -o runs/nq.trec --hybrid        (meaning and words)",
    "run indexes/nq beir/nq/ -o runs/nq.trec --subnet all    (a run for each subnet)",
    "run indexes/nq beir/nq/ -k 100 -o runs/nq.trec --rerank 50:w0.5-d3    (the 50 best hits by the ranker)",
)


@command
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
    *,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Run file to write; compressed if its name ends in .gz; - is standard output.",
            callback=options.output_file,
        ),
    ],
    k: options.Hits = 1000,
    split: options.Split = None,
    tag: Annotated[str, typer.Option(help="Name of the run, its last column.")] = "elasticdenser",
    searching: options.SearchOptions,
    reranking: RerankingOptions,
    encoding: options.EncoderOptions,
    download: options.Download = False,
) -> None:
    """Search for every query of a query set, and write a TREC run."""
    from elasticdenser.artifacts import is_stream
    from elasticdenser.datasets import load_queries
    from elasticdenser.datasets.runs import write_run

    streams, all_subnets = is_stream(output), searching.subnet == "all"
    if streams and all_subnets:
        message = f"got {output}, which takes one run; expected a file, as --subnet all writes a run for each subnet"
        raise typer.BadParameter(message, param_hint="--output")
    queries = load_queries(dataset, split=split, download=download)
    retriever = encoding.open_retriever(index, **reranking.retriever_options())
    subnets = searching.subnets(retriever)
    files = [_file_of_subnet(output, str(subnet)) for subnet in subnets] if all_subnets else [output]
    for subnet, file in zip(subnets, files, strict=True):
        with progress_bars() as progress:
            hits = retriever.search(queries, k, subnet=subnet, **searching.search_options())
            n_written = write_run(
                file, with_progress(hits, len(queries), f"searching with {subnet}", progress), tag=tag
            )
        note(f"{file}: {n_written:,} hits for {len(queries):,} queries")
    if streams:
        return
    with_answers = retriever.index.has_texts and not searching.by_document
    advise_evaluation(dataset, files[-1:], split=split, download=download, index=index if with_answers else None)


def _file_of_subnet(output: Path, subnet: str) -> Path:
    """Return the file of one subnet: `runs/nq.w0.5-d3.trec.gz` for `runs/nq.trec.gz`."""
    ending = "".join(output.suffixes[-2:] if output.suffix == ".gz" else output.suffixes[-1:])
    return output.with_name(f"{output.name.removesuffix(ending)}.{subnet}{ending}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(run)
