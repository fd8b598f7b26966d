"""`elasticdenser simulate`: what policies would make of a load, before there is one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.cli import options
from elasticdenser.cli.output import Progress, explained, note, print_table, progress_bars

if TYPE_CHECKING:
    from elasticdenser.engine.arrivals import ClosedLoop, Times
    from elasticdenser.engine.profile import Profile
    from elasticdenser.engine.request import Outcome
    from elasticdenser.engine.summary import Summary

_EXAMPLES = options.examples(
    "simulate profile.json -o simulated",
    "simulate profile.json --rate 300 --peak 3000 --deadline-ms 25 -o simulated",
    "simulate profile.json --arrivals day --rate 800 --policies elastic,static:w1-d6,static:level0 --json",
    "simulate profile.json --arrivals times.txt.gz --rate 900 --seconds 30",
    "simulate profile.json --arrivals closed --clients 64",
)
_DEFAULT_POLICIES = "elastic,thresholds,slackfit,static"


@explained
def simulate(
    profile: Annotated[
        Path, typer.Argument(metavar="PROFILE", help="Levels and latencies (.json).", show_default=False)
    ],
    arrivals: Annotated[
        str,
        typer.Option(
            help="poisson, bursts, day, closed (clients that wait), or a file of times in seconds, one a line."
        ),
    ] = "bursts",
    rate: Annotated[
        float | None,
        typer.Option(help="Requests a second: mean, or between bursts. Default: half of what the best level can do."),
    ] = None,
    peak: Annotated[
        float | None,
        typer.Option(help="Requests a second in bursts. Default: 90 % of what the smallest level can do."),
    ] = None,
    clients: Annotated[int, typer.Option(min=1, help="Clients, for closed.")] = 32,
    think_ms: Annotated[float, typer.Option(min=0, help="Mean pause of a client, for closed.")] = 0.0,
    deadline_ms: Annotated[float, typer.Option(help="Of each request, after it comes.")] = 25.0,
    policies: Annotated[
        str,
        typer.Option(
            help="elastic, thresholds, slackfit, static:LEVEL, aimd:LEVEL; static and aimd alone are at every level. "
            "The first one's levels are drawn over time."
        ),
    ] = _DEFAULT_POLICIES,
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Batches that run at once.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long, on the simulated clock.")] = 30.0,
    noise: Annotated[float, typer.Option(help="Scatter of run times (standard deviation of the logarithm).")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for a picture (SVG, PNG) and all figures (JSON).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each policy.")] = False,
) -> None:
    """Simulate policies under a load: who is answered in time, and at which level."""
    from elasticdenser.engine.profile import Profile
    from elasticdenser.engine.simulation import SimulationSettings

    levels = Profile.load(profile)
    settings = SimulationSettings(
        deadline_s=deadline_ms / 1000, seconds=seconds, workers=workers, noise=noise, seed=seed
    )
    settings.scheduler()  # refuses what is out of range before any work
    times, what = _arrivals(arrivals, levels, settings, rate=rate, peak=peak, clients=clients, think_ms=think_ms)
    names = _policies(policies, levels)
    with progress_bars() as progress:
        outcomes = _simulated(levels, names, times, settings, progress)
    from elasticdenser.engine.summary import summarise

    summaries = [summarise(name, its, levels) for name, its in outcomes.items()]
    title = f"{what}; deadline {deadline_ms:g} ms, {workers} worker{'s' * (workers > 1)}"
    if as_json:
        for summary in summaries:
            typer.echo(json.dumps(asdict(summary)))
    else:
        _print(title, summaries)
    if output is not None:
        _write(output, levels, summaries, outcomes, settings, title)


def _arrivals(
    kind: str,
    profile: Profile,
    settings: Any,
    *,
    rate: float | None,
    peak: float | None,
    clients: int,
    think_ms: float,
) -> tuple[Times | ClosedLoop, str]:
    """Return when requests come, and what that is in words."""
    import numpy as np

    from elasticdenser.engine import arrivals
    from elasticdenser.errors import BadInputError, QueryError

    rng, seconds = np.random.default_rng(settings.seed), settings.seconds
    best, smallest = profile.levels[0], profile.levels[profile.hull[-1]]
    rate = 0.5 * settings.workers * best.capacity_per_s(settings.deadline_s / 2) if rate is None else rate
    peak = 0.9 * settings.workers * smallest.capacity_per_s(settings.deadline_s / 2) if peak is None else peak
    if kind == "closed":
        return arrivals.ClosedLoop(clients=clients, think_s=think_ms / 1000), f"{clients} clients that wait"
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


_MOST_REQUESTS = 5_000_000


def _policies(spelled: str, profile: Profile) -> list[str]:
    """Return the policies that are meant, each once; checks them."""
    from elasticdenser.engine.policies import make_policy

    names: list[str] = []
    for name in filter(None, (part.strip() for part in spelled.split(","))):
        every = name in ("static", "aimd")
        names += [f"{name}:{profile.levels[place].name}" for place in profile.hull] if every else [name]
    for name in names or [spelled]:
        make_policy(name, profile, slo_s=1.0)
    return list(dict.fromkeys(names))


def _simulated(
    profile: Profile, policies: list[str], times: Times | ClosedLoop, settings: Any, progress: Progress
) -> dict[str, list[Outcome]]:
    from elasticdenser.engine.simulation import simulate as run

    outcomes = {}
    for number, policy in enumerate(policies):
        progress("policies", number, len(policies))
        outcomes[policy] = run(profile, policy, times, settings)
    progress("policies", len(policies), len(policies))
    return outcomes


def _print(title: str, summaries: list[Summary]) -> None:
    def ms(value_s: float | None) -> str:
        return "-" if value_s is None else f"{1000 * value_s:.1f}"

    columns = ["in time", "retention", "refused", "late", "p50 ms", "p95 ms", "p99 ms", "policy"]
    rows = [
        [
            *(f"{one.in_time:.2%}", f"{one.retention:.4f}", f"{one.refused:.2%}", f"{one.late:.2%}"),
            *map(ms, (one.p50_s, one.p95_s, one.p99_s)),
            one.policy,
        ]
        for one in summaries
    ]
    print_table(f"{title}; {summaries[0].n_requests:,} requests", columns, rows, numeric=len(columns) - 1)
    typer.echo("retention: mean share of the best level's quality; late or refused counts 0")


def _write(
    folder: Path,
    profile: Profile,
    summaries: list[Summary],
    outcomes: dict[str, list[Outcome]],
    settings: Any,
    title: str,
) -> None:
    from elasticdenser.artifacts import explained_os_errors, write_json
    from elasticdenser.engine.picture import draw
    from elasticdenser.engine.summary import course

    with explained_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    courses = {name: course(its, profile, settings.seconds) for name, its in outcomes.items()}
    figures = {
        "load": title,
        "settings": asdict(settings),
        "policies": [{**asdict(one), "course": asdict(courses[one.policy])} for one in summaries],
    }
    write_json(folder / "simulation.json", figures)
    paths = draw(
        folder,
        summaries,
        courses,
        profile,
        workers=settings.workers,
        deadline_s=settings.deadline_s,
        title=title,
    )
    note(f"written: {', '.join(map(str, [*paths, folder / 'simulation.json']))}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(simulate)
