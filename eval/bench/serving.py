"""Benchmark of the HTTP server: CPU time of a request, rates within a limit, and another server beside it.

    python eval/bench/serving.py --index indexes/nq --data DATA --profile profile.json --before ../old-checkout
        [--peer "infinity_emb v2 ... --port 7997" --peer-model NAME]

All servers run on the same cores as the load generator, which is this process, and take turns. Parts, for `--only`:

    cpu      CPU time of a request, by part of the server, with 1 and with 16 clients that wait
    in-time  share of /search answered within 25 ms, at 500 and 800 requests a second
    rates    most requests a second of which 99 in 100 are answered within 25 and within 50 ms: /search, and
             /v1/embeddings with questions and with passages

`--before` is a checkout of an older revision, such as a git worktree, in which the kernel has been built.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from report import append_result, print_table
from server_process import ServerProcess, run_server, serve_command

from elasticdenser.cpus import cpu_count
from elasticdenser.datasets import load_queries
from elasticdenser.engine.request import Outcome
from elasticdenser.engine.simulation.arrivals import ClosedLoop, Times, poisson
from elasticdenser.index import PassageIndex
from elasticdenser.loadtest.generator import LoadSettings, run_load
from elasticdenser.loadtest.http_api import EmbeddingsApi, HttpApi, SearchApi
from elasticdenser.loadtest.http_target import HttpTarget

PARTS = ("cpu", "in-time", "rates")
_MODEL = "elasticdenser/all-MiniLM-L6-v2"
_PORT, _PORT_BEFORE = 8761, 8762
_LIMITS_MS = (25, 50)
_RATES_IN_TIME = (500, 800)
_CLIENTS = (1, 16)
_FIRST_SHARE, _STEP = 0.25, 1.25
"""The first rate that is tried, as a share of what clients that wait get, and the factor from one rate to the next."""
_RATE_CLIENTS = 16
_OPEN_DEADLINE_S = 1.0  # so long that only the clock of the load generator decides


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests of one kind.

    Attributes:
        name: Its name in tables.
        api: The requests.
        texts: Their texts.
    """

    name: str
    api: HttpApi
    texts: Sequence[str]


