"""Profiles: quality and run times of each level on one machine. Public names are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.measure import MeasureSettings, measure_profile
    from elasticdenser.engine.profiling.profile import Level, Profile
    from elasticdenser.engine.profiling.query_sample import sample_queries
    from elasticdenser.engine.profiling.quick import quick_profile

_HOMES = {
    "Level": "profile",
    "MeasureSettings": "measure",
    "Profile": "profile",
    "measure_profile": "measure",
    "quick_profile": "quick",
    "sample_queries": "query_sample",
}

__all__ = ["Level", "MeasureSettings", "Profile", "measure_profile", "quick_profile", "sample_queries"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
