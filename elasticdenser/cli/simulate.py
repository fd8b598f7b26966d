"""`elasticdenser simulate`: what policies would make of a load, before there is one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import load_options as loads
from elasticdenser.cli import options
from elasticdenser.cli.output import explained, print_table, progress_bars
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.request import Outcome
    from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
    from elasticdenser.engine.simulation.settings import SimulationSettings
    from elasticdenser.engine.simulation.summary import Summary

_EXAMPLES = options.examples(
    "simulate profile.json -o simulated",
    "simulate profile.json --rate 300 --peak 3000 --deadline-ms 25 -o simulated",
    "simulate profile.json --arrivals day --rate 800 --policies elastic,static:w1-d6,static:level0 --json",
    "simulate profile.json --arrivals times.txt.gz --rate 900 --seconds 30",
    "simulate profile.json --arrivals closed --clients 64",
)


@explained
def simulate(
    profile: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="Levels and latencies (.json).", show_default=False)
    ],
    arrivals: loads.Arrivals = "bursts",
    rate: loads.Rate = None,
    peak: loads.Peak = None,
    clients: loads.NumberOfClients = 32,
    think_ms: loads.ThinkMs = 0.0,
    deadline_ms: loads.DeadlineMs = 25.0,
    policies: loads.Policies = loads.DEFAULT_POLICIES,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Batches that run at once.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long, on the simulated clock.")] = 30.0,
    noise: Annotated[float, typer.Option(help="Scatter of run times (standard deviation of the logarithm).")] = 0.1,
    seed: loads.Seed = 0,
    output: loads.Output = None,
    as_json: loads.AsJson = False,
) -> None:
    """Simulate policies under a load: who is answered in time, and at which level."""
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.simulation.settings import SimulationSettings

    levels = Profile.load(profile)
    settings = SimulationSettings(
        deadline_s=deadline_ms / 1000, seconds=seconds, workers=workers, noise=noise, seed=seed
    )
    settings.scheduler()  # refuses what is out of range before any work
    times, what = loads.arrivals_of(
        arrivals, levels, settings, rate=rate, peak=peak, clients=clients, think_ms=think_ms
    )
    names = loads.policies_of(policies, levels)
    with progress_bars() as progress:
        outcomes = _simulated(levels, names, times, settings, progress)
    from elasticdenser.engine.simulation.summary import summarise

    summaries = [summarise(name, its, levels) for name, its in outcomes.items()]
    title = f"{what}; deadline {deadline_ms:g} ms, {workers} worker{'s' * (workers > 1)}"
    if as_json:
        for summary in summaries:
            typer.echo(json.dumps(asdict(summary)))
    else:
        _print(title, summaries)
    if output is not None:
        loads.write_figures(output, "simulation", levels, outcomes, summaries, settings, title)


def _simulated(
    profile: Profile,
    policies: list[str],
    times: Times | ClosedLoop,
    settings: SimulationSettings,
    progress: Progress,
) -> dict[str, list[Outcome]]:
    from elasticdenser.engine.simulation.simulator import simulate as run

    outcomes = {}
    for number, policy in enumerate(policies):
        progress("policies", number, len(policies))
        outcomes[policy] = run(profile, policy, times, settings)
    progress("policies", len(policies), len(policies))
    return outcomes


def _print(title: str, summaries: Sequence[Summary]) -> None:
    columns = ["in time", "retention", "refused", "late", "p50 ms", "p95 ms", "p99 ms", "policy"]
    rows = [
        [
            *(f"{one.in_time:.2%}", f"{one.retention:.4f}", f"{one.refused:.2%}", f"{one.late:.2%}"),
            *map(loads.ms, (one.p50_s, one.p95_s, one.p99_s)),
            one.policy,
        ]
        for one in summaries
    ]
    print_table(f"{title}; {summaries[0].n_requests:,} requests", columns, rows, numeric=len(columns) - 1)
    typer.echo(loads.RETENTION)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(simulate)
