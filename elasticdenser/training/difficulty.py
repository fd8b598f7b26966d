"""Sampling by difficulty: texts on which a subnet is far from the full encoder are read more often.

The steps are divided into periods. At the first step of each, some texts are drawn at random, the cosine of one
subnet's vector to the target is computed for each of them, and the texts of the period are drawn from them with the
weights (1 - cosine) ** `difficulty`: in proportion to how much there is left to learn, as prioritised replay does with
the errors of a value function (Schaul et al. 2016).

The texts of a period are saved before its first step, so that a training that resumes within it reads the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BuildError
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.batches import padded
from elasticdenser.training.data import TextOrder, TrainingData
from elasticdenser.training.settings import DistilSettings

_MIN_DISTANCE = 1e-4
"""Lower bound of 1 - cosine, about its error in bfloat16: no text is left out for good."""

_BATCH_TOKENS = 8192
"""Tokens of a batch, padding included: more are no faster on a CPU."""

_CHUNK_TEXTS = 16_384
"""Texts that are tokenised and sorted by length together."""

# Each purpose has its own random numbers; those of `TrainingData` are 0 to 3.
_POOL, _DRAW = 10, 11

Cosines = Callable[[NDArray[np.int64], Progress], NDArray[np.float32]]
"""Returns the cosine of each of some texts, given by their numbers."""


class DifficultySampling:
    """Texts of each period, drawn by difficulty.

    Args:
        n_texts: Number of training texts.
        settings: Settings of the training.
        folder: Folder of the files, one a period.
    """

    def __init__(self, n_texts: int, settings: DistilSettings, folder: Path) -> None:
        self._n_texts, self._settings, self._folder = n_texts, settings, folder

    def starts_period(self, step: int) -> bool:
        """Return whether a step is the first one of a period."""
        return step % self._settings.difficulty_every == 0

    def order(self, step: int, cosines: Cosines, progress: Progress = silent) -> TextOrder:
        """Return the texts of the period of a step; draw them first, in the main process, unless they are saved.

        Args:
            step: The current step.
            cosines: Computes cosines with the current weights.
            progress: Called with (activity, done, total).

        Raises:
            BuildError: The saved texts are damaged, or cannot be written.
        """
        settings = self._settings
        period = step // settings.difficulty_every
        first_step = period * settings.difficulty_every
        n_batches = min(settings.difficulty_every, settings.steps - first_step)
        path = self._folder / f"step-{first_step:06d}.i32"
        with parallel.main_process_first() as is_main:
            if is_main and not path.exists():
                self._save(path, self._drawn(period, n_batches * settings.batch, cosines, progress))
            with explained_os_errors(path):
                rows = np.fromfile(path, "<i4")
        if len(rows) != n_batches * settings.batch or rows.max() >= self._n_texts:
            raise BuildError(f"{path} is damaged: remove it, then run the same command again")
        return TextOrder(number=period, first_step=first_step, n_batches=n_batches, rows=rows.astype(np.int64))

    def _drawn(self, period: int, n: int, cosines: Cosines, progress: Progress) -> NDArray[np.int64]:
        settings = self._settings
        pool = np.random.default_rng((settings.seed, _POOL, period)).permutation(self._n_texts)
        pool = np.sort(pool[: settings.difficulty_texts])
        distances = np.maximum(1 - cosines(pool, progress).astype(np.float64), _MIN_DISTANCE)
        rng = np.random.default_rng((settings.seed, _DRAW, period))
        return pool[systematic_sample(distances**settings.difficulty, n, rng)]

    def _save(self, path: Path, rows: NDArray[np.int64]) -> None:
        with explained_os_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as file:
            file.write(rows.astype("<i4").tobytes())


def systematic_sample(weights: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `n` positions in random order, each as often as expected by its weight, rounded up or down.

    Systematic sampling from a random order (Madow 1949): no position is drawn twice before all that weigh as much.

    Args:
        weights: (m,), above 0.
        n: Number of positions to draw.
        rng: Source of randomness.
    """
    order = rng.permutation(len(weights))
    cumulative = np.cumsum(weights[order])
    bounds = np.floor(cumulative / cumulative[-1] * n + rng.random()).astype(np.int64)
    return rng.permutation(np.repeat(order, np.diff(bounds, prepend=0)))


@torch.inference_mode()
def subnet_cosines(
    model: ElasticBert,
    subnet: Subnet,
    data: TrainingData,
    rows: NDArray[np.int64],
    progress: Progress = silent,
    *,
    bfloat16: bool = False,
) -> NDArray[np.float32]:
    """Return the cosine of a subnet's vector to the target for each of some texts.

    Args:
        model: The model, on any device.
        subnet: The subnet.
        data: Texts and targets.
        rows: Numbers of the texts.
        progress: Called with (activity, done, total).
        bfloat16: Whether matrix products run in bfloat16.
    """
    cosines = np.empty(len(rows), np.float32)
    device = model.tokens.device
    report = partial(progress, f"Estimating difficulty by {subnet}")
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16):
        for start in range(0, len(rows), _CHUNK_TEXTS):
            report(start, len(rows))
            chunk = rows[start : start + _CHUNK_TEXTS]
            sequences = data.token_ids(chunk)
            for numbers in _length_batches([len(token_ids) for token_ids in sequences]):
                token_ids, mask = padded([sequences[number] for number in numbers], model.shape.n_positions)
                vectors = model(token_ids.to(device), mask.to(device), subnet)
                targets = data.normalised_targets(chunk[numbers]).to(device)
                cosines[start + numbers] = F.cosine_similarity(vectors.float(), targets).cpu().numpy()
    report(len(rows), len(rows))
    return cosines


def _length_batches(lengths: list[int]) -> list[NDArray[np.int64]]:
    """Return the numbers of sequences in batches of similar length and at most `_BATCH_TOKENS` tokens."""
    by_length = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    for end in range(1, len(by_length) + 1):
        if end == len(by_length) or (end - start + 1) * lengths[by_length[end]] > _BATCH_TOKENS:
            batches.append(by_length[start:end])
            start = end
    return batches
