"""Options that `simulate` and `loadtest` share: the load, and the policies that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import note

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
    from elasticdenser.engine.simulation.settings import SimulationSettings

DEFAULT_POLICIES = "elastic,thresholds,slackfit,static"

Policies = Annotated[
    str,
    typer.Option(
        help="elastic, thresholds, slackfit, static:LEVEL or aimd:LEVEL, separated by commas; static and aimd without "
        "a level are run at each level. The chart shows the levels of the first policy over time, and lines of the "
        "first and of the best and the worst of the others."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="Folder for a chart (SVG, PNG) and all figures (JSON).", callback=options.output_folder
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each policy.")]

_MAX_REQUESTS = 5_000_000
"""Maximum number of requests of a load: the outcomes of more would need too much memory."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Options that describe a load: the arrivals of its requests, and their deadline."""

    arrivals: Annotated[
        str,
        typer.Option(
            help="poisson, bursts, day, closed (clients that wait for answers), or a file of times in seconds, one "
            "per line."
        ),
    ] = "bursts"
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests per second: the mean, or the rate between bursts. Default: half of the best level's "
            "capacity."
        ),
    ] = None
    peak: Annotated[
        float | None,
        typer.Option(help="Requests per second in bursts. Default: 90% of the fastest level's capacity."),
    ] = None
    clients: Annotated[int, typer.Option(min=1, max=100_000, help="Number of clients, for closed arrivals.")] = 32
    think_ms: Annotated[float, typer.Option(min=0, help="Mean pause of a client, for closed arrivals.")] = 0.0
    deadline_ms: Annotated[float, typer.Option(help="Deadline of each request, from its arrival.")] = 25.0

    def resolve_arrivals(self, profile: Profile, settings: SimulationSettings) -> tuple[Times | ClosedLoop, str]:
        """Return the arrivals of the requests, and a description of them.

        Raises:
            BadInputError: There are no such arrivals, or their file cannot be used.
            QueryError: The load has no requests, or too many.
        """
        if self.arrivals == "closed":
            return self._closed_loop(settings)
        half_deadline_s = settings.deadline_s / 2  # the other half is for waiting
        best, fastest = profile.levels[0], profile.levels[profile.hull[-1]]
        rate, peak = self.rate, self.peak
        if rate is None:
            rate = 0.5 * settings.workers * best.capacity_per_s(half_deadline_s)
        if peak is None:
            peak = 0.9 * settings.workers * fastest.capacity_per_s(half_deadline_s)
        return self._times(rate, peak, settings)

    def _closed_loop(self, settings: SimulationSettings) -> tuple[ClosedLoop, str]:
        from elasticdenser.engine.simulation.arrivals import ClosedLoop
        from elasticdenser.errors import QueryError

        loop = ClosedLoop(clients=self.clients, think_s=self.think_ms / 1000)
        # The largest number of requests comes when all are rejected at their deadline.
        if self.clients * settings.seconds / (settings.deadline_s + loop.think_s) > _MAX_REQUESTS:
            raise QueryError(
                f"got {self.clients:,} clients for {settings.seconds:g} s, which may make more than {_MAX_REQUESTS:,} "
                "requests: lower --clients or --seconds, or raise --think-ms"
            )
        return loop, f"{self.clients} clients that wait"

    def _times(self, rate: float, peak: float, settings: SimulationSettings) -> tuple[Times, str]:
        import numpy as np

        from elasticdenser.engine.simulation import arrivals
        from elasticdenser.errors import BadInputError, QueryError

        kind, seconds, rng = self.arrivals, settings.seconds, np.random.default_rng(settings.seed)
        if rate * seconds > _MAX_REQUESTS or (kind == "bursts" and peak * seconds > _MAX_REQUESTS):
            raise QueryError(
                f"got {max(rate, peak):,.0f} requests per second for {seconds:g} s; expected at most "
                f"{_MAX_REQUESTS:,} requests: lower --seconds or the rate"
            )
        if kind == "poisson":
            times, description = arrivals.poisson(rate, seconds, rng), f"{rate:,.0f} requests a second"
        elif kind == "bursts":
            times = arrivals.bursts(rate, peak, seconds, rng)
            description = f"bursts from {rate:,.0f} to {peak:,.0f} a second"
        elif kind == "day":
            times = arrivals.day(rate, seconds, rng)
            description = f"a day in {seconds:g} s, {rate:,.0f} a second on average"
        elif Path(kind).exists() or "." in kind or "/" in kind:
            times = arrivals.replayed(kind, rate, seconds)
            description = f"{Path(kind).name} at {rate:,.0f} a second"
        else:
            raise BadInputError(f"got arrivals {kind!r}; expected poisson, bursts, day, closed, or a file of times")
        if not len(times):
            raise QueryError(f"no request came in {seconds:g} s at {rate:g} a second: raise --rate or --seconds")
        return times, description


def note_shared_queries(n_queries: int, arrivals: Times | ClosedLoop, deadline_s: float) -> None:
    """Note that equal queries will be in flight at the same time, if there are too few different ones."""
    import numpy as np

    from elasticdenser.engine.simulation.arrivals import ClosedLoop

    if isinstance(arrivals, ClosedLoop):
        max_in_flight = arrivals.clients
    else:
        max_in_flight = int((np.searchsorted(arrivals, arrivals + deadline_s) - np.arange(len(arrivals))).max())
    if n_queries < max_in_flight:
        note(
            f"{n_queries:,} different queries are sent in turn, up to {max_in_flight:,} requests within a deadline: "
            "equal queries in flight are answered together, so more are in time than with different ones. Give more "
            "queries (--queries)"
        )
