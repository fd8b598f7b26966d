"""Elastic models that a training starts with, before they are initialised."""

from __future__ import annotations

from dataclasses import replace

from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError, ModelError
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.models.locate import find_model
from elasticdenser.models.shape import WIDTHS
from elasticdenser.training.recipe import Recipe
from elasticdenser.training.teacher import Teacher


def initial_model(recipe: Recipe, encoder: ElasticQueryEncoder, teacher: Teacher, *, is_mapped: bool) -> ElasticBert:
    """Return the elastic model that a training starts with.

    Args:
        recipe: The recipe.
        encoder: The encoder that is made elastic, or that a student is made of.
        teacher: The model whose vector space the subnets shall answer in.
        is_mapped: Whether a student is made of trained subnets; they are returned in their own space.

    Raises:
        BadInputError: The recipe has widths, depths or layers for trained subnets.
        ModelError: The architecture cannot be made elastic, or the model to start from answers in another space.
        QueryError: The encoder cannot be divided into such subnets.
    """
    if recipe.init.model:
        space = teacher.fingerprint
        return trained_model(recipe.init.model, name=space.name, weights_sha256=space.weights_sha256)
    if not is_mapped:
        return _new_model(recipe, encoder, teacher.dim)
    if recipe.has_grid:
        raise BadInputError(
            f"got widths, depths or layers for a student of {encoder.location.name}, expected none: its trained "
            "subnets have their own"
        )
    return load_elastic(encoder.location.path).model


def trained_model(model: str, *, name: str, weights_sha256: str) -> ElasticBert:
    """Return the trained elastic model that a recipe starts from.

    Args:
        model: The recipe's `init.model`.
        name: Name of the encoder that it must have been made of.
        weights_sha256: Checksum of that encoder's weights.

    Raises:
        ModelError: It is not found, or was made of another encoder.
    """
    trained, provenance = load_elastic(find_model(model, option="init.model").path)
    if provenance["weights_sha256"] != weights_sha256:
        raise ModelError(
            f"got init.model = {model!r}, made of the encoder {provenance['name']}, expected one made of {name}: its "
            "subnets answer in another vector space"
        )
    return trained


def _new_model(recipe: Recipe, encoder: ElasticQueryEncoder, dim: int) -> ElasticBert:
    """Make the elastic model, by default with all widths that leave whole heads and neurons."""
    folder, settings, widths = encoder.location.path, replace(encoder.settings, dim=dim), recipe.widths
    if not widths:
        shape = elastic_from_full(folder, settings, widths=(1.0,)).shape
        widths = tuple(width for width in WIDTHS if not (shape.n_heads * width % 1 or shape.n_neurons * width % 1))
    return elastic_from_full(
        folder, settings, widths=widths, depths=recipe.depths or None, layers=recipe.layers or None
    )
