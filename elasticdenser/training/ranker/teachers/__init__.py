"""Kinds of teachers of a ranker: one protocol (`base`), one file a kind, and the registry of kinds.

A module is imported when a recipe needs it.
"""

from __future__ import annotations

import importlib

from elasticdenser.training.ranker.settings import TeacherSettings
from elasticdenser.training.ranker.teachers.base import TeacherInputs, TeacherScores

TEACHERS = {"encoder": "encoder.scores_of_encoder", "bm25": "bm25.scores_of_bm25", "run": "run.scores_of_runs"}
"""Kind -> module and function that prepares a teacher's scores, a `TeacherKind`."""


def prepare_teacher(settings: TeacherSettings, inputs: TeacherInputs) -> TeacherScores:
    """Prepare a teacher: what it needs is computed, or read from the cache of an earlier call.

    Raises:
        ElasticDenserError: The teacher cannot be used.
    """
    module, _, name = TEACHERS[settings.kind].partition(".")
    prepared: TeacherScores = getattr(importlib.import_module(f"{__name__}.{module}"), name)(settings, inputs)
    return prepared
