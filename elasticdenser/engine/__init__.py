"""Engine: answers queries by their deadlines, at the best level that the load allows.

The scheduler takes the time as an argument, so that the live engine and the simulator run the same code. Public names
are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elasticdenser.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from elasticdenser.engine.answers import Answer, Snapshot
    from elasticdenser.engine.batch_search import BatchSearch
    from elasticdenser.engine.engine import RetrievalEngine
    from elasticdenser.engine.errors import EngineClosedError, OverloadedError, WorkerError
    from elasticdenser.engine.listener import DeliveryListener
    from elasticdenser.engine.policies import Policy
    from elasticdenser.engine.profiling.level import Level
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.settings import SchedulerSettings

_MODULES = {
    "Answer": "answers",
    "BatchSearch": "batch_search",
    "DeliveryListener": "listener",
    "EngineClosedError": "errors",
    "Level": "profiling.level",
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

__getattr__ = lazy_attributes(__name__, _MODULES)
