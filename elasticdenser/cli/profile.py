"""`elasticdenser profile`: what each level of an index costs on this machine, and what it is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, print_table, progress_bars

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile

_EXAMPLES = options.examples(
    "profile indexes/mine -o profile.json",
    "profile indexes/mine --queries questions.txt -o profile.json",
    "profile indexes/mine --levels w1-d6,w0.5-d3,level0 --batch-sizes 1,8,32 -o profile.json",
)


@explained
def profile(
    index: options.IndexPath,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write (.json).", show_default=False)],
    queries: Annotated[
        str | None,
        typer.Option(help="Queries like those to come, as `run` takes them. Default: first words of passages."),
    ] = None,
    levels: Annotated[str, typer.Option(help="Sizes of the encoder, with commas. Default: all.")] = "",
    batch_sizes: Annotated[str, typer.Option(help="Queries at once, with commas, from 1.")] = "1,2,4,8,16,32",
    k: options.Hits = 10,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed; the median counts.")] = 15,
    used_only: Annotated[
        bool, typer.Option("--used-only", help="Write only the levels worth using, such as an encoder is shipped with.")
    ] = False,
    encoder: options.EncoderName = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
) -> None:
    """Measure how long every level takes, alone and in batches, encoding and search together, on one thread."""
    if output.suffix != ".json":
        raise typer.BadParameter(f"got {output}; expected a name that ends in .json", param_hint="--output")
    sizes = _numbers(batch_sizes)
    output.parent.mkdir(parents=True, exist_ok=True)  # now, not after the work
    retriever = options.open_retriever(index, encoder, device, offline, precision)
    from elasticdenser.datasets import load_queries
    from elasticdenser.engine.profiling.measure import MeasureSettings, measure, sample_queries
    from elasticdenser.models.manifest import retention_of

    named = tuple(filter(None, (name.strip() for name in levels.split(","))))
    settings = MeasureSettings(levels=named, batch_sizes=sizes, k=k, rounds=rounds)
    texts = [query.text for query in load_queries(queries)] if queries else sample_queries(retriever)
    quality = retention_of(retriever.encoder.location.path)
    with progress_bars() as progress:
        made = measure(retriever, texts, settings, quality=quality, progress=progress)
    if used_only:
        made = replace(made, levels=[made.levels[place] for place in made.hull])
    made.save(output)
    from elasticdenser.reports.profile_chart import draw_profile

    picture = draw_profile(output.with_suffix(".svg"), made)
    _show(made, sizes)
    note(f"wrote {output} and {picture}")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"got {text!r}; expected numbers with commas, such as 1,8,32", param_hint="--batch-sizes"
        ) from None


def _show(made: Profile, sizes: tuple[int, ...]) -> None:
    rows = []
    for place, level in enumerate(made.levels):
        alone_ms = 1000 * level.measured_s[1]
        per_query = [f"{1000 * level.measured_s[size] / size:.2f}" for size in sizes[1:]]
        effort = "greatest" if level.recall is None else f"{level.recall:.3f}"
        used = "yes" if place in made.hull else ""
        rows.append([f"{level.quality:.3f}", f"{alone_ms:.2f}", *per_query, level.name, effort, used])
    columns = ["quality", "ms alone", *(f"in {size}s" for size in sizes[1:]), "level", "search recall", "used"]
    by_agreement = made.measured.get("quality_by_agreement")
    what = "agreement with the full size" if by_agreement else "share of the full size's figures"
    print_table(f"Quality: {what}", columns, rows, numeric=len(columns) - 3)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(profile)
