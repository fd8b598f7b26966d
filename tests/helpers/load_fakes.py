"""Targets whose behaviour is known, and what a child process searches with."""

from __future__ import annotations

import time

from engine_helpers import PROFILE

from elasticdenser.engine.batch_search import BatchSearch
from elasticdenser.engine.request import Status
from elasticdenser.loadtest.target import Reply

BEST = PROFILE.levels[0].name


class FakeTarget:
    """Answers each request after a time that a function of its number says; None is never.

    The function returns (seconds, status, level).
    """

    def __init__(self, fate, send_s=0.0):
        self.fate, self.send_s = fate, send_s
        self.due, self.asked = [], []

    def start(self, policy, deadline_s):
        pass

    def finish(self):
        pass

    def send(self, asked):
        time.sleep(self.send_s)
        self.asked += asked
        for one in asked:
            told = self.fate(one.number)
            if told is not None:
                after_s, status, level = told
                self.due.append((time.perf_counter() + after_s, Reply(one.number, status, level, 1, 0.0, after_s)))

    def receive(self, timeout_s):
        until_s = time.perf_counter() + timeout_s
        while True:
            now_s = time.perf_counter()
            ready = [reply for at_s, reply in self.due if at_s <= now_s]
            if ready or now_s >= until_s:
                self.due = [one for one in self.due if one[0] > now_s]
                return ready
            time.sleep(0.0005)

    def memory_bytes(self):
        return 1000

    def close(self):
        pass


def answered(after_s=0.001):
    return lambda number: (after_s, Status.IN_TIME, BEST)


class SleepingSearch(BatchSearch):
    """Takes the profile's time, or fails, or ends the process."""

    def search_batch(self, queries, level):
        texts = [query.text for query in queries]
        if "die" in texts:
            raise RuntimeError("out of paper")
        if "vanish" in texts:
            import os

            os._exit(3)
        time.sleep(PROFILE.levels[PROFILE.level_index(level)].latency_s[len(texts)])
        return [["hit"] * query.k for query in queries]


def sleeping_search():
    return SleepingSearch()


def nothing_there():
    from elasticdenser.errors import IndexFormatError

    raise IndexFormatError("there is no index here: build one")
