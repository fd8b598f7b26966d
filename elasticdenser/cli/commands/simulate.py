"""`elasticdenser simulate`: compare policies under a simulated load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import load_options, options
from elasticdenser.cli.command import command
from elasticdenser.cli.load_output import load_title, print_summaries, write_figures
from elasticdenser.cli.output import progress_bars
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.request import Outcome
    from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
    from elasticdenser.engine.simulation.settings import SimulationSettings

_EXAMPLES = options.examples(
    "simulate profile.json -o simulated",
    "simulate profile.json --rate 300 --peak 3000 --deadline-ms 25 -o simulated",
    "simulate profile.json --arrivals day --rate 800 --policies elastic,static:w1-d6,static:level0 --json",
    "simulate profile.json --arrivals times.txt.gz --rate 900 --seconds 30",
    "simulate profile.json --arrivals closed --clients 64",
)


@command
def simulate(
    profile: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="Profile of an index (.json), by `profile`.", show_default=False)
    ],
    *,
    load: load_options.LoadOptions,
    policies: load_options.Policies = load_options.DEFAULT_POLICIES,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Number of batches that run at once.")] = 1,
    seconds: Annotated[float, typer.Option(help="Duration of the load, on the simulated clock.")] = 30.0,
    noise: Annotated[
        float, typer.Option(help="Scatter of the run times: the standard deviation of their logarithm.")
    ] = 0.1,
    seed: load_options.Seed = 0,
    output: load_options.Output = None,
    as_json: load_options.AsJson = False,
) -> None:
    """Simulate policies under a load: the share of requests answered in time, and their quality."""
    from elasticdenser.engine.policies import expand_policies
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.simulation.settings import SimulationSettings
    from elasticdenser.engine.simulation.summary import summarise

    levels = Profile.load(profile)
    settings = SimulationSettings(
        deadline_s=load.deadline_ms / 1000, seconds=seconds, workers=workers, noise=noise, seed=seed
    )
    settings.scheduler()  # checks the ranges before any work
    arrivals, description = load.resolve_arrivals(levels, settings)
    names = expand_policies(policies, levels)
    with progress_bars() as progress:
        outcomes = _simulate_each(levels, names, arrivals, settings, progress)
    summaries = [summarise(name, of_policy, levels) for name, of_policy in outcomes.items()]
    title = load_title(description, load.deadline_ms, workers)
    print_summaries(summaries, title, as_json=as_json)
    if output is not None:
        write_figures(output, "simulation", levels, outcomes, summaries, settings, title)


def _simulate_each(
    profile: Profile,
    policies: Sequence[str],
    arrivals: Times | ClosedLoop,
    settings: SimulationSettings,
    progress: Progress,
) -> dict[str, list[Outcome]]:
    from elasticdenser.engine.simulation.simulator import simulate as run_simulation

    outcomes = {}
    for number, policy in enumerate(policies):
        progress("policies", number, len(policies))
        outcomes[policy] = run_simulation(profile, policy, arrivals, settings)
    progress("policies", len(policies), len(policies))
    return outcomes


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(simulate)
