"""A small profile, and fakes of the engine's parts."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from elasticdenser.engine.batch_search import BatchSearch
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Request
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.errors import QueryError

SLO_S = 0.025


def level(name: str, quality: float, alone_ms: float, of_32_ms: float) -> Level:
    return Level(name=name, quality=quality, measured_s={1: alone_ms / 1000, 32: of_32_ms / 1000})


PROFILE = Profile(
    levels=[
        level("w1-d6", 1.0, 2.0, 54.0),
        level("w1-d3", 0.97, 1.1, 29.0),
        level("w0.5-d3", 0.95, 0.8, 20.0),
        level("w0.25-d2", 0.9, 0.5, 11.0),
        level("level0", 0.82, 0.25, 6.5),
    ]
)
# A query of 64 tokens takes 4 times as long as a usual one, one of 256 tokens 16 times as long.
PROFILE_BY_TOKENS = replace(
    PROFILE,
    levels=[
        replace(level, alone_by_tokens_s={tokens: level.latency_s[1] * tokens / 16 for tokens in (16, 64, 256)})
        for level in PROFILE.levels
    ],
)
CAPACITY_PER_S = PROFILE.levels[-1].capacity_per_s()


def scheduler_of(policy="elastic", profile: Profile = PROFILE, **settings) -> Scheduler:
    scheduler_settings = SchedulerSettings(**{"slo_s": SLO_S, **settings})
    return Scheduler(profile, make_policy(policy, profile, scheduler_settings), scheduler_settings)


def request(number: int, now_s: float = 0.0, timeout_s: float = SLO_S, **options) -> Request:
    options.setdefault("query", number)
    return Request(id=number, arrival_s=now_s, deadline_s=now_s + timeout_s, **options)


class FakeSearch(BatchSearch):
    """Search that returns hits made of the query, after a run time, and fails or hangs for some queries.

    The queries "die", "exit" and "unknown id" raise errors, "short" gets hits for no query, and "hang" takes a second.

    Args:
        run_s: Run time of every batch; None takes it from the profile.

    Attributes:
        batches: The texts and the level of each batch.
        threads: The thread that searched each batch.
        gate: A search waits while the gate is closed.
        hang_s: How long "hang" takes, unless it is released.
        released: Ends "hang".
    """

    def __init__(self, run_s: float | None = None) -> None:
        self.run_s = run_s
        self.batches: list[tuple[list[str], str]] = []
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.hang_s, self.released = 1.0, threading.Event()

    def search_batch(self, queries, level):
        texts = [query.text for query in queries]
        self.batches.append((texts, level))
        self.threads.append(threading.get_ident())
        self.gate.wait(10)
        if "die" in texts:
            raise RuntimeError("out of paper")
        if "exit" in texts:
            raise SystemExit("gone")
        if "hang" in texts:
            self.released.wait(self.hang_s)
        if "short" in texts:
            return []
        if "unknown id" in texts:
            raise QueryError("1 of 1 document ids are not in the index")
        run_s = PROFILE.levels[PROFILE.level_index(level)].latency_s[len(texts)]
        time.sleep(run_s if self.run_s is None else self.run_s)
        return [[f"{query.text}/{rank}" for rank in range(query.k)] for query in queries]
