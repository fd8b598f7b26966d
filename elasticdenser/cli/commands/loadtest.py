"""`elasticdenser loadtest`: compare policies under a real load, and with their simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elasticdenser.cli import load_options, options
from elasticdenser.cli.command import command, first_ctrl_c
from elasticdenser.cli.load_output import load_title, print_results, write_figures
from elasticdenser.cli.output import note, progress_bars
from elasticdenser.cli.ranker_options import RerankedLevelsOptions
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
"""Stands for the policy of a server, which is not known."""


@command
def loadtest(
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="Folder of an index, or URL of a server.", show_default=False),
    ],
    *,
    profile: Annotated[
        Path | None,
        typer.Option(help="Profile of the index (.json). Default: measured briefly, or the server's."),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(help="Query set, as for `run`; a server needs it. Default: first words of passages."),
    ] = None,
    load: load_options.LoadOptions,
    policies: load_options.Policies = "elastic",
    workers: options.Workers = None,
    in_processes: options.WorkerProcesses = None,
    seconds: Annotated[float, typer.Option(help="Duration of the load, for each policy.")] = 10.0,
    k: options.Hits = 10,
    drain: Annotated[
        float,
        typer.Option(
            help="Seconds to wait for answers after the load; requests that are unanswered then count as lost."
        ),
    ] = 5.0,
    seed: load_options.Seed = 0,
    output: load_options.Output = None,
    as_json: load_options.AsJson = False,
    reranking: RerankedLevelsOptions,
    encoding: options.EncoderOptions,
    api_key_file: Annotated[
        Path | None, typer.Option(help="File with the API key of the server.", show_default=False)
    ] = None,
) -> None:
    """Send a load to the engine of an index or to a server, and report the share of requests answered in time.

    The engine of an index runs in another process.
    Latencies are measured from the time at which a request was due.
    Ctrl-C ends the load, and the results so far are reported.
    """
    from elasticdenser.engine.policies import check_policies, expand_policies
    from elasticdenser.engine.profiling.profile import Profile
    from elasticdenser.engine.simulation.settings import SimulationSettings
    from elasticdenser.loadtest.generator import LoadSettings

    is_server = "://" in target
    levels = None if profile is None else Profile.load(profile)
    if levels is None:
        check_policies(policies)
    elif not is_server:
        expand_policies(policies, levels)
    texts = _query_texts(queries)
    _check_usage(target, is_server, levels, texts, load)
    n_workers = (workers or 1) if is_server else options.n_workers(workers)
    simulation = SimulationSettings(deadline_s=load.deadline_ms / 1000, seconds=seconds, workers=n_workers, seed=seed)
    simulation.scheduler_settings()  # checks the ranges before any work
    client = LoadSettings(deadline_s=load.deadline_ms / 1000, seconds=seconds, k=k, drain_s=drain, seed=seed)
    opened: EngineTarget | HttpTarget
    if is_server:
        opened = _open_server(target, api_key_file)
    else:
        opened = _open_engine(Path(target), levels, n_workers, in_processes, encoding, reranking)
    with opened, progress_bars() as progress:
        levels = levels or opened.profile
        if levels is None:
            raise typer.BadParameter("the server does not tell its levels: give a profile", param_hint="--profile")
        arrivals, description = load.resolve_arrivals(levels, simulation)
        names = [_SERVER] if is_server else expand_policies(policies, levels)
        texts = texts or list(getattr(opened, "queries", ()))
        simulation = replace(simulation, n_queries=len(set(texts)))
        load_options.note_shared_queries(len(set(texts)), arrivals, simulation.deadline_s)
        model = None if is_server else simulation
        results = _test_each(opened, names, arrivals, texts, client, model, levels, progress)
    title = load_title(description, load.deadline_ms, target if is_server else n_workers)
    print_results(results, title, as_json=as_json)
    if output is not None and results:
        _write_results(output, results, levels, simulation, title, shows_capacity=not is_server)
    _check_client(results)


def _query_texts(path: str | None) -> list[str]:
    if path is None:
        return []
    from elasticdenser.datasets import load_queries
    from elasticdenser.errors import BadInputError

    texts = [query.text for query in load_queries(path)]
    if not texts:
        raise BadInputError("got no queries; expected at least one", path)
    return texts


def _check_usage(
    target: str,
    is_server: bool,
    profile: Profile | None,
    queries: Sequence[str],
    load: load_options.LoadOptions,
) -> None:
    """Refuse options that cannot work together, before anything is opened."""
    if not is_server:
        from elasticdenser.index.contents import IndexContents

        if not queries and not IndexContents.read(Path(target)).manifest.has_texts:
            message = "the index holds no texts to make queries from: give a file of queries"
            raise typer.BadParameter(message, param_hint="--queries")
        return
    if not queries:
        message = "a server does not tell which queries to send: give a file of queries"
        raise typer.BadParameter(message, param_hint="--queries")
    needed_rates = {"closed": [], "bursts": [load.rate, load.peak]}.get(load.arrivals, [load.rate])
    if profile is None and None in needed_rates:
        raise typer.BadParameter(
            "the capacity of the server is not known: give --rate (for bursts also --peak), or --profile",
            param_hint="--rate",
        )


def _open_server(url: str, key_file: Path | None) -> HttpTarget:
    from elasticdenser.loadtest.http_target import HttpTarget

    return HttpTarget(url, api_key=options.read_api_key(key_file) if key_file else None)


def _open_engine(
    path: Path,
    profile: Profile | None,
    workers: int,
    in_processes: bool | None,
    encoding: options.EncoderOptions,
    reranking: RerankedLevelsOptions,
) -> EngineTarget:
    from functools import partial

    from elasticdenser.loadtest.engine_process import open_index
    from elasticdenser.loadtest.engine_target import EngineTarget

    choices = {**encoding.backend_options(), **reranking.retriever_options(profile)}
    opener = partial(open_index, path, encoder=encoding.encoder, download=not encoding.offline, **choices)
    note(f"opening {path} in another process" + ("" if profile else ", and measuring its levels"))
    return EngineTarget(
        opener, profile, workers=workers, in_processes=in_processes, rerankings=reranking.rerankings or None
    )


def _test_each(
    target: EngineTarget | HttpTarget,
    policies: Sequence[str],
    arrivals: Times | ClosedLoop,
    queries: Sequence[str],
    client: LoadSettings,
    simulation: SimulationSettings | None,
    profile: Profile,
    progress: Progress,
) -> list[LoadResult]:
    from elasticdenser.loadtest.generator import run_load
    from elasticdenser.loadtest.result import LoadResult

    results: list[LoadResult] = []
    with first_ctrl_c() as signals:
        for number, policy in enumerate(policies):
            progress("policies", number, len(policies))
            target.start(policy, client.deadline_s)
            note(f"running {policy} for {client.seconds:g} s")
            run = run_load(target, arrivals, queries, client, is_stopped=lambda: bool(signals))
            target.finish()
            if run.outcomes:
                results.append(LoadResult.from_run(policy, run, profile, arrivals, simulation))
            if signals:
                note(f"stopped: {len(results)} of {len(policies)} policies are reported, the last one in part")
                break
        else:
            progress("policies", len(policies), len(policies))
    return results


def _write_results(
    output: Path,
    results: Sequence[LoadResult],
    profile: Profile,
    simulation: SimulationSettings,
    title: str,
    *,
    shows_capacity: bool,
) -> None:
    from elasticdenser.loadtest.result import client_warning

    warning = client_warning(results)
    write_figures(
        output,
        "loadtest",
        profile,
        {result.summary.policy: result.run.outcomes for result in results},
        [result.summary for result in results],
        simulation,
        title,
        extra_figures={result.summary.policy: result.figures() for result in results},
        simulated={result.summary.policy: result.simulated for result in results if result.simulated},
        shows_capacity=shows_capacity,
        warnings=[f"Warning: {warning}."] if warning else [],
    )


def _check_client(results: Sequence[LoadResult]) -> None:
    """Fail where the figures describe the client rather than the target.

    Raises:
        TargetError: No request was sent, or the client sent requests too late.
    """
    from elasticdenser.loadtest.result import client_warning
    from elasticdenser.loadtest.target import TargetError

    if not results:
        raise TargetError("stopped before any request was sent")
    if warning := client_warning(results):
        raise TargetError(f"{warning}: lower the rate, or leave the client a CPU (--workers)")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EXAMPLES)(loadtest)
