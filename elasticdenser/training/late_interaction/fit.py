"""Fit of a late-interaction ranker; only weights of tokens and probabilities need judgements.

The states of tokens are projected onto the directions in which those of passages are largest (their first right
singular vectors). The states of a smaller subnet are projected so that they come nearest to the projected states of the
full encoder, by ridge regression over queries; so are the vectors of tokens at level 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats
from elasticdenser.encoders.token_encoder import TokenEncoder, load_token_encoder
from elasticdenser.errors import BadInputError
from elasticdenser.models.calibration import fit_calibration
from elasticdenser.models.locate import DEFAULT_ELASTIC, find_model
from elasticdenser.progress import Progress, silent
from elasticdenser.rankers.late_interaction_files import (
    LateInteraction,
    LateInteractionSettings,
    QueryProjection,
    check_late_interaction_replaceable,
    save_late_interaction,
)
from elasticdenser.rankers.pairs import SeparateTokenizer
from elasticdenser.rankers.query_tokens import query_encoder_at
from elasticdenser.rankers.token_rows import PassageRows, passage_scores
from elasticdenser.subnet import Subnet
from elasticdenser.training.inputs import TrainOptions, corpus_of, reservoir_sample
from elasticdenser.training.late_interaction.judged import JudgedLists, JudgedQueries, load_judged_queries
from elasticdenser.training.late_interaction.recipe import LateInteractionRecipe
from elasticdenser.training.late_interaction.token_weights import fitted_token_weights
from elasticdenser.training.recipe_paths import check_paths
from elasticdenser.training.stages import Log
from elasticdenser.training.texts import training_texts
from elasticdenser.version import __version__

_BATCH = 64
"""Texts that are encoded in one call."""


@dataclass(frozen=True, kw_only=True)
class LateInteractionResult:
    """A fitted late-interaction ranker.

    Args:
        folder: Its folder.
        energy: Share of the squared lengths of passages' token states that the projection keeps.
        closeness: Subnet -> mean cosine of its projected query tokens to the full encoder's.
    """

    folder: Path
    energy: float
    closeness: dict[Subnet, float]


def fit_late_interaction(
    recipe: LateInteractionRecipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    log: Log = lambda message: None,
) -> LateInteractionResult:
    """Fit a late-interaction ranker; it takes minutes, and begins anew after an interruption.

    Arguments and errors are those of `elasticdenser.training.train.train`.
    """
    options = options or TrainOptions()
    check_late_interaction_replaceable(output.resolve())
    check_paths(recipe, options.data)
    location = find_model(recipe.encoder or DEFAULT_ELASTIC, download=not options.offline)
    encoder = load_token_encoder(location)
    fitted = _chosen(recipe.subnets, encoder)
    settings = recipe.settings
    tokenizer = SeparateTokenizer(location.path, settings.max_length, settings.max_query_length)
    log("reading the texts")
    passages = tokenizer.passages(_drawn(recipe, options.data))
    texts = training_texts(recipe.texts, data=options.data, seed=recipe.seed) if fitted else []
    queries = tokenizer.queries(texts)
    judged = {
        table: load_judged_queries(table, data=options.data, seed=recipe.seed)
        for table in (recipe.token_weights, recipe.calibration)
        if table  # read now, so that a missing file is found before any work
    }
    log(f"{len(passages):,} passages" + (f" and {len(queries):,} queries" if fitted else ""))
    if recipe.dim > (hidden := encoder.state_dim(encoder.full_subnet)):
        raise BadInputError(f"got dim = {recipe.dim}, expected at most {hidden}, the numbers of a state")
    states = _states(encoder, encoder.full_subnet, passages, progress, "Encoding passages")
    projection, energy = _principal(states, recipe.dim)
    if fitted:
        targets = np.concatenate([states @ projection.T for states in _states(encoder, encoder.full_subnet, queries)])
    projections = {encoder.full_subnet: _query_projection(projection, np.zeros(recipe.dim, np.float32), settings)}
    closeness = {}
    for number, subnet in enumerate(fitted):
        inputs = np.concatenate(list(_states(encoder, subnet, queries)))
        exit_, closeness[subnet] = _fitted(inputs, targets, recipe.ridge)
        projections[subnet] = _query_projection(*exit_, settings)
        progress("Fitting the subnets", number + 1, len(fitted))
    model = LateInteraction(
        settings=settings,
        full=projection,
        queries=projections,
        provenance={
            "name": location.name,
            "weights_sha256": location.sha256,
            "version": __version__,
            "title": recipe.title,
            "seed": recipe.seed,
            "n_passages": len(passages),
            "n_queries": len(queries),
        },
    )
    if table := recipe.token_weights:
        lists = _judged_lists(model, encoder, tokenizer, judged[table], table.k, progress)
        model = _weighted(model, encoder, lists, recipe.token_penalty, progress)
    if table := recipe.calibration:
        lists = _judged_lists(model, encoder, tokenizer, judged[table], table.k, progress)
        model = _calibrated(model, encoder, lists)
    save_late_interaction(output, model)
    return LateInteractionResult(folder=output, energy=energy, closeness=closeness)


def _query_projection(weight: Floats, bias: Floats, settings: LateInteractionSettings) -> QueryProjection:
    """Return a projection that weighs all tokens alike."""
    token_weight = np.zeros(weight.shape[1], np.float32)
    return QueryProjection(weight=weight, bias=bias, token_weight=token_weight, vector_weight=settings.vector_weight)


def _judged_lists(
    model: LateInteraction,
    encoder: TokenEncoder,
    tokenizer: SeparateTokenizer,
    judged: JudgedQueries,
    k: int,
    progress: Progress,
) -> JudgedLists:
    """Return the candidates of judged queries, with the vectors of their tokens."""
    project = encoder.projector(encoder.full_subnet, model.full, np.zeros(model.dim, np.float32))
    rows = PassageRows(project, model.dim, encoder.vector_dim)
    encode = query_encoder_at(encoder, encoder.full_subnet, model.queries[encoder.full_subnet])
    return JudgedLists(judged, rows, tokenizer, k=k, encode=encode, progress=progress)


def _weighted(
    model: LateInteraction, encoder: TokenEncoder, lists: JudgedLists, penalty: float, progress: Progress
) -> LateInteraction:
    """Return the model with weights of tokens that suit judged queries."""
    queries = {}
    for number, (subnet, own) in enumerate(model.queries.items()):
        queries[subnet] = fitted_token_weights(encoder, subnet, own, lists, penalty)
        progress("Fitting weights of tokens", number + 1, len(model.queries))
    return replace(model, queries=queries)


def _calibrated(model: LateInteraction, encoder: TokenEncoder, lists: JudgedLists) -> LateInteraction:
    """Return the model with probabilities that suit judged queries: two numbers a subnet, which change no order."""
    labels = np.concatenate(lists.labels)
    calibrations = {}
    for subnet, own in model.queries.items():
        encode = query_encoder_at(encoder, subnet, own)
        scores = [
            passage_scores(encode(query), lists.passages_of(number)) for number, query in enumerate(lists.queries)
        ]
        calibrations[str(subnet)] = fit_calibration(np.concatenate(scores), labels)
    return replace(model, calibration=calibrations)


def _chosen(names: Sequence[str], encoder: TokenEncoder) -> list[Subnet]:
    """Return the subnets of a recipe, from large to small, without the full encoder."""
    chosen = list(map(Subnet.parse, names))
    if unknown := [subnet for subnet in chosen if subnet not in encoder.subnets]:
        raise BadInputError(f"got subnet {unknown[0]}, expected some of {', '.join(map(str, encoder.subnets))}")
    return [subnet for subnet in encoder.subnets if subnet in chosen and subnet != encoder.full_subnet]


def _drawn(recipe: LateInteractionRecipe, data: Path) -> list[str]:
    """Return passages that are drawn at random, with their titles."""
    texts = (passage.content for passage in corpus_of(recipe.passages, data))
    drawn = reservoir_sample(texts, recipe.n_passages, Random(f"{recipe.seed}/passages"))
    if not drawn:
        raise BadInputError("the corpora of the recipe hold no passages: name others")
    return drawn


def _states(
    encoder: TokenEncoder,
    subnet: Subnet,
    sequences: Sequence[Sequence[int]],
    progress: Progress = silent,
    activity: str = "",
) -> Iterator[Floats]:
    """Yield the states of all tokens in parts, float32, (n_tokens, hidden)."""
    for start in range(0, len(sequences), _BATCH):
        yield encoder.states(subnet, sequences[start : start + _BATCH])
        progress(activity, min(start + _BATCH, len(sequences)), len(sequences))


def _principal(parts: Iterator[Floats], dim: int) -> tuple[Floats, float]:
    """Return the first right singular vectors of states, float32, (dim, hidden), and their share of the energy."""
    products = _sum(part.T.astype(np.float64) @ part for part in parts)
    values, vectors = np.linalg.eigh(products)
    energy = float(values[-dim:].sum() / values.sum())
    return np.ascontiguousarray(vectors[:, ::-1][:, :dim].T, np.float32), energy


def _fitted(states: Floats, projected: Floats, ridge: float) -> tuple[tuple[Floats, Floats], float]:
    """Fit the projection of a subnet's states to the full encoder's projected ones.

    Args:
        states: States that the subnet gives the tokens, (n_tokens, hidden).
        projected: Projected states that the full encoder gives them, (n_tokens, dim).
        ridge: Penalty on the weights.

    Returns:
        Weight, float32, (dim, hidden), and bias, (dim,), and the mean cosine to the targets.
    """
    inputs, targets = states.astype(np.float64), projected.astype(np.float64)
    mean, target_mean = inputs.mean(axis=0), targets.mean(axis=0)
    centred = inputs - mean
    penalty = ridge * np.square(centred).mean() * np.eye(inputs.shape[1])
    weight = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (targets - target_mean)).T
    bias = target_mean - weight @ mean
    outputs = inputs @ weight.T + bias
    cosines = (outputs * targets).sum(axis=1) / (_lengths(outputs) * _lengths(targets))
    return (weight.astype(np.float32), bias.astype(np.float32)), float(cosines.mean())


def _lengths(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
    return lengths


def _sum(products: Iterator[NDArray[np.float64]]) -> NDArray[np.float64]:
    total = next(products)
    for product in products:
        total += product
    return total
