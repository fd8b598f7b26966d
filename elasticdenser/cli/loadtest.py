"""`elasticdenser loadtest`: what policies make of a load that is real, beside what the simulator says of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elasticdenser.cli import load_options as loads
from elasticdenser.cli import options
from elasticdenser.cli.output import explained, note, print_table, progress_bars
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times
    from elasticdenser.engine.simulation.settings import SimulationSettings
    from elasticdenser.loadtest.engine_target import EngineTarget
    from elasticdenser.loadtest.generator import LoadSettings
    from elasticdenser.loadtest.http_target import HttpTarget
    from elasticdenser.loadtest.result import LoadResult

_EXAMPLES = options.examples(
    "loadtest indexes/mine --profile profile.json --queries questions.txt -o tested",
    "loadtest indexes/mine --rate 300 --peak 3000 --policies elastic,static --seconds 20",
    "loadtest indexes/mine --arrivals closed --clients 64 --policies static:w1-d6",
    "loadtest http://localhost:8000 --queries questions.txt --rate 100 --peak 500 --json",
)
_SERVER = "server"
_SIMULATED = (
    "(sim.): the same, simulated with run times and ways as found in this run: it checks the scheduler's model, and "
    "foresees no other run"
)


@explained
def loadtest(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="Folder of an index, or URL of a server.", show_default=False),
    ],
    profile: Annotated[
        Path | None,
        typer.Option(help="Levels and latencies of the index (.json). Default: measured briefly, or the server's."),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(help="What is asked, as `run` takes it. Default: first words of passages; a server needs it."),
    ] = None,
    arrivals: loads.Arrivals = "bursts",
    rate: loads.Rate = None,
    peak: loads.Peak = None,
    clients: loads.NumberOfClients = 32,
    think_ms: loads.ThinkMs = 0.0,
    deadline_ms: loads.DeadlineMs = 25.0,
    policies: loads.Policies = "elastic",
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Batches that run at once. Default: one a CPU, and one CPU for the client."),
    ] = None,
    in_processes: options.InProcesses = None,
    seconds: Annotated[float, typer.Option(help="How long requests are sent, for each policy.")] = 10.0,
    k: options.Hits = 10,
    drain: Annotated[float, typer.Option(help="Seconds after which what has no answer is lost.")] = 5.0,
    seed: loads.Seed = 0,
    output: loads.Output = None,
    as_json: loads.AsJson = False,
    encoder: options.EncoderName = None,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    offline: options.Offline = False,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the key of the server.", show_default=False)
    ] = None,
) -> None:
    """Put an index's engine, in another process, or a server under load: who is answered in time, at which level.

    Latency counts from when a request was to be sent. Ctrl-C ends the load, and still reports.
    """
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.simulation.settings import SimulationSettings
    from elasticdenser.loadtest.generator import LoadSettings

    is_url = "://" in target
    levels = None if profile is None else Profile.load(profile)
    asked = _queries(queries)
    _check(target, is_url, levels, asked, rate, peak, arrivals)
    n_workers = _workers(workers, is_url)
    simulation = SimulationSettings(deadline_s=deadline_ms / 1000, seconds=seconds, workers=n_workers, seed=seed)
    simulation.scheduler()  # refuses what is out of range before any work
    client = LoadSettings(deadline_s=deadline_ms / 1000, seconds=seconds, k=k, drain_s=drain, seed=seed)
    opened: EngineTarget | HttpTarget
    if is_url:
        opened = _open_server(target, api_key_file)
    else:
        how = options.encoder_options(precision, device)
        opened = _open_engine(
            Path(target), levels, n_workers, in_processes, encoder=encoder, download=not offline, **how
        )
    with opened, progress_bars() as progress:
        levels = levels or opened.profile
        if levels is None:
            raise typer.BadParameter("the server does not tell its levels", param_hint="--profile")
        times, what = loads.arrivals_of(
            arrivals, levels, simulation, rate=rate, peak=peak, clients=clients, think_ms=think_ms
        )
        names = [_SERVER] if is_url else loads.policies_of(policies, levels)
        asked = asked or list(getattr(opened, "queries", ()))
        simulation = replace(simulation, n_queries=len(set(asked)))
        loads.note_if_shared(len(set(asked)), times, simulation.deadline_s)
        results = _tested(opened, names, times, asked, client, None if is_url else simulation, levels, progress)
    title = f"{what}; deadline {deadline_ms:g} ms, " + (
        target if is_url else f"{n_workers} worker{'s' * (n_workers > 1)}"
    )
    _show(results, title, as_json=as_json)
    if output is not None:
        _write(output, results, levels, simulation, title, shows_capacity=not is_url)
    _judge(results)


def _queries(path: str | None) -> list[str]:
    if path is None:
        return []
    from elasticdenser.datasets import load_queries
    from elasticdenser.errors import BadInputError

    found = [query.text for query in load_queries(path)]
    if not found:
        raise BadInputError("got no queries; expected at least one", path)
    return found


def _check(
    target: str,
    is_url: bool,
    profile: Profile | None,
    queries: Sequence[str],
    rate: float | None,
    peak: float | None,
    kind: str,
) -> None:
    """Refuse what can be seen to be wrong before anything is opened."""
    if not is_url:
        from elasticdenser.index.manifest import Manifest

        if not queries and not Manifest.read(Path(target)).has_texts:
            message = "the index holds no texts to make queries of: give a file of queries"
            raise typer.BadParameter(message, param_hint="--queries")
        return
    if not queries:
        raise typer.BadParameter("a server does not tell what to ask: give a file of queries", param_hint="--queries")
    needed = {"closed": [], "bursts": [rate, peak]}.get(kind, [rate])
    if profile is None and None in needed:
        raise typer.BadParameter(
            "what a server can do is not known: give --rate, for bursts --peak, too, or --profile", param_hint="--rate"
        )


def _workers(workers: int | None, is_url: bool) -> int:
    from elasticdenser.cpus import cpu_count

    return workers or (1 if is_url else max(1, cpu_count() - 1))


def _open_server(url: str, key_file: Path | None) -> HttpTarget:
    from elasticdenser.loadtest.http_target import HttpTarget

    return HttpTarget(url, api_key=options.key_in(key_file) if key_file else None)


def _open_engine(
    path: Path, profile: Profile | None, workers: int, in_processes: bool | None, **how: Any
) -> EngineTarget:
    from functools import partial

    from elasticdenser.loadtest.engine_process import open_index
    from elasticdenser.loadtest.engine_target import EngineTarget

    note(f"opening {path} in another process" + ("" if profile else ", and measuring its levels"))
    return EngineTarget(partial(open_index, path, **how), profile, workers=workers, in_processes=in_processes)


def _tested(
    target: EngineTarget | HttpTarget,
    policies: Sequence[str],
    times: Times | ClosedLoop,
    queries: Sequence[str],
    client: LoadSettings,
    simulation: SimulationSettings | None,
    profile: Profile,
    progress: Progress,
) -> list[LoadResult]:
    from elasticdenser.loadtest.generator import run_load
    from elasticdenser.loadtest.result import LoadResult

    results: list[LoadResult] = []
    with _ctrl_c() as pressed:
        for number, policy in enumerate(policies):
            progress("policies", number, len(policies))
            target.start(policy, client.deadline_s)
            note(f"running {policy} for {client.seconds:g} s")
            run = run_load(target, times, queries, client, is_stopped=lambda: bool(pressed))
            target.finish()
            if run.outcomes:
                results.append(LoadResult.from_run(policy, run, profile, times, simulation))
            if pressed:
                note(f"stopped: {len(results)} of {len(policies)} policies are reported, the last one in part")
                break
        else:
            progress("policies", len(policies), len(policies))
    return results


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """Note the first Ctrl-C in the list; a second one ends the program."""
    pressed: list[int] = []

    def handler(number: int, _: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _show(results: Sequence[LoadResult], title: str, *, as_json: bool) -> None:
    if as_json:
        for one in results:
            typer.echo(json.dumps({**one.figures()}))
        return
    if not results:
        return
    both = any(one.simulated for one in results)
    columns = ["in time", *["(sim.)"] * both, "retention", *["(sim.)"] * both, "refused", "late", "lost", "p50 ms"]
    columns += ["p99 ms", *["(sim.)"] * both, "policy"]
    rows = []
    for one in results:
        real, simulated = one.summary, one.simulated
        rows.append(
            [
                f"{real.in_time:.2%}",
                *([f"{simulated.in_time:.2%}" if simulated else "-"] * both),
                f"{real.retention:.4f}",
                *([f"{simulated.retention:.4f}" if simulated else "-"] * both),
                *(f"{real.refused:.2%}", f"{real.late:.2%}", str(one.run.n_lost), loads.ms(real.p50_s)),
                loads.ms(real.p99_s),
                *([loads.ms(simulated.p99_s if simulated else None)] * both),
                real.policy,
            ]
        )
    n_requests = max(one.summary.n_requests for one in results)
    print_table(f"{title}; {n_requests:,} requests", columns, rows, numeric=len(columns) - 1)
    typer.echo(loads.RETENTION)
    if both:
        typer.echo(_SIMULATED)
    for one in results:
        typer.echo(one.conditions())


def _write(
    folder: Path,
    results: Sequence[LoadResult],
    profile: Profile,
    settings: SimulationSettings,
    title: str,
    *,
    shows_capacity: bool,
) -> None:
    if not results:
        return
    figures: Mapping[str, Mapping[str, Any]] = {one.summary.policy: one.figures() for one in results}
    loads.write_figures(
        folder,
        "loadtest",
        profile,
        {one.summary.policy: one.run.outcomes for one in results},
        [one.summary for one in results],
        settings,
        title,
        more=figures,
        simulated={one.summary.policy: one.simulated for one in results if one.simulated},
        shows_capacity=shows_capacity,
    )


def _judge(results: Sequence[LoadResult]) -> None:
    """Refuse to let figures stand that are the client's fault."""
    from elasticdenser.loadtest.target import TargetError

    if not results:
        raise TargetError("stopped before any request was sent")
    if slow := [one for one in results if not one.is_on_time]:
        raise TargetError(
            f"the client could not keep up: with {slow[0].summary.policy} one request in a hundred was sent "
            f"{1000 * slow[0].run.lateness_p99_s:.1f} ms late or later. These figures say little of the target: lower "
            "the rate, or leave the client a CPU (--workers)"
        )


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(loadtest)
