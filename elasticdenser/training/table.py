"""Training of level 0: a table whose averaged token vectors point where the full encoder's query vectors do.

It starts as the solution of two least squares problems: one matrix for all of the full encoder's word embeddings, so
that tokens which no training text has get sensible vectors too, then a change of each vector from there. What counts is
a direction, which least squares do not see, so the table is then tuned by gradients with the losses of distillation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import scipy.sparse
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BadInputError
from elasticdenser.index.structures import Progress, silent
from elasticdenser.training import parallel
from elasticdenser.training.data import Batch, TrainingData
from elasticdenser.training.losses import alignment, score_distribution

CHECKPOINT = "checkpoint.pt"
LOG = "losses.jsonl"

_SLICE = 65536
"""Texts whose vectors are held at once."""

_BETAS = 0.9, 0.999


def fit_table(
    batches: Iterable[Batch],
    tokens: Tensor,
    *,
    ridge_map: float = 10.0,
    ridge: float = 0.01,
    iterations: int = 20,
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


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """How a table is tuned.

    Args:
        steps: Optimiser steps.
        batch: Queries a step.
        learning_rate: Highest; token vectors have lengths of about 1.
        final_share: What is left of the learning rate at the end of its cosine.
        warm_up: Steps until the highest learning rate.
        score_weight: Weight of the score distribution against the alignment.
        temperature: Of the score distribution.
        typo_share: Share of the queries that get typing errors; their targets are those of the clean text.
        n_random: Random passages in a batch's bank, beside the nearest ones.
        seed: Of everything drawn at random.

    Raises:
        BadInputError: A number is out of range.
    """

    steps: int
    batch: int = 128
    learning_rate: float = 2e-3
    final_share: float = 0.05
    warm_up: int = 20
    score_weight: float = 0.3
    temperature: float = 0.03
    typo_share: float = 0.15
    n_random: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1:
            raise BadInputError(f"got {self.steps} steps of {self.batch} queries; expected at least 1 of each")
        for name in ("typo_share", "final_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInputError(f"got {name} = {getattr(self, name)}; expected a number from 0 to 1")
        for name in ("learning_rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadInputError(f"got {name} = {getattr(self, name)}; expected a number above 0")
        for name in ("warm_up", "score_weight", "n_random", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise BadInputError(f"got {name} = {getattr(self, name)}; expected 0 or more")

    def rate_at(self, step: int) -> float:
        """Return the learning rate at a step: a linear warm-up, then a cosine."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        share = self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * min(1.0, done))) / 2
        return self.learning_rate * share


