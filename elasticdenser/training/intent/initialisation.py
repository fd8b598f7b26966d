"""First weights of a model of intents and slots: those of an encoder, or random ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from elasticdenser.errors import ModelError
from elasticdenser.models.intent_bodies import FullEncoderBody, LSTMBody
from elasticdenser.models.intent_model import IntentModel, IntentShape
from elasticdenser.models.settings import read_settings
from elasticdenser.models.trunk_init import copy_trunk, copying_weights, read_supported, shape_of
from elasticdenser.training.intent.recipe import IntentRecipe


def new_intent_model(recipe: IntentRecipe, folder: Path, n_intents: int, n_tags: int) -> IntentModel:
    """Make the model of a recipe.

    Args:
        recipe: The recipe.
        folder: Folder of the encoder.
        n_intents: Number of intents.
        n_tags: Number of tags.

    Raises:
        ModelError: The encoder's files cannot be used, or it has fewer positions than the recipe's `max_length`.
    """
    torch.manual_seed(recipe.seed)
    dropout = recipe.train.dropout
    if recipe.pqrnn is not None:
        return IntentModel(IntentShape(pqrnn=recipe.pqrnn), n_intents, n_tags, dropout)
    config, weights = read_supported(folder)
    tokens = weights.get("embeddings.word_embeddings.weight")
    if recipe.lstm is not None:
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
