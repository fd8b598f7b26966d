"""Output of `simulate` and `loadtest`: tables, figures and charts of a load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticdenser.cli.output import can_draw, note, print_json, print_lines, print_table

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.request import Outcome
    from elasticdenser.engine.simulation.settings import SimulationSettings
    from elasticdenser.engine.simulation.summary import Summary
    from elasticdenser.loadtest.result import LoadResult

_RETENTION = "retention: mean share of the best level's quality; late or rejected requests count 0"
_SIMULATED = (
    "(sim.): simulated with the run times and delays of this same run, which checks the scheduler's model but does not "
    "predict other runs"
)

_REQUESTS_PER_INTERVAL, _MIN_INTERVALS, _MAX_INTERVALS = 10, 12, 120
"""Course of a load: with fewer requests in an interval on average, it would be mostly gaps."""


def load_title(description: str, deadline_ms: float, target: int | str) -> str:
    """Return the title of a table or chart: the load, the deadline, and the workers or the URL of the server."""
    target_name = f"{target} worker{'s' * (target > 1)}" if isinstance(target, int) else target
    return f"{description}; deadline {deadline_ms:g} ms, {target_name}"


def print_summaries(summaries: Sequence[Summary], title: str, *, as_json: bool) -> None:
    """Print simulated policies: a table, or a line of JSON for each."""
    if as_json:
        for summary in summaries:
            print_json(asdict(summary))
        return
    columns = ["in time", "retention", "rejected", "late", "p50 ms", "p95 ms", "p99 ms", "policy"]
    rows = [
        [
            f"{summary.in_time:.2%}",
            f"{summary.retention:.4f}",
            f"{summary.refused:.2%}",
            f"{summary.late:.2%}",
            *map(_milliseconds, (summary.p50_s, summary.p95_s, summary.p99_s)),
            summary.policy,
        ]
        for summary in summaries
    ]
    print_table(f"{title}; {summaries[0].n_requests:,} requests", columns, rows, numeric=len(columns) - 1)
    print_lines(_RETENTION)


def print_results(results: Sequence[LoadResult], title: str, *, as_json: bool) -> None:
    """Print measured policies beside their simulation: a table with remarks, or a line of JSON for each."""
    if as_json:
        for result in results:
            print_json(result.figures())
        return
    if not results:
        return
    with_simulation = any(result.simulated for result in results)
    rows = [_cells(result, with_simulation=with_simulation) for result in results]
    n_requests = max(result.summary.n_requests for result in results)
    columns = [heading for heading, _ in rows[0]]
    cells = [[cell for _, cell in row] for row in rows]
    print_table(f"{title}; {n_requests:,} requests", columns, cells, numeric=len(columns) - 1)
    print_lines(_RETENTION)
    if with_simulation:
        print_lines(_SIMULATED)
    for result in results:
        print_lines(result.conditions())


def _cells(result: LoadResult, *, with_simulation: bool) -> list[tuple[str, str]]:
    """Return the heading and the text of each cell in the row of a result."""
    measured, simulated = result.summary, result.simulated

    def simulated_cell(text: Callable[[Summary], str]) -> list[tuple[str, str]]:
        return [("(sim.)", text(simulated) if simulated else "-")] if with_simulation else []

    return [
        ("in time", f"{measured.in_time:.2%}"),
        *simulated_cell(lambda summary: f"{summary.in_time:.2%}"),
        ("retention", f"{measured.retention:.4f}"),
        *simulated_cell(lambda summary: f"{summary.retention:.4f}"),
        ("rejected", f"{measured.refused:.2%}"),
        ("late", f"{measured.late:.2%}"),
        ("lost", str(result.run.n_lost)),
        ("p50 ms", _milliseconds(measured.p50_s)),
        ("p99 ms", _milliseconds(measured.p99_s)),
        *simulated_cell(lambda summary: _milliseconds(summary.p99_s)),
        ("policy", measured.policy),
    ]


def write_figures(
    folder: Path,
    name: str,
    profile: Profile,
    outcomes: Mapping[str, Sequence[Outcome]],
    summaries: Sequence[Summary],
    settings: SimulationSettings,
    title: str,
    *,
    extra_figures: Mapping[str, Mapping[str, Any]] | None = None,
    simulated: Mapping[str, Summary] | None = None,
    shows_capacity: bool = True,
    warnings: Sequence[str] = (),
) -> None:
    """Write the chart and all figures of a load.

    Args:
        folder: Output folder; created if it is missing.
        name: Name of the files, without their endings.
        profile: Profile of the levels.
        outcomes: Policy -> outcomes of its requests.
        summaries: Summary of each policy.
        settings: Settings of the simulation or of the load test.
        title: Description of the load.
        extra_figures: Policy -> further figures for the JSON file.
        simulated: Policy -> summary of its simulation, drawn beside the measured one.
        shows_capacity: Whether the profile was measured on the tested system, so that its capacity can be drawn.
        warnings: Doubts about the figures, written into the chart.
    """
    from elasticdenser.artifacts import explained_os_errors, write_json
    from elasticdenser.engine.simulation.summary import timeline_of

    with explained_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    n_intervals = min(max(max(map(len, outcomes.values())) // _REQUESTS_PER_INTERVAL, _MIN_INTERVALS), _MAX_INTERVALS)
    timelines = {policy: timeline_of(rows, profile, settings.seconds, n_intervals) for policy, rows in outcomes.items()}
    rows = [
        {
            **asdict(summary),
            **(extra_figures or {}).get(summary.policy, {}),
            "course": asdict(timelines[summary.policy]),
        }
        for summary in summaries
    ]
    write_json(folder / f"{name}.json", {"load": title, "settings": asdict(settings), "policies": rows})
    paths = []
    if can_draw():
        from elasticdenser.reports.charts.load import draw_load

        paths = draw_load(
            folder,
            summaries,
            timelines,
            profile,
            workers=settings.workers if shows_capacity else 0,
            deadline_s=settings.deadline_s,
            title=f"{'Simulated' if name == 'simulation' else 'Measured'}: {title}",
            name=name,
            simulated=simulated,
            warnings=warnings,
        )
    note(f"written: {', '.join(map(str, [*paths, folder / f'{name}.json']))}")


def _milliseconds(value_s: float | None) -> str:
    """Return a duration in milliseconds as text; `-` for None."""
    return "-" if value_s is None else f"{1000 * value_s:.1f}"