class TableTuning:
    """A tuning run that can be stopped at any moment and goes on where its last checkpoint stands.

    What a step does depends on the settings and its number alone, so an interrupted run ends as an uninterrupted one.

    Attributes:
        vectors: float32, (n_tokens, dim): what is tuned.
        step: How many steps were taken.

    Args:
        vectors: What to start from, as `fit_table` gives it; not changed.
        data: Queries, targets and passages.
        settings: How.
        folder: Where checkpoint and losses go.
        device: Where to compute.

    Raises:
        BadInputError: The folder holds a run with other settings, or its checkpoint is not of such a table.
    """

    def __init__(
        self,
        vectors: Tensor,
        data: TrainingData,
        settings: TableSettings,
        folder: Path,
        device: torch.device | None = None,
    ) -> None:
        self.data, self.settings, self.folder = data, settings, folder
        self.device = device or torch.device("cpu")
        self.vectors = vectors.detach().float().to(self.device, copy=True)
        self.step = 0
        self._optimiser = _RowAdam(self.vectors)
        self._means: dict[str, float] = {}
        with explained_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._resume()

    def run(self, *, until: int | None = None, save_every_s: float = 300, progress: Progress = silent) -> None:
        """Tune until the last step, or until step `until`, and leave a checkpoint.

        Args:
            until: Where to stop before the end.
            save_every_s: Seconds between checkpoints.
            progress: Called with (what, done, of how many) after every step.
        """
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        saved = monotonic()
        while self.step < last:
            self._tune()
            self.step += 1
            progress(f"Tuning token vectors (cosine {self._means['cosine']:.4f})", self.step, self.settings.steps)
            if monotonic() - saved > save_every_s:
                self._save()
                saved = monotonic()
        self._save()

    def _tune(self) -> None:
        settings = self.settings
        batch = self.data.batch(
            self.step,
            settings.batch,
            seed=settings.seed,
            typo_share=settings.typo_share,
            n_random=settings.n_random,
        )
        # Of the whole batch: with several processes all of them change the same rows.
        rows = torch.unique(batch.token_ids[batch.mask]).to(self.device)
        batch = parallel.my_part(batch, self.device)
        part = self.vectors[rows].requires_grad_()
        found = F.normalize(_means_of(part, rows, batch), dim=-1)
        loss = alignment(found, batch.targets)
        if settings.score_weight:
            scores = score_distribution(found, batch.targets, batch.bank, settings.temperature)
            loss = loss + settings.score_weight * scores
        (gradient,) = torch.autograd.grad(loss, part)
        seen = torch.stack([loss.detach(), (found.detach() * batch.targets).sum(dim=-1).mean()])
        parallel.average([gradient, seen])
        self._optimiser.change(self.vectors, rows, gradient, settings.rate_at(self.step))
        for name, value in zip(("loss", "cosine"), seen.tolist(), strict=True):
            self._means[name] = 0.98 * self._means.get(name, value) + 0.02 * value

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        try:
            kept = torch.load(path, map_location=self.device, weights_only=True)
            settings = kept["settings"]
            if settings == asdict(self.settings):
                self.vectors.copy_(kept["vectors"])
                self._optimiser.load(kept["optimiser"])
                self._means = dict(kept["means"])
                self.step = int(kept["step"])
                return
        except Exception as error:  # the loader has many kinds of errors
            message = f"this checkpoint cannot be used ({error}): tune in another folder, or remove it"
            raise BadInputError(message, path) from error
        changed = [name for name, value in asdict(self.settings).items() if settings.get(name) != value]
        message = f"a run with another {', '.join(changed)} stands here: tune in another folder, or remove it"
        raise BadInputError(message, path)

    def _save(self) -> None:
        if not parallel.is_first():
            return
        state = {
            "step": self.step,
            "settings": asdict(self.settings),
            "means": self._means,
            "vectors": self.vectors,
            "optimiser": self._optimiser.state(),
        }
        with explained_os_errors(self.folder):
            with atomic_write(self.folder / CHECKPOINT, "wb") as file:
                torch.save(state, file)
            with open(self.folder / LOG, "a", encoding="utf-8") as log:
                log.write(json.dumps({"step": self.step, **self._means}) + "\n")


def _means_of(part: Tensor, rows: Tensor, batch: Batch) -> Tensor:
    """Return the mean token vector of each text; `part` are the vectors of the tokens `rows`, which rise."""
    lengths = batch.mask.sum(dim=1)
    token_ids = torch.searchsorted(rows, batch.token_ids[batch.mask])
    return F.embedding_bag(token_ids, part, lengths.cumsum(0) - lengths, mode="mean")


class _RowAdam:
    """Adam (Kingma and Ba 2015) that leaves tokens which a batch does not have as they are, their moments too.

    Most tokens are rare: decaying their moments at every step would forget all but the last gradient, and take ten
    times as long.

    Args:
        vectors: Of the shape of what is tuned.
    """

    def __init__(self, vectors: Tensor) -> None:
        self._first, self._second = torch.zeros_like(vectors), torch.zeros_like(vectors)
        self._counts = torch.zeros(len(vectors), 1, device=vectors.device)

    def change(self, vectors: Tensor, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Take a step in the rows that have a gradient, in place."""
        counts = self._counts[rows] + 1
        first = torch.lerp(gradient, self._first[rows], _BETAS[0])
        second = torch.lerp(gradient.square(), self._second[rows], _BETAS[1])
        self._counts[rows], self._first[rows], self._second[rows] = counts, first, second
        first, second = first / (1 - _BETAS[0] ** counts), second / (1 - _BETAS[1] ** counts)
        vectors[rows] -= rate * first / (second.sqrt() + 1e-12)

    def state(self) -> dict[str, Tensor]:
        return {"first": self._first, "second": self._second, "counts": self._counts}

    def load(self, state: dict[str, Tensor]) -> None:
        self._first.copy_(state["first"])
        self._second.copy_(state["second"])
        self._counts.copy_(state["counts"])
