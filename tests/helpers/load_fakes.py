"""Targets and searches of known behaviour, for load tests."""

from __future__ import annotations

import time

from engine_helpers import PROFILE

from elasticdenser.engine.batch_search import BatchSearch
from elasticdenser.engine.request import Status
from elasticdenser.loadtest.target import LoadResponse

BEST_LEVEL = PROFILE.levels[0].name


class FakeTarget:
    """Target that responds as a function says.

    The function takes the number of a request and returns (delay in seconds, status, level), or None for no response.
    """

    def __init__(self, respond, send_s=0.0):
        self.respond, self.send_s = respond, send_s
        self.scheduled, self.requests = [], []

    def start(self, policy, deadline_s):
        pass

    def finish(self):
        pass

    def send(self, requests):
        time.sleep(self.send_s)
        self.requests += requests
        for request in requests:
            response = self.respond(request.number)
            if response is not None:
                delay_s, status, level = response
                response = LoadResponse(request.number, status, level, 1, 0.0, delay_s)
                self.scheduled.append((time.perf_counter() + delay_s, response))

    def receive(self, timeout_s):
        end_s = time.perf_counter() + timeout_s
        while True:
            now_s = time.perf_counter()
            ready = [response for ready_s, response in self.scheduled if ready_s <= now_s]
            if ready or now_s >= end_s:
                self.scheduled = [entry for entry in self.scheduled if entry[0] > now_s]
                return ready
            time.sleep(0.0005)

    def memory_bytes(self):
        return 1000

    def close(self):
        pass


def answer_after(delay_s=0.001):
    return lambda number: (delay_s, Status.IN_TIME, BEST_LEVEL)


class SleepingSearch(BatchSearch):
    """Search that takes the time of the profile; fails for the query "die", and ends the process for "vanish"."""

    def search_batch(self, queries, level):
        texts = [query.text for query in queries]
        if "die" in texts:
            raise RuntimeError("out of paper")
        if "vanish" in texts:
            import os

            os._exit(3)
        time.sleep(PROFILE.levels[PROFILE.level_index(level)].latency_s[len(texts)])
        return [["hit"] * query.k for query in queries]


def open_sleeping_search():
    return SleepingSearch()


def open_missing_index():
    from elasticdenser.errors import IndexFormatError

    raise IndexFormatError("there is no index here: build one")
