"""`elasticdenser profile`: measure the cost and the quality of each level of an index on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command
from elasticdenser.cli.output import can_draw, note, print_table, progress_bars
from elasticdenser.cli.ranker_options import RerankedLevelsOptions

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile

_EXAMPLES = options.examples(
    "profile indexes/mine -o profile.json",
    "profile indexes/mine --queries questions.txt -o profile.json",
    "profile indexes/mine --queries questions.txt --by-length -o profile.json",
    "profile indexes/mine --rerank 50:w0.5-d3 --rerank 100:w1-d6 -o profile.json    (levels that rerank)",
    "profile indexes/nq --queries beir/nq/ --measure nDCG@10 --rerank 50:w0.5-d3 -o profile.json    (judged)",
    "profile indexes/mine --escalate 0.1 --escalate 0.25 -o profile.json",
    "profile indexes/mine --hybrid -o profile.json",
    "profile indexes/mine --filters -o profile.json    (recall and time of filters)",
    "profile indexes/mine --subnets w1-d6,w0.5-d3,level0 --batch-sizes 1,8,32 -o profile.json",
)


@command
def profile(
    index: options.IndexPath,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="File to write (.json), with a chart beside it (.svg); - is standard output, without chart and table.",
            show_default=False,
            callback=options.output_file,
        ),
    ],
    queries: Annotated[
        str | None,
        typer.Option(
            help="Query set, as for `run`, with queries like the expected ones. Default: first words of passages."
        ),
    ] = None,
    subnets: Annotated[
        str, typer.Option(help="Subnets of the query encoder to measure, separated by commas. Default: all.")
    ] = "",
    batch_sizes: Annotated[
        str, typer.Option(help="Numbers of queries in a batch, separated by commas, beginning with 1.")
    ] = "1,2,4,8,16,32",
    k: options.Hits = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Number of timings of each batch; their median is used.")] = 15,
    used_only: Annotated[
        bool,
        typer.Option("--used-only", help="Write only the levels that a scheduler would use, as for a shipped encoder."),
    ] = False,
    by_length: Annotated[
        bool,
        typer.Option(
            "--by-length",
            help="Estimate also how the quality depends on the length of a query, unless the model says so: from the "
            "full encoder's hits for texts of up to 8, 16, 32, ... tokens, made of queries and passages. It takes "
            "about half a minute longer; `serve --minimum-quality` uses it.",
        ),
    ] = False,
    measure: Annotated[
        str | None,
        typer.Option(
            metavar="MEASURE",
            help="Judge the levels by this measure, such as nDCG@10, on the judgements of --queries (a BEIR folder or "
            "an ir_datasets id; 500 queries at most), instead of by the hits that they share with the best one.",
            show_default=False,
        ),
    ] = None,
    reranking: RerankedLevelsOptions,
    escalate: Annotated[
        list[float] | None,
        typer.Option(
            "--escalate",
            metavar="SHARE",
            help="Add levels that encode this share of the queries again by the largest subnet, those whose best hits "
            "score nearly alike, such as 0.25; may be repeated.",
            show_default=False,
        ),
    ] = None,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Measure searches by meaning and words, as with `serve --hybrid`.")
    ] = False,
    filters: Annotated[
        bool | None,
        typer.Option(
            "--filters/--no-filters",
            help="Measure recall and time of searches with filters that all, half, a tenth, a hundredth and a "
            "thousandth of the passages meet. Default: if the index has metadata.",
            show_default=False,
        ),
    ] = None,
    encoding: options.EncoderOptions,
) -> None:
    """Measure quality and run time of each level (a subnet with a search effort, and reranking) on this machine.

    Run times are those of encoding, search and reranking together, on one thread, for single queries and for batches.
    With --rerank and without --measure, qualities are estimated from the hits shared with the best level that reranks,
    so your ranker is taken to be better than the first stage.
    """
    from elasticdenser.artifacts import is_stream

    streams = is_stream(output)
    if output.suffix != ".json" and not streams:
        raise typer.BadParameter(f"got {output}; expected a name that ends in .json", param_hint="--output")
    sizes = _parse_batch_sizes(batch_sizes)
    if measure is not None and queries is None:
        raise typer.BadParameter("it needs judged queries: give --queries", param_hint="--measure")
    output.parent.mkdir(parents=True, exist_ok=True)  # fails now rather than after the work
    retriever = encoding.open_retriever(index, hybrid=hybrid, **reranking.retriever_options())
    from elasticdenser.cli.judged_levels import judge_by_measure
    from elasticdenser.datasets import load_queries
    from elasticdenser.engine.profiling.measure import MeasureSettings, measure_profile
    from elasticdenser.engine.profiling.query_sample import sample_queries
    from elasticdenser.models.manifest import retention_by_length_of, retention_of

    names = tuple(filter(None, (name.strip() for name in subnets.split(","))))
    settings = MeasureSettings(
        levels=names,
        batch_sizes=sizes,
        k=k,
        rounds=rounds,
        by_length=by_length,
        filters=bool(retriever.index.fields) if filters is None else filters,
        rerankings=reranking.rerankings,
        escalated_shares=tuple(escalate or ()),
    )
    texts = [query.text for query in load_queries(queries)] if queries else sample_queries(retriever)
    folder = retriever.encoder.location.path
    with progress_bars() as progress:
        measured = measure_profile(
            retriever,
            texts,
            settings,
            quality=retention_of(folder) if measure is None else None,
            quality_by_tokens=retention_by_length_of(folder),
            judge=None if measure is None else judge_by_measure(retriever, str(queries), measure, progress=progress),
            progress=progress,
        )
    if used_only:
        measured = replace(measured, levels=[measured.levels[position] for position in measured.hull])
    measured.save(output)
    if streams:
        note(f"wrote {output}: {len(measured.levels)} levels")
        return
    written = [output]
    if can_draw():
        from elasticdenser.reports.charts.profile import draw_profile

        written.append(draw_profile(output.with_suffix(".svg"), measured))
    _print_levels(measured, sizes, measure)
    if measured.has_quality_by_tokens:
        _print_quality_by_tokens(measured)
    _print_filters(measured)
    if escalate and not measured.measured["escalated_shares"]:
        note("no level that escalates was added: none keeps more than a mixture of its two subnets by chance")
    note(f"wrote {' and '.join(map(str, written))}")


def _parse_batch_sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"got {text!r}; expected numbers with commas, such as 1,8,32", param_hint="--batch-sizes"
        ) from None


def _print_levels(profile: Profile, batch_sizes: Sequence[int], measure: str | None) -> None:
    rows = []
    for position, level in enumerate(profile.levels):
        single_ms = 1000 * level.measured_s[1]
        ms_per_query = [
            f"{1000 * level.measured_s[size] / size:.2f}" if size in level.measured_s else ""
            for size in batch_sizes[1:]
        ]
        effort = "greatest" if level.recall is None else f"{level.recall:.3f}"
        used = "yes" if position in profile.hull else ""
        rows.append([f"{level.quality:.3f}", f"{single_ms:.2f}", *ms_per_query, level.name, effort, used])
    columns = ["quality", "ms single", *(f"in {size}s" for size in batch_sizes[1:]), "level", "search recall", "used"]
    if measure is not None:
        meaning = f"share of the best level's {measure}"
    elif best := profile.measured.get("reranked_judged_against"):
        meaning = f"estimated from hits shared with {best}"
    elif profile.measured.get("quality_by_agreement"):
        meaning = "estimated from hits shared with the full encoder"
    else:
        meaning = "share of the full encoder's figures"
    print_table(f"Quality: {meaning}", columns, rows, numeric=len(columns) - 3)


def _print_quality_by_tokens(profile: Profile) -> None:
    bounds = sorted({tokens for level in profile.levels for tokens in level.quality_by_tokens})
    rows = [[*(f"{level.quality_for(tokens):.3f}" for tokens in bounds), level.name] for level in profile.levels]
    columns = [*(f"to {tokens}" for tokens in bounds), "level"]
    is_estimated = bool(profile.measured.get("quality_by_tokens_by_agreement"))
    print_table(
        "Quality by tokens of the query" + (", estimated" if is_estimated else ""), columns, rows, numeric=len(bounds)
    )


def _print_filters(profile: Profile) -> None:
    rows = [
        [
            f"{figures['share']:g}",
            f"{figures['n_matching']:,}",
            f"{figures['recall']:.3f}",
            f"{1000 * figures['alone_s']:.2f}",
            f"{figures['relative_time']:.2f}",
        ]
        for figures in profile.measured.get("filters", ())
    ]
    if rows:
        columns = ["share", "passages", "recall", "ms single", "without = 1"]
        print_table("Filters, by share of matches", columns, rows, numeric=len(columns))


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(profile)
