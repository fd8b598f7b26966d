"""`elasticdenser train`: make an elastic encoder of any sentence encoder, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, print_table, progress_bars

if TYPE_CHECKING:
    from elasticdenser.training.recipe import Recipe
    from elasticdenser.training.selection import SnapshotSelection
    from elasticdenser.training.train import TrainingResult

_EXAMPLES = options.examples(
    "train --queries queries.txt --index indexes/mine -o models/mine",
    "train --passages passages.jsonl --encoder BAAI/bge-small-en-v1.5 -o models/bge",
    "train recipes/all-MiniLM-L6-v2.toml --data DATA -o models/minilm",
)


@explained
def train(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the model to make.", show_default=False)],
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="Recipe (.toml).", show_default=False)] = None,
    queries: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of a recipe: queries to learn from, as a text file, one a line, or what `run` takes; "
            "repeatable."
        ),
    ] = None,
    passages: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of a recipe: a corpus, as for `index`, whose titles and spans are learnt from; repeatable."
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(help="Index of the encoder's, whose passages queries are compared with; also with a recipe."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Sentence encoder to start from: a folder or a hub id. Default: the recipe's, the index's, or "
            "all-MiniLM-L6-v2."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of training; more is better. Default: the recipe's, or 2000.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder that paths in the recipe start from.")] = Path(),
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for vectors, checkpoints and snapshots. Default: OUTPUT.work beside the model."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cores to encode passages on. Default: all usable ones.")
    ] = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
) -> None:
    """Train small sizes of a query encoder that answer in its own space: no labels, no new index.

    Needs queries, or passages to cut some from. Interrupted, the same command goes on where it was.
    On several GPUs: torchrun --nproc-per-node N -m elasticdenser train ...
    """
    from elasticdenser.training.inputs import TrainOptions
    from elasticdenser.training.train import train as run_training

    chosen = _recipe(recipe, queries or [], passages or [])
    given = "" if index is None else str(index.resolve())
    chosen = chosen.changed(encoder=encoder or "", index=given, steps=steps or 0)
    settings = TrainOptions(data=data, work=work, device=device, offline=offline, workers=workers)
    try:
        with progress_bars() as progress:
            trained = run_training(chosen, output, settings, progress=progress, log=note)
    except KeyboardInterrupt:
        note("interrupted: run the same command again and it goes on from the last checkpoint")
        raise typer.Exit(1) from None
    if trained is not None:
        _report(trained, output)


def _recipe(path: Path | None, queries: list[str], passages: list[str]) -> Recipe:
    from elasticdenser.training.recipe import default_recipe, read_recipe

    if path is not None:
        if queries or passages:
            raise typer.BadParameter("give a recipe, or --queries and --passages, not both")
        return read_recipe(path)
    if not (queries or passages):
        raise typer.BadParameter("give a recipe, or something to learn from: --queries FILE, --passages CORPUS")
    # What is typed is relative to where one is, whatever --data says.
    return default_recipe(*([_here(source) for source in sources] for sources in (queries, passages)))


def _here(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).exists() else source


def _report(trained: TrainingResult, output: Path) -> None:
    if trained.selection is not None:
        columns, rows = _selection_rows(trained.selection)
        print_table(f"Quality kept; step {trained.step} taken", columns, rows, numeric=99)
    note(f"{output}: {len(trained.subnets)} sizes beside the full one: {', '.join(map(str, trained.subnets))}")
    note(f"{trained.run}: what training left; it may be removed")
    where, size = trained.index or "INDEX", trained.subnets[len(trained.subnets) // 2]
    note(f'now try:  elasticdenser search {where} "your question" --encoder {output} --subnet {size}')


def _selection_rows(selection: SnapshotSelection) -> tuple[list[str], list[list[str]]]:
    """Return a table of sizes down and snapshots across."""
    found = selection.to_json()["snapshots"]
    rows = [[size, *(f"{its['retention'][size]:.4f}" for its in found)] for size in found[0]["retention"]]
    if selection.level0:
        kept = sum(value / selection.full[dev] for dev, value in selection.level0.items()) / len(selection.level0)
        rows.append(["level0", *[f"{kept:.4f}"] * len(found)])
    rows.append(["mean", *(f"{its['mean_retention']:.4f}" for its in found)])
    rows.append(["most lost", *(f"{its['greatest_fall']:.4f}" for its in found)])
    return ["size", *(f"step {its['step']}" for its in found)], rows


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(train)