def main() -> None:
    """Run the benchmark."""
    options = parse_options()
    parts = options.only.split(",")
    questions = [query.text for query in load_queries(options.data / "nq", split="dev")]
    index = PassageIndex.open(options.index)
    passages = [index.passage_at(position).text for position in range(min(len(index), 1000))]
    results: dict[str, Any] = {"index": options.index.name, "workers": options.workers, "rounds": options.rounds}
    with ExitStack() as stack:
        servers = list(_start_servers(options, stack))
        own = [server for server in servers if server.name != "peer"]
        if "cpu" in parts:
            results["cpu"] = list(cpu_rows(own, workloads_of(_MODEL, questions, passages), options))
            print_table("CPU time of a request, ms; medians over rounds", results["cpu"])
        if "in-time" in parts:
            results["in time"] = list(in_time_rows(own, questions, options))
            print_table("/search: share answered within 25 ms, by round", results["in time"])
        if "rates" in parts:
            results["rates"] = list(rate_rows(servers, questions, passages, options))
            print_table("Requests a second of which 99 in 100 are answered within a limit", results["rates"])
    append_result("serving", results)


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="its encoder is the default one")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--profile", type=Path, help="profile of the index; by default each server measures its own")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to run: some of {', '.join(PARTS)}")
    parser.add_argument("--workers", type=int, default=max(1, cpu_count() - 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--before", type=Path, help="checkout of an older revision to compare with")
    parser.add_argument("--peer", help="command that starts another server with /v1/embeddings, such as infinity")
    parser.add_argument("--peer-url", default="http://127.0.0.1:7997")
    parser.add_argument("--peer-model", default="all-MiniLM-L6-v2", help="name of the same encoder there")
    parser.add_argument("--peer-ready-path", default="/health")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"got {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    return options


def workloads_of(model: str, questions: Sequence[str], passages: Sequence[str]) -> list[Workload]:
    """Return the workloads; those of embeddings with the full encoder."""
    as_passages = EmbeddingsApi(model=model, options=(("input_type", "passage"),) if model == _MODEL else ())
    return [
        Workload(name="/search", api=SearchApi(with_text=True), texts=questions),
        Workload(name="/v1/embeddings, questions", api=EmbeddingsApi(model=model), texts=questions),
        Workload(name="/v1/embeddings, passages", api=as_passages, texts=passages),
    ]


def cpu_rows(
    servers: Sequence[ServerProcess], workloads: Sequence[Workload], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield the CPU time of a request of each workload, with clients that wait; the servers take turns."""
    for workload in workloads:
        for n_clients in _CLIENTS:
            rounds: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
            for number in range(options.rounds + 1):
                for server in servers:
                    parts = _cpu_of_request(server, workload, n_clients, options.seconds / (1 if number else 3))
                    if number:  # the first round only warms up
                        rounds[server.name].append(parts)
            for server in servers:
                of_server = rounds[server.name]
                medians = {part: median(each[part] for each in of_server) for part in of_server[0]}
                yield {"requests": workload.name, "clients": n_clients, "server": server.name, **medians}


def in_time_rows(
    servers: Sequence[ServerProcess], questions: Sequence[str], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield the shares of searches that are answered in time at given rates; the servers take turns."""
    deadline_s = _LIMITS_MS[0] / 1000
    workload = Workload(name="/search", api=SearchApi(), texts=questions)
    for rate_per_s in _RATES_IN_TIME:
        shares: dict[str, list[float]] = {server.name: [] for server in servers}
        for number in range(options.rounds):
            arrivals = poisson(rate_per_s, options.seconds, np.random.default_rng(number))
            for server in servers:
                outcomes = _run(server, workload, arrivals, deadline_s, options.seconds)
                shares[server.name].append(_share_within(outcomes, deadline_s))
        for name, of_server in shares.items():
            by_round = {f"round {number}": share for number, share in enumerate(of_server, 1)}
            yield {"requests a second": rate_per_s, "server": name, **by_round, "median": median(of_server)}


def rate_rows(
    servers: Sequence[ServerProcess], questions: Sequence[str], passages: Sequence[str], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield the highest rates at which 99 in 100 requests are answered within each limit."""
    for position in range(3):
        for server in servers:
            model = options.peer_model if server.name == "peer" else _MODEL
            workload = workloads_of(model, questions, passages)[position]
            is_search = isinstance(workload.api, SearchApi)
            if is_search and server.name == "peer":
                continue
            # Searches adapt to their deadline; embeddings have none, so that one climb tells both rates.
            if is_search:
                found = {limit: _highest_rates(server, workload, (limit,), options)[limit] for limit in _LIMITS_MS}
            else:
                found = _highest_rates(server, workload, _LIMITS_MS, options)
            rates = {f"within {limit} ms": rate for limit, rate in found.items()}
            yield {"requests": workload.name, "server": server.name, **rates}


def _start_servers(options: argparse.Namespace, stack: ExitStack) -> Iterator[ServerProcess]:
    logs = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
    folders = {"now": (Path(__file__).parents[2], _PORT)}
    if options.before is not None:
        folders["before"] = (options.before.resolve(), _PORT_BEFORE)
    for name, (folder, port) in folders.items():
        command = serve_command(options.index, port, options.profile, options.workers)
        url, log = f"http://127.0.0.1:{port}", logs / f"{name}.log"
        yield stack.enter_context(run_server(name, command, url, folder=folder, ready_path="/readyz", log=log))
    if options.peer is not None:
        log = logs / "peer.log"
        yield stack.enter_context(
            run_server("peer", options.peer, options.peer_url, folder=logs, ready_path=options.peer_ready_path, log=log)
        )


def _run(
    server: ServerProcess, workload: Workload, arrivals: Times | ClosedLoop, deadline_s: float, seconds: float
) -> list[Outcome]:
    settings = LoadSettings(deadline_s=deadline_s, seconds=seconds, drain_s=2.0)
    with HttpTarget(server.url, api=workload.api) as target:
        return run_load(target, arrivals, workload.texts, settings).outcomes


def _cpu_of_request(server: ServerProcess, workload: Workload, n_clients: int, seconds: float) -> dict[str, float]:
    before = server.cpu_ms()
    outcomes = _run(server, workload, ClosedLoop(clients=n_clients), _OPEN_DEADLINE_S, seconds)
    parts = {part: (ms - before[part]) / len(outcomes) for part, ms in server.cpu_ms().items()}
    return {**parts, "all": sum(parts.values()), "requests a second": len(outcomes) / seconds}


def _highest_rates(
    server: ServerProcess, workload: Workload, limits_ms: Sequence[int], options: argparse.Namespace
) -> dict[int, float]:
    """Return the highest rate within each limit, 0 if there is none; a rate that fails is tried twice."""
    longest_ms = max(limits_ms)
    deadline_s = longest_ms / 1000 if isinstance(workload.api, SearchApi) else _OPEN_DEADLINE_S
    waiting = _run(server, workload, ClosedLoop(clients=_RATE_CLIENTS), _OPEN_DEADLINE_S, options.seconds / 2)
    rate_per_s = _FIRST_SHARE * len(waiting) / (options.seconds / 2)
    highest = dict.fromkeys(limits_ms, 0.0)
    while True:
        for attempt in range(2):
            arrivals = poisson(rate_per_s, options.seconds, np.random.default_rng(attempt))
            outcomes = _run(server, workload, arrivals, deadline_s, options.seconds)
            met = [limit for limit in limits_ms if _share_within(outcomes, limit / 1000) >= 0.99]
            highest |= {limit: rate_per_s for limit in met}
            if longest_ms in met:
                break
        else:
            return highest
        rate_per_s *= _STEP


def _share_within(outcomes: Sequence[Outcome], limit_s: float) -> float:
    """Return the share of requests that were answered within a time after they were due to be sent."""
    n_within = sum(
        outcome.level is not None and outcome.end_s - outcome.request.arrival_s <= limit_s for outcome in outcomes
    )
    return n_within / len(outcomes)


if __name__ == "__main__":
    main()
