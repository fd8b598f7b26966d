"""Teacher of runs: the scores that another system, such as a cross-encoder, gave to its hits."""

from __future__ import annotations

import numpy as np

from elasticdenser.arrays import Scores
from elasticdenser.training.ranker.settings import TeacherSettings
from elasticdenser.training.ranker.teachers.base import TeacherInputs, TeacherScores


def scores_of_runs(settings: TeacherSettings, inputs: TeacherInputs) -> TeacherScores:
    """Return the teacher; candidates that are not in the run of their query have no score."""

    def scores(rows: slice) -> Scores:
        pools = inputs.pools[rows]
        table = np.full(pools.shape, np.nan, np.float32)
        for row, number in enumerate(range(*rows.indices(len(inputs.pools)))):
            hits = inputs.queries.hits.get(number, {})
            table[row] = [hits.get(position, np.nan) for position in pools[row].tolist()]
        return table

    return TeacherScores({"kind": settings.kind}, scores)
