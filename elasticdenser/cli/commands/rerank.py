"""`elasticdenser rerank`: rerank a TREC run of any tool with an elastic ranker."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.evaluation_advice import advise_evaluation
from elasticdenser.cli.output import note, progress_bars, with_progress
from elasticdenser.cli.ranker_options import RankerFolder
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.retrieval.reranking import ElasticReranker
    from elasticdenser.retrieval.reranking.runs import TextOf

_EXAMPLES = options.examples(
    "rerank bm25.trec --corpus beir/nq/ --queries beir/nq/ -k 100 -o reranked.trec",
    "rerank bm25.trec --corpus passages.jsonl --queries questions.tsv -k 50 --subnet w0.5-d3 -o fast.trec",
    "rerank bm25.trec --corpus indexes/nq --queries beir/nq/ -k 100:w0.25-d1,30:w0.5-d3 -o cascade.trec",
)


@command
def rerank(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="TREC run file of any tool (.gz and .zst too).", show_default=False)
    ],
    *,
    corpus: Annotated[
        list[str],
        typer.Option(
            help="Corpus with the texts of the run's documents, as `index` takes it; repeat the option for several "
            "sources. Or the folder of an index.",
            show_default=False,
        ),
    ],
    queries: Annotated[
        str,
        typer.Option(
            metavar="DATASET",
            help="Queries: a BEIR folder, an ir_datasets id, or a file (TSV, JSONL, plain lines, .csv of DPR).",
            show_default=False,
        ),
    ],
    candidates: Annotated[
        str,
        typer.Option(
            "-k",
            metavar="N",
            help="Number of documents of each query to rerank; those below keep their order. Or the stages of a "
            "cascade, such as 100:w0.25-d1,30:w0.5-d3: the 100 best, then the best 30 of them by a larger subnet.",
        ),
    ] = "100",
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Run file to write; compressed if its name ends in .gz; - is standard output.",
            callback=options.output_file,
            show_default=False,
        ),
    ],
    ranker: RankerFolder = None,
    subnet: Annotated[
        str | None,
        typer.Option(metavar="SUBNET", help="Subnet of the ranker, such as w0.5-d3. Default: the largest."),
    ] = None,
    first_stage_weight: Annotated[
        float,
        typer.Option(
            metavar="W",
            min=0,
            help="Adds W times the score in the run, scaled to 0 to 1 for each query, to the ranker's.",
        ),
    ] = 0.0,
    split: options.Split = None,
    tag: Annotated[str, typer.Option(help="Name of the run, its last column.")] = "elasticdenser",
    workers: Annotated[
        int | None, typer.Option(min=1, help="CPUs that rerank. Default: all usable CPUs, one with a GPU or torch.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Arithmetic of the ranker: int8 (CPU), fp32, bf16, fp16 (GPU), or auto: the fastest.")
    ] = "auto",
    device: options.Device = "auto",
    reading: options.CorpusOptions,
) -> None:
    """Rerank the best documents of each query in a run, by a ranker that reads query and document together."""
    from elasticdenser.artifacts import is_stream
    from elasticdenser.datasets import load_queries
    from elasticdenser.datasets.runs import read_run, write_run
    from elasticdenser.retrieval.reranking.runs import candidate_ids, check_queries, ranked_run, rerank_run

    ranked = ranked_run(read_run(run))
    texts = {query.query_id: query.text for query in load_queries(queries, split=split, download=reading.download)}
    check_queries(ranked, texts)
    reranker = _reranker(candidates, subnet, first_stage_weight, ranker, corpus, precision, device)
    doc_ids = candidate_ids(ranked, reranker.n_candidates)
    with progress_bars() as progress:
        text_of = _text_of(corpus, doc_ids, reading, progress)
        hits = rerank_run(reranker, ranked, texts, text_of, workers=_n_workers(reranker, workers))
        n_written = write_run(output, with_progress(hits, len(ranked), f"reranking by {reranker}", progress), tag=tag)
    note(f"{output}: {n_written:,} hits for {len(ranked):,} queries, reranked by {reranker}")
    if not is_stream(output):
        advise_evaluation(queries, [run, output], split=split, download=reading.download)


def _reranker(
    candidates: str,
    subnet: str | None,
    first_stage_weight: float,
    ranker: Path | None,
    corpus: list[str],
    precision: str,
    device: str,
) -> ElasticReranker:
    """Return the reranker that the options describe, with the vectors of tokens that are stored beside an index.

    Raises:
        typer.BadParameter: The number of candidates is no number from 1, or contradicts `--subnet`.
        ModelError: There is no such ranker.
        QueryError: The ranker has no such subnet.
    """
    from elasticdenser.retrieval.reranking import ElasticReranker
    from elasticdenser.retrieval.token_vectors import load_ranker_for

    if subnet is not None:
        if not candidates.isdecimal():
            raise typer.BadParameter(f"got -k {candidates} and --subnet {subnet}, expected subnets in one of them")
        candidates = f"{candidates}:{subnet}"
    if not candidates[:1].isdecimal() or "+" in candidates or candidates.partition(":")[0].strip("0") == "":
        message = f"got {candidates}, expected a number from 1, such as 100, or stages, such as 100:w0.25-d1,30:w0.5-d3"
        raise typer.BadParameter(message, param_hint="-k")
    loaded = load_ranker_for(corpus[0], ranker, dtype=options.dtype_of(precision), device=device)
    return replace(ElasticReranker.parse(candidates, loaded), first_stage_weight=first_stage_weight)


def _text_of(corpus: list[str], doc_ids: Collection[str], reading: options.CorpusOptions, progress: Progress) -> TextOf:
    """Return a function that looks up texts, in an index or in the sources of a corpus.

    Raises:
        BadInputError: The corpus lacks some of the documents, or cannot be read.
        IndexFormatError: The index cannot be opened.
        QueryError: The index holds no texts.
    """
    from elasticdenser.datasets.collected_texts import collect_texts
    from elasticdenser.index import PassageIndex
    from elasticdenser.index.layout import MANIFEST
    from elasticdenser.retrieval.reranking.runs import IndexTexts, check_documents

    indexes = [source for source in corpus if (Path(source) / MANIFEST).is_file()]
    if indexes and len(corpus) > 1:
        raise typer.BadParameter(f"got the index {indexes[0]} and other sources, expected the index alone")
    texts = (
        IndexTexts(PassageIndex.open(indexes[0])) if indexes else collect_texts(reading.open(corpus), doc_ids, progress)
    )
    check_documents(doc_ids, texts.__contains__, " ".join(corpus))
    return texts.__getitem__


def _n_workers(reranker: ElasticReranker, workers: int | None) -> int:
    from elasticdenser.cpus import cpu_count
    from elasticdenser.models.settings import INT8

    return workers or (cpu_count() if reranker.ranker.dtype == INT8 else 1)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(rerank)
