"""`elasticdenser train`: train an elastic query encoder without labels, or a ranker or classifier from its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command, resumable
from elasticdenser.cli.output import note, print_table, progress_bars

if TYPE_CHECKING:
    from elasticdenser.training.classifier.recipe import ClassifierRecipe
    from elasticdenser.training.classifier.train import ClassifierResult
    from elasticdenser.training.kinds import AnyRecipe
    from elasticdenser.training.pqrnn.train import PQRNNResult
    from elasticdenser.training.ranker.train import RankerResult
    from elasticdenser.training.retention import SnapshotSelection
    from elasticdenser.training.train import TrainingResult

_EXAMPLES = options.examples(
    "train --queries queries.txt --index indexes/mine -o models/mine",
    "train --passages passages.jsonl --encoder BAAI/bge-small-en-v1.5 -o models/bge",
    "train recipes/all-MiniLM-L6-v2.toml --data DATA -o models/minilm",
    "train --teacher models/mpnet --queries queries.txt --steps 0 -o models/student",
    "train --teacher-vectors queries-with-vectors.jsonl --index indexes/api -o models/student",
    "train recipes/glue-RTE.toml --data DATA --seed 2 -o models/glue/RTE.shared.2",
)


@command
def train(
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="Folder of the model to write.",
            show_default=False,
            callback=options.output_folder,
        ),
    ],
    recipe: Annotated[Path | None, typer.Argument(metavar="RECIPE", help="Recipe (.toml).", show_default=False)] = None,
    queries: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of a recipe: queries to learn from: a text file with one per line, or a query set as for "
            "`run`; repeatable."
        ),
    ] = None,
    passages: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of a recipe: a corpus, as for `index`, to learn from its titles and spans; repeatable."
        ),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="Index of the same encoder, with the passages that queries are compared with; also with a recipe."
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Sentence encoder to start from: a folder or a hub id. Default: the recipe's, the index's, or "
            "all-MiniLM-L6-v2; of a student, the elastic one in this package."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Make a student: its subnets answer in the vector space of this encoder (a folder or a hub id), of "
            "any kind and any dimensions, whose indexes stay as they are.",
            show_default=False,
        ),
    ] = None,
    teacher_vectors: Annotated[
        Path | None,
        typer.Option(
            help="Make a student from texts with the vectors of any model, such as an API's: JSONL or Parquet with "
            "text and vector, vectors.npy with vectors.txt beside it, or an index that stores its texts.",
            show_default=False,
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(help="Name of the model that made these vectors, where there is no --index of it."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of training steps; more is better. 0 only fits, which takes minutes. Default: the recipe's, "
            "or 2000.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed, for recipes of classifiers. Default: the recipe's.")
    ] = None,
    subnet: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUBNET",
            help="Train only this subnet, for recipes of classifiers: alone, it is the static baseline; repeatable. "
            "Default: the recipe's.",
        ),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder that paths in the recipe are relative to.")] = Path(),
    work: Annotated[
        Path | None,
        typer.Option(help="Folder for vectors, checkpoints and snapshots. Default: OUTPUT.work beside the model."),
    ] = None,
    workers: options.EncodingWorkers = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    trust_remote_code: options.TrustRemoteCode = False,
) -> None:
    """Train small subnets of a query encoder, without labels; their vectors fit the existing indexes of the encoder.

    Needs queries, or passages to cut queries from. With --teacher or --teacher-vectors the subnets answer in the
    vector space of another model.
    A recipe with trains = "ranker" trains an elastic ranker instead, one with trains = "classifier" a classifier, one
    with trains = "pqrnn" a pQRNN for queries.
    After an interruption, the same command resumes the training.
    On several GPUs: torchrun --nproc-per-node N -m elasticdenser train ...
    """
    from elasticdenser.training.classifier.train import ClassifierResult
    from elasticdenser.training.inputs import TrainOptions
    from elasticdenser.training.kinds import train_model
    from elasticdenser.training.pqrnn.train import PQRNNResult
    from elasticdenser.training.train import TrainingResult

    chosen = _recipe(recipe, queries or [], passages or [], teacher or "", teacher_vectors).changed(
        encoder=encoder or "",
        index="" if index is None else str(index.resolve()),
        steps=steps,
        teacher=teacher or "",
        space=space or "",
    )
    if seed is not None or subnet:
        chosen = _of_classifier(chosen).changed(seed=seed, subnets=tuple(subnet or ()))
    settings = TrainOptions(
        data=data,
        work=work,
        device=device,
        offline=offline,
        trust_remote_code=trust_remote_code,
        workers=workers,
    )
    with resumable(), progress_bars() as progress:
        trained = train_model(chosen, output, settings, progress=progress, log=note)
    if isinstance(trained, TrainingResult):
        _report(trained, output)
    elif isinstance(trained, ClassifierResult):
        _report_classifier(trained, output)
    elif isinstance(trained, PQRNNResult):
        _report_pqrnn(trained, output)
    elif trained is not None:
        _report_ranker(trained, output)


def _recipe(
    path: Path | None, queries: list[str], passages: list[str], teacher: str, teacher_vectors: Path | None
) -> AnyRecipe:
    from elasticdenser.training.kinds import read_any_recipe
    from elasticdenser.training.recipe import default_recipe

    if path is not None:
        if queries or passages or teacher_vectors:
            raise typer.BadParameter("give a recipe, or --queries, --passages and --teacher-vectors, not both")
        return read_any_recipe(path)
    if not (queries or passages or teacher_vectors):
        raise typer.BadParameter("give a recipe, or something to learn from: --queries FILE, --passages CORPUS")
    # Paths on the command line are relative to the working directory, not to --data.
    vectors = "" if teacher_vectors is None else str(teacher_vectors.resolve())
    sources = ([_absolute(source) for source in sources] for sources in (queries, passages))
    return default_recipe(*sources, teacher=teacher, teacher_vectors=vectors)


def _of_classifier(recipe: AnyRecipe) -> ClassifierRecipe:
    from elasticdenser.training.classifier.recipe import ClassifierRecipe

    if not isinstance(recipe, ClassifierRecipe):
        raise typer.BadParameter("--seed and --subnet are for recipes of classifiers: set them in the recipe")
    return recipe


def _absolute(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).exists() else source


def _report(trained: TrainingResult, output: Path) -> None:
    if trained.selection is not None:
        columns, rows = _selection_rows(trained.selection)
        print_table(f"Quality retained; step {trained.step} selected", columns, rows, numeric=len(columns))
    subnets = trained.subnets
    if trained.teacher:
        note(f"{output}: a student of {trained.teacher}, {len(subnets)} subnets: {', '.join(map(str, subnets))}")
    else:
        note(f"{output}: {len(subnets)} subnets beside the full encoder: {', '.join(map(str, subnets))}")
    note(f"{trained.run}: working files of the training; they can be removed")
    index, subnet = trained.index or "INDEX", subnets[len(subnets) // 2]
    note(f'now try:  elasticdenser search {index} "your question" --encoder {output} --subnet {subnet}')


def _report_ranker(trained: RankerResult, output: Path) -> None:
    if trained.selection is not None:
        columns, rows = _selection_rows(trained.selection)
        title = f"Quality as a share of the first stage's; step {trained.step} selected"
        print_table(title, columns, rows, numeric=len(columns))
    note(f"{output}: a ranker of {len(trained.subnets)} subnets: {', '.join(map(str, trained.subnets))}")
    note(f"{trained.run}: working files of the training; they can be removed")
    note(f"now try, in Python:  ElasticRanker.from_pretrained({str(output)!r}).score(query, texts)")


def _report_classifier(trained: ClassifierResult, output: Path) -> None:
    rows = [(str(subnet), measures) for subnet, measures in trained.measures.items()]
    if trained.teacher:
        rows = [("full encoder, fine-tuned", trained.teacher), *rows]
    if rows:
        names = list(rows[0][1])
        table = [[name, *(f"{measures[measure]:.4f}" for measure in names)] for name, measures in rows]
        print_table("Measures on the dev set", ["subnet", *names], table, numeric=1 + len(names))
    note(f"{trained.run}: working files of the training; they can be removed")
    note(f"now try:  elasticdenser classify {output} FILE --exit 0.3")


def _report_pqrnn(trained: PQRNNResult, output: Path) -> None:
    note(f"{output}: a pQRNN of {trained.n_weights:,} weights for the passages of {trained.teacher}")
    note(f"mean cosine to its query vectors at the end: {trained.cosine:.3f}, with typing errors")
    note(f"{trained.run}: working files of the training; they can be removed")
    note(f'now try:  elasticdenser search {trained.index or "INDEX"} "your question" --encoder {output}')


def _selection_rows(selection: SnapshotSelection) -> tuple[list[str], list[list[str]]]:
    """Return a table with a row for each subnet and a column for each snapshot."""
    snapshots = selection.to_json()["snapshots"]
    retention = [selection.retention_with_level0(snapshot["step"]) for snapshot in snapshots]
    rows = [[subnet, *(f"{shares[subnet]:.4f}" for shares in retention)] for subnet in retention[0]]
    rows.append(["mean", *(f"{snapshot['mean_retention']:.4f}" for snapshot in snapshots)])
    rows.append(["greatest fall", *(f"{snapshot['greatest_fall']:.4f}" for snapshot in snapshots)])
    return ["subnet", *(f"step {snapshot['step']}" for snapshot in snapshots)], rows


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(train)
