"""Simulation of the scheduler under a virtual clock. Public names are imported when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elasticdenser.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times, bursts, day, poisson, replayed
    from elasticdenser.engine.simulation.fleet.settings import FleetSettings
    from elasticdenser.engine.simulation.fleet.simulator import FleetRun, simulate_fleet
    from elasticdenser.engine.simulation.fleet.times import FleetTimes
    from elasticdenser.engine.simulation.settings import Delays, SimulationSettings, Slowdown
    from elasticdenser.engine.simulation.simulator import simulate
    from elasticdenser.engine.simulation.summary import Summary, Timeline, summarise, timeline_of

_MODULES = {
    "ClosedLoop": "arrivals",
    "Delays": "settings",
    "FleetRun": "fleet.simulator",
    "FleetSettings": "fleet.settings",
    "FleetTimes": "fleet.times",
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
    "simulate_fleet": "fleet.simulator",
    "summarise": "summary",
    "timeline_of": "summary",
}

__all__ = [
    "ClosedLoop",
    "Delays",
    "FleetRun",
    "FleetSettings",
    "FleetTimes",
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
    "simulate_fleet",
    "summarise",
    "timeline_of",
]

__getattr__ = lazy_attributes(__name__, _MODULES)
