"""State that the training of a classifier starts from: a trained encoder's trunk, or sorted heads and neurons."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError
from elasticdenser.models.elastic_init import importance_for, reorder
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.models.scorer_init import copy_trained_trunk, logits_from_full
from elasticdenser.models.shape import WIDTHS
from elasticdenser.training.classifier.data import ExampleData
from elasticdenser.training.classifier.recipe import ClassifierRecipe
from elasticdenser.training.initial_models import trained_model
from elasticdenser.training.snapshots import load_weights, save_weights

_BATCH = 16
"""Examples of a batch that importance is measured on: the graphs of all depths are kept together."""


def new_classifier(recipe: ClassifierRecipe, encoder: ElasticQueryEncoder) -> ElasticLogits:
    """Make the model, by default with all widths that leave whole heads and neurons.

    Raises:
        ModelError: An encoder cannot be used, or the model to start from was made of another one.
        QueryError: The encoder cannot be divided into such subnets.
        BadInputError: The recipe has other widths or depths than the model to start from.
    """
    make = partial(
        logits_from_full,
        encoder.location.path,
        encoder.settings,
        n_outputs=len(recipe.glue_task.labels) or 1,
        pooling=recipe.pooling,
        layers=recipe.layers,
    )
    if recipe.init.model:
        location = encoder.location
        trained = trained_model(recipe.init.model, name=location.name, weights_sha256=location.sha256)
        shape = trained.shape
        if recipe.widths not in ((), shape.widths):
            raise BadInputError("got 'init.model' and other widths than its own: leave them out")
        as_trained = recipe.layers != "first"
        if as_trained and shape.layers and recipe.depths not in ((), shape.depths):
            raise BadInputError(
                "got 'init.model' and other depths than its own, whose layers were chosen: leave them out, or take "
                'layers = "first"'
            )
        model = make(widths=shape.widths, depths=recipe.depths or shape.depths)
        copy_trained_trunk(model, trained, with_layers=as_trained)
        return model
    widths = recipe.widths
    if not widths:
        shape = make(widths=(1.0,)).shape
        widths = tuple(width for width in WIDTHS if not (shape.n_heads * width % 1 or shape.n_neurons * width % 1))
    return make(widths=widths, depths=recipe.depths or None)


def new_teacher(recipe: ClassifierRecipe, encoder: ElasticQueryEncoder) -> ElasticLogits:
    """Make the full encoder as a classifier of one subnet, of all layers."""
    make = partial(
        logits_from_full,
        encoder.location.path,
        encoder.settings,
        n_outputs=len(recipe.glue_task.labels) or 1,
        widths=(1.0,),
        pooling=recipe.pooling,
    )
    return make(depths=(make().shape.n_layers,))


def initialise_classifier(model: ElasticLogits, data: ExampleData, recipe: ClassifierRecipe, path: Path) -> None:
    """Sort heads and neurons of a full encoder by importance, or read the result of an earlier call.

    Args:
        model: The model, on the CPU; changed in place.
        data: Examples.
        recipe: The recipe.
        path: File of the result.

    Raises:
        BuildError: The file is damaged or cannot be written.
    """
    if path.exists():
        load_weights(path, model)
        return
    # Those of a trained encoder are sorted already, and its narrow subnets rely on their order.
    if recipe.init.reorder and not recipe.init.model and len(model.shape.widths) > 1:
        batches = (
            data.in_order(start, start + _BATCH)
            for start in range(0, min(len(data), recipe.init.importance_batches * _BATCH), _BATCH)
        )
        outputs = (
            model.pooled_at_depths(batch.token_ids, batch.mask, 1.0, model.shape.depths).values() for batch in batches
        )
        reorder(model, *importance_for(model, outputs, seed=recipe.seed))
    save_weights(path, model)
