"""Profiles: quality and run times of each level on one machine. Public names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elasticdenser.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.level import Level
    from elasticdenser.engine.profiling.measure import MeasureSettings, measure_profile
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.profiling.query_sample import sample_queries
    from elasticdenser.engine.profiling.quick import quick_profile

_MODULES = {
    "Level": "level",
    "MeasureSettings": "measure",
    "Profile": "profile",
    "measure_profile": "measure",
    "quick_profile": "quick",
    "sample_queries": "query_sample",
}

__all__ = ["Level", "MeasureSettings", "Profile", "measure_profile", "quick_profile", "sample_queries"]

__getattr__ = lazy_attributes(__name__, _MODULES)
