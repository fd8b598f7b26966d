"""Time that a router takes for asking all shards at once, without searching: replicas that answer at once.

    OMP_NUM_THREADS=1 python eval/bench/fan_out.py [--shards 3] [--requests 1000]

Each shard has a replica in a process of its own, over the connections that `serve --ray` uses; Ray is not needed.
Beside it an echo: the bytes of a query to one process and back, over a plain socket, which is what the system takes for
a message. On a busy machine the CPU time of this process says more than the clock.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from time import perf_counter, process_time
from typing import Any

import numpy as np
from report import append_result, print_table

from elasticdenser.index.segment_search import Hits
from elasticdenser.index.sharding.fan_out import FanOut, FanOutSettings
from elasticdenser.index.sharding.remote.handshake import RouterAddress
from elasticdenser.index.sharding.remote.remote_shard import RemoteShard
from elasticdenser.index.sharding.remote.replica_threads import ReplicaThreads
from elasticdenser.index.sharding.requests import ShardRequest

_DIM, _K, _HOST = 384, 10, "127.0.0.1"
_HITS: Hits = np.zeros((1, _K), np.float32), np.zeros((1, _K), np.int64)
_START_S = 120.0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    shards = [RemoteShard(_HOST) for _ in range(options.shards)]
    fan_out = FanOut(shards, FanOutSettings(timeout_s=_START_S, hedge_percentile=None))
    port, port_of_echo = context.Pipe(duplex=False)
    context.Process(target=_echo, args=(port_of_echo,), daemon=True).start()
    for shard in shards:
        context.Process(target=_answer, args=(shard.address,), daemon=True).start()
    if not all(shard.wait_for_replica(_START_S) for shard in shards):
        raise SystemExit("a replica has not started")
    request = ShardRequest(queries=np.zeros((1, _DIM), np.float32), k=_K)
    with socket.create_connection((_HOST, port.recv())) as echo:
        echo.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = request.queries.tobytes()

        def ask_echo() -> None:
            echo.sendall(message)
            echo.recv(len(message), socket.MSG_WAITALL)

        rows = [
            _row(f"{options.shards} shards at once", lambda: fan_out.ask(request), options.requests),
            _row("echo of one process", ask_echo, options.requests),
        ]
    fan_out.close()
    print_table(f"{options.requests} requests, one after the other", rows)
    append_result("fan-out", {"shards": options.shards, "rows": rows})


def _row(name: str, ask: Callable[[], object], n_requests: int) -> dict[str, Any]:
    for _ in range(20):
        ask()
    times, cpu_started = [], process_time()
    for _ in range(n_requests):
        started = perf_counter()
        ask()
        times.append(perf_counter() - started)
    return {
        "asked": name,
        "ms, median": 1e3 * float(np.median(times)),
        "ms, 95th percentile": 1e3 * float(np.quantile(times, 0.95)),
        "CPU ms of this process": 1e3 * (process_time() - cpu_started) / n_requests,
    }


def _answer(router: RouterAddress) -> None:
    ReplicaThreads(router, lambda _: _HITS, 2)
    threading.Event().wait()


def _echo(port: Connection) -> None:
    with socket.create_server((_HOST, 0)) as listening:
        port.send(listening.getsockname()[1])
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(1 << 16):
            connection.sendall(data)


if __name__ == "__main__":
    main()
