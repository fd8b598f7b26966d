"""`elasticdenser train`: train an elastic query encoder without labels, or another model from its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.command import command, resumable
from elasticdenser.cli.output import note, progress_bars

if TYPE_CHECKING:
    from elasticdenser.training.classifier.recipe import ClassifierRecipe
    from elasticdenser.training.intent.recipe import IntentRecipe
    from elasticdenser.training.kinds import AnyRecipe
    from elasticdenser.training.mirror.recipe import MirrorRecipe

_EXAMPLES = options.examples(
    "train --queries queries.txt --index indexes/mine -o models/mine",
    "train --passages passages.jsonl --encoder BAAI/bge-small-en-v1.5 -o models/bge",
    "train recipes/all-MiniLM-L6-v2.toml --data DATA -o models/minilm",
    "train --teacher models/mpnet --queries queries.txt --steps 0 -o models/student",
    "train --teacher-vectors queries-with-vectors.jsonl --index indexes/api -o models/student",
    "train recipes/glue-RTE.toml --data DATA --seed 2 -o models/glue/RTE.shared.2",
    "train --mirror google-bert/bert-base-uncased --passages passages.jsonl -o models/encoder",
    "train recipes/intent-mtop-encoder.toml --data DATA -o models/intent/mtop.encoder",
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
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Make a sentence encoder of this plain transformer (a folder or a hub id), from the raw text of "
            "--queries, one a line, or of the sentences of --passages.",
            show_default=False,
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
            help="Number of training steps; more is better. 0 leaves out the distillation: the fits take minutes. "
            "Default: the recipe's, or 2000.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed, for classifiers, models of intents and --mirror. Default: the recipe's."),
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
    With --mirror the result is no set of subnets but a sentence encoder, to start from.
    A recipe with trains = "ranker" trains an elastic ranker instead, one with trains = "late-interaction" fits a
    late-interaction ranker, one with trains = "classifier" trains a classifier, one with trains = "intent" a model of
    intents and slots, one with trains = "mirror" a sentence encoder, one with trains = "pqrnn" a pQRNN for queries.
    After an interruption, the same command resumes the training.
    On several GPUs: torchrun --nproc-per-node N -m elasticdenser train ...
    """
    from elasticdenser.cli.training_output import report_training
    from elasticdenser.training.inputs import TrainOptions
    from elasticdenser.training.kinds import train_model

    if mirror and encoder:
        raise typer.BadParameter("give --mirror or --encoder, not both: each names the model to start from")
    chosen = _recipe(recipe, queries or [], passages or [], mirror or "", teacher or "", teacher_vectors).changed(
        encoder=encoder or "",
        index="" if index is None else str(index.resolve()),
        steps=steps,
        teacher=teacher or "",
        space=space or "",
    )
    if subnet:
        chosen = _of_classifier(chosen).changed(subnets=tuple(subnet))
    if seed is not None:
        chosen = _with_seed(chosen).changed(seed=seed)
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
    if trained is not None:
        report_training(trained, output)


def _recipe(
    path: Path | None, queries: list[str], passages: list[str], mirror: str, teacher: str, teacher_vectors: Path | None
) -> AnyRecipe:
    from elasticdenser.training.kinds import read_any_recipe
    from elasticdenser.training.mirror.recipe import default_mirror_recipe
    from elasticdenser.training.recipe import default_recipe

    if path is not None:
        if queries or passages or mirror or teacher_vectors:
            raise typer.BadParameter("give a recipe, or --queries, --passages, --mirror, --teacher-vectors, not both")
        return read_any_recipe(path)
    if mirror and teacher_vectors:
        raise typer.BadParameter("give --mirror or --teacher-vectors, not both: a mirror training has no teacher")
    if not (queries or passages or teacher_vectors):
        raise typer.BadParameter("give a recipe, or something to learn from: --queries FILE, --passages CORPUS")
    # Paths on the command line are relative to the working directory, not to --data.
    vectors = "" if teacher_vectors is None else str(teacher_vectors.resolve())
    sources = ([_absolute(source) for source in sources] for sources in (queries, passages))
    if mirror:
        return default_mirror_recipe(mirror, *sources)
    return default_recipe(*sources, teacher=teacher, teacher_vectors=vectors)


def _of_classifier(recipe: AnyRecipe) -> ClassifierRecipe:
    from elasticdenser.training.classifier.recipe import ClassifierRecipe

    if not isinstance(recipe, ClassifierRecipe):
        raise typer.BadParameter("--subnet is for recipes of classifiers: set the subnets in the recipe")
    return recipe


def _with_seed(recipe: AnyRecipe) -> ClassifierRecipe | IntentRecipe | MirrorRecipe:
    from elasticdenser.training.classifier.recipe import ClassifierRecipe
    from elasticdenser.training.intent.recipe import IntentRecipe
    from elasticdenser.training.mirror.recipe import MirrorRecipe

    if not isinstance(recipe, ClassifierRecipe | IntentRecipe | MirrorRecipe):
        raise typer.BadParameter("--seed is for classifiers, intents and --mirror: set the seed in the recipe")
    return recipe


def _absolute(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).exists() else source


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(train)
