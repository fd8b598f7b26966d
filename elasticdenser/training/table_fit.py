"""The start of level 0: token vectors fitted to the full encoder's vectors by ridge regression.

One matrix for all of the full encoder's word embeddings comes first, so that tokens which no training text has get
sensible vectors too; then a change of each vector from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.errors import BadInputError
from elasticdenser.progress import Progress, silent
from elasticdenser.training.data import Batch

_SLICE = 65536
"""Texts whose vectors are held at once."""


def fit_table(
    batches: Iterable[Batch],
    tokens: Tensor,
    *,
    ridge_map: float = 10.0,
    ridge: float = 0.01,
    iterations: int = 15,
    progress: Progress = silent,
) -> Tensor:
    """Fit token vectors by ridge regression to the full encoder's vectors of whole texts.

    Args:
        batches: All that is learnt from, read once; their banks are not used.
        tokens: Word embeddings of the full encoder, (n_tokens, hidden).
        ridge_map: Penalty on the squares of the matrix that makes token vectors of word embeddings.
        ridge: Penalty on the squares of each vector's change from there; a text of n tokens weighs against it by
            1 / n^2 for each of them.
        iterations: Of conjugate gradients at most; 0 leaves the mapped word embeddings alone.
        progress: Called with (what, done, of how many).

    Returns:
        float32, (n_tokens, dim): their means are near the full encoder's L2-normalised vectors.

    Raises:
        BadInputError: There are no batches, a penalty is not above 0, or `iterations` is below 0.
    """
    if min(ridge_map, ridge) <= 0 or iterations < 0:
        got = f"ridge_map = {ridge_map}, ridge = {ridge} and {iterations} iterations"
        raise BadInputError(f"got {got}; expected penalties above 0 and no negative number of iterations")
    counts, wanted = _gathered(batches, len(tokens))
    start = _mapped(counts, wanted, tokens, ridge_map)
    vectors = start.astype(np.float32)
    if iterations:
        left = (wanted - _normal(counts, start)).astype(np.float32)
        vectors += _conjugate_gradients(counts.astype(np.float32), left, ridge, iterations, progress)
    return torch.from_numpy(vectors)


def _gathered(batches: Iterable[Batch], n_tokens: int) -> tuple[Any, NDArray[np.float64]]:
    """Return token counts over lengths, (n_texts, n_tokens), sparse, and their transpose times the targets."""
    parts: list[Any] = []
    wanted: NDArray[np.float64] | None = None
    for batch in batches:
        mask = batch.mask.cpu().numpy()
        lengths = mask.sum(axis=1)
        columns = batch.token_ids.cpu().numpy()[mask]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        part = scipy.sparse.csr_array((1 / np.repeat(lengths, lengths), columns, ends), (len(mask), n_tokens))
        part.sum_duplicates()
        targets = batch.targets.double().cpu().numpy()
        if wanted is None:
            wanted = np.zeros((n_tokens, targets.shape[1]))
        # Few rows of the product are not zero.
        seen = np.unique(columns)
        wanted[seen] += part[:, seen].T @ targets
        parts.append(part)
    if wanted is None:
        raise BadInputError("got no batches to fit token vectors to; expected at least one")
    return scipy.sparse.vstack(parts, format="csr"), wanted


def _mapped(counts: Any, wanted: NDArray[np.float64], tokens: Tensor, ridge_map: float) -> NDArray[np.float64]:
    """Return the word embeddings times the matrix that serves best; a text's counts add up to 1, as a bias needs."""
    embedded = np.concatenate([tokens.detach().double().cpu().numpy(), np.ones((len(tokens), 1))], axis=1)
    products = embedded.T @ _normal(counts, embedded)
    penalty = np.full(len(products), ridge_map)
    penalty[-1] = 1e-6  # the bias is free
    solved: NDArray[np.float64] = np.linalg.solve(products + np.diag(penalty), embedded.T @ wanted)
    return embedded @ solved


def _conjugate_gradients(
    counts: Any, left: NDArray[np.float32], ridge: float, iterations: int, progress: Progress
) -> NDArray[np.float32]:
    """Solve (counts' counts + ridge) x = left for all dimensions at once, each with steps of its own."""
    # Frequent tokens and rare ones differ by orders of magnitude.
    scale = (1 / (counts.power(2).sum(axis=0) + ridge)).astype(np.float32)[:, None]
    solved, residual = np.zeros_like(left), left.copy()
    direction = scale * residual
    size = _dots(residual, direction)
    enough = 1e-10 * size
    for done in range(iterations):
        progress("Fitting token vectors", done, iterations)
        if (size <= enough).all():
            break
        changed = _normal(counts, direction) + np.float32(ridge) * direction
        step = size / np.maximum(_dots(direction, changed), 1e-30)
        solved += step * direction
        residual -= step * changed
        better = scale * residual
        before, size = size, _dots(residual, better)
        direction = better + size / np.maximum(before, 1e-30) * direction
    progress("Fitting token vectors", iterations, iterations)
    return solved


def _normal(counts: Any, table: Any) -> Any:
    """Return counts' counts table, with few rows of the product in between held at once."""
    found = np.zeros_like(table)
    for start in range(0, counts.shape[0], _SLICE):
        some = counts[start : start + _SLICE]
        found += some.T @ (some @ table)
    return found


def _dots(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.einsum("ij,ij->j", one, other)
    return found
