"""First weights of a model of intents and slots: those of an encoder, or random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from elasticdenser.errors import ModelError
from elasticdenser.models.intent_bodies import FullEncoderBody, LSTMBody
from elasticdenser.models.intent_files import load_intent_model
from elasticdenser.models.intent_model import IntentModel, IntentShape
from elasticdenser.models.settings import read_settings
from elasticdenser.models.trunk_init import copy_trunk, copying_weights, read_supported, shape_of
from elasticdenser.training.intent.recipe import IntentRecipe


def new_intent_model(recipe: IntentRecipe, folder: Path, intents: Sequence[str], tags: Sequence[str]) -> IntentModel:
    """Make the model of a recipe.

    Args:
        recipe: The recipe.
        folder: Folder of the encoder.
        intents: Names of the intents, in the order of the outputs.
        tags: Names of the tags, likewise.

    Raises:
        ModelError: Files cannot be used, the encoder has fewer positions than the recipe's `max_length`, or the model
            to start from has another body, or other intents or tags.
    """
    torch.manual_seed(recipe.seed)
    model = _of_encoder(recipe, folder, len(intents), len(tags))
    if recipe.init:
        trained, manifest = load_intent_model(Path(recipe.init))
        # As many intents of other names would pass for the right ones.
        names = manifest.settings.intents, manifest.settings.tags
        if trained.shape != model.shape or names != (tuple(intents), tuple(tags)):
            raise ModelError(
                f"{recipe.init} has another body, or other intents or tags, than the recipe: expected a model of the "
                "same task and body"
            )
        model.load_state_dict(trained.state_dict())
    return model


def _of_encoder(recipe: IntentRecipe, folder: Path, n_intents: int, n_tags: int) -> IntentModel:
    dropout = recipe.train.dropout
    if recipe.pqrnn is not None:
        return IntentModel(IntentShape(pqrnn=recipe.pqrnn), n_intents, n_tags, dropout)
    config, weights = read_supported(folder)
    if recipe.lstm is not None:
        tokens = weights.get("embeddings.word_embeddings.weight")
        settings = replace(recipe.lstm, vocabulary=tokens.shape[0], token_dim=tokens.shape[1])
        model = IntentModel(IntentShape(lstm=settings), n_intents, n_tags, dropout)
        if isinstance(model.body, LSTMBody):
            model.body.tokens.data.copy_(tokens)
        return model
    shape = shape_of(config, weights, read_settings(folder), (1.0,), None)
    shape = replace(shape, depths=(shape.n_layers,), pooling="mean")
    if recipe.max_length > shape.n_positions:
        raise ModelError(
            f"got max_length = {recipe.max_length} for an encoder of {shape.n_positions} positions: lower it"
        )
    model = IntentModel(IntentShape(encoder=shape), n_intents, n_tags, dropout)
    if isinstance(model.body, FullEncoderBody):
        with copying_weights(folder):
            copy_trunk(model.body, config, weights)
        model.body.tokens.requires_grad_(False)  # as for classifiers: half of the weights, of which few are read
    return model
