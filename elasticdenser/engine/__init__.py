"""Engine: answers queries by their deadlines, at the best level that the load allows.

The scheduler takes the time as an argument, so that the live engine and the simulator run the same code. Public names
are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticdenser.engine.answers import Answer, Snapshot
    from elasticdenser.engine.batch_search import BatchSearch
    from elasticdenser.engine.engine import RetrievalEngine
    from elasticdenser.engine.errors import EngineClosedError, OverloadedError, WorkerError
    from elasticdenser.engine.listener import DeliveryListener
    from elasticdenser.engine.policies import Policy
    from elasticdenser.engine.profiling.profile import Level, Profile
    from elasticdenser.engine.settings import SchedulerSettings

_HOMES = {
    "Answer": "answers",
    "BatchSearch": "batch_search",
    "DeliveryListener": "listener",
    "EngineClosedError": "errors",
    "Level": "profiling.profile",
    "OverloadedError": "errors",
    "Policy": "policies",
    "Profile": "profiling.profile",
    "RetrievalEngine": "engine",
    "SchedulerSettings": "settings",
    "Snapshot": "answers",
    "WorkerError": "errors",
}

__all__ = [
    "Answer",
    "BatchSearch",
    "DeliveryListener",
    "EngineClosedError",
    "Level",
    "OverloadedError",
    "Policy",
    "Profile",
    "RetrievalEngine",
    "SchedulerSettings",
    "Snapshot",
    "WorkerError",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
