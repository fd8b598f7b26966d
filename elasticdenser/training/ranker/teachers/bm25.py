"""Teacher of words: the scores of BM25."""

from __future__ import annotations

import numpy as np

from elasticdenser.arrays import Scores
from elasticdenser.errors import BadInputError
from elasticdenser.training.ranker.settings import TeacherSettings
from elasticdenser.training.ranker.teachers.base import TeacherInputs, TeacherScores

_DEPTH = 1000
"""Hits of a query that have a score of their own; all other candidates get that of the last hit."""


def scores_of_bm25(settings: TeacherSettings, inputs: TeacherInputs) -> TeacherScores:
    """Return the teacher."""
    bm25 = inputs.bm25
    if bm25 is None:
        raise BadInputError("a teacher of kind 'bm25' needs a BM25 index of the passages, and got none")

    def scores(rows: slice) -> Scores:
        numbers = range(*rows.indices(len(inputs.pools)))
        found: dict[int, dict[str, float]] = {number: {} for number in numbers}
        for hit in bm25.search({str(number): inputs.queries.texts[number] for number in numbers}, _DEPTH):
            found[int(hit.query_id)][hit.doc_id] = hit.score
        pools = inputs.pools[rows]
        table = np.full(pools.shape, np.nan, np.float32)
        for row, number in enumerate(numbers):
            hits = found[number]
            # A bound of the score of what was not found; nothing else shares a word with the query.
            other = min(hits.values()) if len(hits) >= _DEPTH else 0.0
            table[row] = [
                np.nan if position < 0 else hits.get(inputs.index.doc_ids[position], other)
                for position in pools[row].tolist()
            ]
        return table

    return TeacherScores({"kind": settings.kind, "depth": _DEPTH}, scores)
