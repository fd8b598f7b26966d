"""What `simulate` and `loadtest` share: which requests come when, which policies answer, and how results are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.cli.output import note

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.request import Outcome
    from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
    from elasticdenser.engine.simulation.settings import SimulationSettings
    from elasticdenser.engine.simulation.summary import Summary

DEFAULT_POLICIES = "elastic,thresholds,slackfit,static"
RETENTION = "retention: mean share of the best level's quality; late or refused counts 0"

Arrivals = Annotated[
    str,
    typer.Option(help="poisson, bursts, day, closed (clients that wait), or a file of times in seconds, one a line."),
]
Rate = Annotated[
    float | None,
    typer.Option(help="Requests a second: mean, or between bursts. Default: half of what the best level can do."),
]
Peak = Annotated[
    float | None,
    typer.Option(help="Requests a second in bursts. Default: 90 % of what the smallest level can do."),
]
NumberOfClients = Annotated[int, typer.Option(min=1, max=100_000, help="Clients, for closed.")]
ThinkMs = Annotated[float, typer.Option(min=0, help="Mean pause of a client, for closed.")]
DeadlineMs = Annotated[float, typer.Option(help="Of each request, after it comes.")]
Policies = Annotated[
    str,
    typer.Option(
        help="elastic, thresholds, slackfit, static:LEVEL, aimd:LEVEL; static and aimd alone are at every level. "
        "The first one's levels are drawn over time."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of all chance.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Folder for a picture (SVG, PNG) and all figures (JSON).")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line for each policy.")]

_MOST_REQUESTS = 5_000_000


def arrivals_of(
    kind: str,
    profile: Profile,
    settings: SimulationSettings,
    *,
    rate: float | None,
    peak: float | None,
    clients: int,
    think_ms: float,
) -> tuple[Times | ClosedLoop, str]:
    """Return when requests come, and what that is in words."""
    import numpy as np

    from elasticdenser.engine.simulation import arrivals
    from elasticdenser.errors import BadInputError, QueryError

    rng, seconds = np.random.default_rng(settings.seed), settings.seconds
    best, smallest = profile.levels[0], profile.levels[profile.hull[-1]]
    rate = 0.5 * settings.workers * best.capacity_per_s(settings.deadline_s / 2) if rate is None else rate
    peak = 0.9 * settings.workers * smallest.capacity_per_s(settings.deadline_s / 2) if peak is None else peak
    if kind == "closed":
        loop = arrivals.ClosedLoop(clients=clients, think_s=think_ms / 1000)
        if clients * seconds / (settings.deadline_s + loop.think_s) > _MOST_REQUESTS:  # if all are turned away
            message = f"got {clients:,} clients for {seconds:g} s, which may make more than {_MOST_REQUESTS:,} requests"
            raise QueryError(f"{message}: lower --clients or --seconds, or raise --think-ms")
        return loop, f"{clients} clients that wait"
    if rate * seconds > _MOST_REQUESTS or (kind == "bursts" and peak * seconds > _MOST_REQUESTS):
        message = f"got {max(rate, peak):,.0f} requests a second for {seconds:g} s"
        raise QueryError(f"{message}; expected {_MOST_REQUESTS:,} requests at most: lower --seconds or the rate")
    if kind == "poisson":
        found, what = arrivals.poisson(rate, seconds, rng), f"{rate:,.0f} requests a second"
    elif kind == "bursts":
        found, what = arrivals.bursts(rate, peak, seconds, rng), f"bursts from {rate:,.0f} to {peak:,.0f} a second"
    elif kind == "day":
        found, what = arrivals.day(rate, seconds, rng), f"a day in {seconds:g} s, {rate:,.0f} a second on average"
    elif Path(kind).exists() or "." in kind or "/" in kind:
        found, what = arrivals.replayed(kind, rate, seconds), f"{Path(kind).name} at {rate:,.0f} a second"
    else:
        raise BadInputError(f"got arrivals {kind!r}; expected poisson, bursts, day, closed, or a file of times")
    if not len(found):
        raise QueryError(f"no request came in {seconds:g} s at {rate:g} a second: raise --rate or --seconds")
    return found, what


def note_if_shared(n_queries: int, arrivals: Times | ClosedLoop, deadline_s: float) -> None:
    """Say so where so few different queries are asked that equal ones are in flight together."""
    import numpy as np

    from elasticdenser.engine.simulation.arrivals import ClosedLoop

    if isinstance(arrivals, ClosedLoop):
        most = arrivals.clients
    else:
        most = int((np.searchsorted(arrivals, arrivals + deadline_s) - np.arange(len(arrivals))).max())
    if n_queries < most:
        note(
            f"{n_queries:,} different queries are asked in turn, up to {most:,} requests within a deadline: equal ones "
            "in flight are answered together, so more come in time than of different ones would. Give more (--queries)"
        )


def policies_of(spelled: str, profile: Profile) -> list[str]:
    """Return the policies that are meant, each once; checks them."""
    from elasticdenser.engine.policies import expand_policies

    return expand_policies(spelled, profile)


def ms(value_s: float | None) -> str:
    """Return a time in milliseconds as text."""
    return "-" if value_s is None else f"{1000 * value_s:.1f}"


def write_figures(
    folder: Path,
    name: str,
    profile: Profile,
    outcomes: Mapping[str, Sequence[Outcome]],
    summaries: Sequence[Summary],
    settings: SimulationSettings,
    title: str,
    *,
    more: Mapping[str, Mapping[str, Any]] | None = None,
    simulated: Mapping[str, Summary] | None = None,
    shows_capacity: bool = True,
) -> None:
    """Write the picture and all figures of a load.

    Args:
        folder: Where to; made if it is missing.
        name: Of the files.
        profile: The levels.
        outcomes: By policy.
        summaries: One for each policy.
        settings: What was simulated or run.
        title: Says what the load was.
        more: Further figures by policy.
        simulated: What the simulator says, by policy, to be drawn beside.
        shows_capacity: Whether the profile's times are those of what was tested.
    """
    from elasticdenser.artifacts import explained_os_errors, write_json
    from elasticdenser.engine.simulation.summary import timeline_of
    from elasticdenser.reports.charts.load import draw_load

    with explained_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    courses = {policy: timeline_of(its, profile, settings.seconds) for policy, its in outcomes.items()}
    rows = [
        {**asdict(one), **(more or {}).get(one.policy, {}), "course": asdict(courses[one.policy])} for one in summaries
    ]
    write_json(folder / f"{name}.json", {"load": title, "settings": asdict(settings), "policies": rows})
    paths = draw_load(
        folder,
        summaries,
        courses,
        profile,
        workers=settings.workers if shows_capacity else 0,
        deadline_s=settings.deadline_s,
        title=f"{'Simulated' if name == 'simulation' else 'Measured'}: {title}",
        name=name,
        simulated=simulated,
    )
    note(f"written: {', '.join(map(str, [*paths, folder / f'{name}.json']))}")
