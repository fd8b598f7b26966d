"""Protocol of the teachers of a ranker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from elasticdenser.arrays import Scores
from elasticdenser.index import PassageIndex
from elasticdenser.progress import Progress
from elasticdenser.retrieval.bm25 import Bm25Index
from elasticdenser.training.ranker.candidates import CandidatePools
from elasticdenser.training.ranker.queries import RankerQueries
from elasticdenser.training.ranker.settings import TeacherSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherInputs:
    """Input of the teachers.

    Args:
        queries: The queries.
        pools: Their candidates.
        index: The passages.
        bm25: The same passages; None if no part of the recipe needs BM25.
        data: Folder that paths in the recipe are relative to.
        folder: Folder of caches.
        device: Where to compute.
        offline: Whether models may not be downloaded.
        trust_remote_code: Whether code that models bring may be executed.
        progress: Called with (activity, done, total).
    """

    queries: RankerQueries
    pools: CandidatePools
    index: PassageIndex
    bm25: Bm25Index | None
    data: Path
    folder: Path
    device: torch.device
    offline: bool
    trust_remote_code: bool
    progress: Progress


class TeacherScores(NamedTuple):
    """A teacher that is ready to score.

    Attributes:
        identity: All that its scores depend on beside queries and candidates, as JSON.
        scores: Returns the scores of the pools of a slice of queries, float32, (n, n_candidates), NaN where unknown or
            without a candidate.
    """

    identity: dict[str, Any]
    scores: Callable[[slice], Scores]


class TeacherKind(Protocol):
    """Function that prepares the scores of a kind of teacher."""

    def __call__(self, settings: TeacherSettings, inputs: TeacherInputs) -> TeacherScores:
        """Return the teacher, with what is slow to compute cached in `inputs.folder`."""
