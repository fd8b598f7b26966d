"""Simulation of the scheduler under a virtual clock. Public names are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times, bursts, day, poisson, replayed
    from elasticdenser.engine.simulation.settings import Delays, SimulationSettings, Slowdown
    from elasticdenser.engine.simulation.simulator import simulate
    from elasticdenser.engine.simulation.summary import Summary, Timeline, summarise, timeline_of

_HOMES = {
    "ClosedLoop": "arrivals",
    "Delays": "settings",
    "SimulationSettings": "settings",
    "Slowdown": "settings",
    "Summary": "summary",
    "Timeline": "summary",
    "Times": "arrivals",
    "bursts": "arrivals",
    "day": "arrivals",
    "poisson": "arrivals",
    "replayed": "arrivals",
    "simulate": "simulator",
    "summarise": "summary",
    "timeline_of": "summary",
}

__all__ = [
    "ClosedLoop",
    "Delays",
    "SimulationSettings",
    "Slowdown",
    "Summary",
    "Timeline",
    "Times",
    "bursts",
    "day",
    "poisson",
    "replayed",
    "simulate",
    "summarise",
    "timeline_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
