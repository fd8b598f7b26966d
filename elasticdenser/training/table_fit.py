"""Fit of level 0: token vectors whose means approximate the full encoder's vectors, by ridge regression.

The first fit is a single matrix that maps all word embeddings of the full encoder, or its vectors of single tokens, so
that tokens outside the training texts get sensible vectors too. The second fit changes each of these vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.arrays import Floats
from elasticdenser.errors import BadInputError
from elasticdenser.progress import Progress, silent
from elasticdenser.training.batches import Batch
from elasticdenser.training.token_outputs import TokenOutputs

_READING, _MAPPING = "Reading texts for level 0", "Mapping word embeddings"
"""Activities before the iterations, for the progress."""

_Report = Callable[[int, int], None]
"""Called with (done, total)."""

_TEXTS_AT_ONCE = 65536
"""Texts whose vectors are in memory at once: 100 MB of 384 float32."""

_BIAS_PENALTY = 1e-6
"""Almost none: just enough that the equations can be solved."""

_TOLERANCE = 1e-10
"""A dimension is solved once its squared residual has fallen to this share: about the precision of float32."""


def fit_table(
    batches: Iterable[Batch],
    tokens: Tensor | TokenOutputs,
    *,
    ridge_map: float = 10.0,
    ridge: float = 0.01,
    iterations: int = 15,
    n_batches: int = 0,
    progress: Progress = silent,
) -> Tensor:
    """Fit token vectors by ridge regression to the full encoder's vectors of whole texts.

    Args:
        batches: Batches with all training texts, read once; their banks are not used.
        tokens: Word embeddings of the full encoder, (n_tokens, hidden), or its vectors of single tokens.
        ridge_map: Penalty, above 0, on the squares of the matrix that maps word embeddings to token vectors; of vectors
            of single tokens, on those of the matrix that changes them.
        ridge: Penalty, above 0, on the squares of each vector's change after that; against it, a text of n tokens has
            the weight 1 / n^2 for each of them.
        iterations: Maximum number of conjugate gradient iterations; 0 returns the mapped vectors.
        n_batches: Number of batches, for the progress; 0 if it is not known.
        progress: Called with (activity, done, total).

    Returns:
        float32, (n_tokens, dim): their means are near the full encoder's L2-normalised vectors.

    Raises:
        BadInputError: There are no batches, or vectors of single tokens do not fit the texts at all.
    """
    n_tokens = len(tokens.vectors if isinstance(tokens, TokenOutputs) else tokens)
    frequencies, moments = _regression_inputs(batches, n_tokens, partial(progress, _READING), n_batches)
    if isinstance(tokens, TokenOutputs):
        mapped = _map_outputs(frequencies, moments, tokens, ridge_map)
    else:
        mapped = _map_word_embeddings(frequencies, moments, tokens, ridge_map, partial(progress, _MAPPING))
    vectors = mapped.astype(np.float32)
    if iterations:
        residual = (moments - _gram_product(frequencies, mapped)).astype(np.float32)
        vectors += _conjugate_gradients(frequencies.astype(np.float32), residual, ridge, iterations, progress)
    return torch.from_numpy(vectors)


def _regression_inputs(
    batches: Iterable[Batch], n_tokens: int, report: _Report, n_batches: int
) -> tuple[Any, NDArray[np.float64]]:
    """Return the frequencies of tokens in texts, and their products with the targets.

    Returns:
        Sparse, (n_texts, n_tokens): the count of a token in a text over the length of the text; and (n_tokens, dim):
        the transpose of these frequencies times the targets.
    """
    parts: list[Any] = []
    moments: NDArray[np.float64] | None = None
    for batch in batches:
        mask = batch.mask.cpu().numpy()
        lengths = mask.sum(axis=1)
        columns = batch.token_ids.cpu().numpy()[mask]
        row_ends = np.concatenate([[0], np.cumsum(lengths)])
        part = scipy.sparse.csr_array((1 / np.repeat(lengths, lengths), columns, row_ends), (len(mask), n_tokens))
        part.sum_duplicates()
        targets = batch.targets.double().cpu().numpy()
        if moments is None:
            moments = np.zeros((n_tokens, targets.shape[1]))
        # Few rows of the product are not zero.
        batch_tokens = np.unique(columns)
        moments[batch_tokens] += part[:, batch_tokens].T @ targets
        parts.append(part)
        report(len(parts), n_batches)
    if moments is None:
        raise BadInputError("got no batches to fit token vectors to, expected at least one")
    return scipy.sparse.vstack(parts, format="csr"), moments


def _map_word_embeddings(
    frequencies: Any, moments: NDArray[np.float64], tokens: Tensor, ridge_map: float, report: _Report
) -> NDArray[np.float64]:
    """Return the word embeddings times the matrix that fits best, plus a bias."""
    # The frequencies of a text add up to 1, so that a column of ones becomes the bias.
    embeddings = np.concatenate([tokens.detach().double().cpu().numpy(), np.ones((len(tokens), 1))], axis=1)
    products = embeddings.T @ _gram_product(frequencies, embeddings, report)
    penalty = np.full(len(products), ridge_map)
    penalty[-1] = _BIAS_PENALTY
    matrix: NDArray[np.float64] = np.linalg.solve(products + np.diag(penalty), embeddings.T @ moments)
    return embeddings @ matrix


def _map_outputs(
    frequencies: Any, moments: NDArray[np.float64], tokens: TokenOutputs, ridge_map: float
) -> NDArray[np.float64]:
    """Return weighted vectors of single tokens, scaled and changed by the matrix that fits best."""
    n_texts, shares = frequencies.shape[0], frequencies.sum(axis=0)
    vectors = tokens.weighted(shares, n_texts).astype(np.float64)
    products = _gram_product(frequencies, vectors)
    # Around the targets' mean, which may be most of each target.
    fit = np.vdot(vectors, moments - np.outer(shares, moments.sum(axis=0) / n_texts))
    squares = np.vdot(vectors, products)
    if not (fit > 0 and squares > 0):
        raise BadInputError(
            "the encoder's vectors of single tokens say nothing of its vectors of texts: train by a recipe with "
            "start = 'embeddings' in [table]"
        )
    vectors *= fit / squares
    products *= fit / squares
    penalty = np.diag(np.full(vectors.shape[1], ridge_map))
    change = np.linalg.solve(vectors.T @ products + penalty, vectors.T @ (moments - products))
    mapped: NDArray[np.float64] = vectors + vectors @ change
    return mapped


def _conjugate_gradients(
    frequencies: Any, right_side: Floats, ridge: float, iterations: int, progress: Progress
) -> Floats:
    """Solve (F' F + ridge) x = right_side, (n_tokens, dim), where F are the frequencies.

    Preconditioned conjugate gradients (Hestenes and Stiefel 1952), for all dimensions together, each with its own step
    lengths.
    """
    # Diagonal preconditioner: frequent tokens and rare ones differ by orders of magnitude.
    scale = (1 / (frequencies.power(2).sum(axis=0) + ridge)).astype(np.float32)[:, None]
    solution, residual = np.zeros_like(right_side), right_side.copy()
    direction = scale * residual
    squared = _column_dots(residual, direction)
    tolerance = _TOLERANCE * squared
    for iteration in range(iterations):
        progress("Fitting token vectors", iteration, iterations)
        if (squared <= tolerance).all():
            break
        product = _gram_product(frequencies, direction) + np.float32(ridge) * direction
        # 1e-30 avoids a division by 0 in dimensions that are solved already.
        step = squared / np.maximum(_column_dots(direction, product), 1e-30)
        solution += step * direction
        residual -= step * product
        scaled = scale * residual
        previous, squared = squared, _column_dots(residual, scaled)
        direction = scaled + squared / np.maximum(previous, 1e-30) * direction
    progress("Fitting token vectors", iterations, iterations)
    return solution


def _gram_product(frequencies: Any, table: Any, report: _Report = lambda done, total: None) -> Any:
    """Return F' F table, where F are the frequencies; only a part of the product F table is in memory at once."""
    total = np.zeros_like(table)
    for start in range(0, frequencies.shape[0], _TEXTS_AT_ONCE):
        rows = frequencies[start : start + _TEXTS_AT_ONCE]
        total += rows.T @ (rows @ table)
        report(start + rows.shape[0], frequencies.shape[0])
    return total


def _column_dots(left: Floats, right: Floats) -> Floats:
    """Return the inner product of each column with the same column of the other array."""
    dots: Floats = np.einsum("ij,ij->j", left, right)
    return dots
