"""Engine process of a load test: requests arrive in frames over a socket, and so do the answers.

This process handles requests differently from an HTTP server. Of requests that arrived together it handles the newest
first, and before it submits a request it calls `RetrievalEngine.would_reject`, which takes no lock. Under overload both
leave the interpreter to the workers, so the engine performs better here than behind `elasticdenser serve`, which parses
every request and handles requests in the order of their arrival. To test the server itself, use `elasticdenser loadtest
http://...`.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socket
from threading import Lock, local
from time import perf_counter
from typing import TYPE_CHECKING, Any

from elasticdenser.engine.answers import Answer
from elasticdenser.engine.batch_search import BatchSearch
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.listener import DeliveryListener
from elasticdenser.engine.policies import Policy, PolicyFactory
from elasticdenser.engine.processes.pool import ProcessPoolSearch, should_use_processes
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.query_sample import sample_queries
from elasticdenser.engine.profiling.quick import quick_profile
from elasticdenser.engine.request import Status
from elasticdenser.errors import ElasticDenserError
from elasticdenser.loadtest.frames import FrameReader, frame_of

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

Opener = Callable[[], "Retriever | BatchSearch"]
"""Opens what an engine searches with."""

_Fields = tuple[Any, ...]
"""Fields of a `LoadResponse` in their order, with the value of the status: marshal knows neither class."""

_MAX_READ_BYTES = 1 << 14
"""Bytes that are read at once: parsing more of them would keep the interpreter from the workers for too long."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Message that requests an engine for one run.

    Args:
        policy: As for `make_policy`; an object must be picklable.
        deadline_s: The default deadline.
        workers: Number of workers.
    """

    policy: str | Policy | PolicyFactory
    deadline_s: float
    workers: int


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Message that the process has opened its index.

    Args:
        profile: The levels.
        queries: Queries made from passages of the index, if it has texts.
    """

    profile: Profile
    queries: list[str]


def open_index(path: Path, *, encoder: str | None = None, download: bool = True, **options: Any) -> Retriever:
    """Open an index and its encoder, with one thread for each query; the arguments are those of `Retriever.open`."""
    from elasticdenser.retrieval.retriever import Retriever

    retriever = Retriever.open(path, encoder=encoder, download=download, **options)
    if torch := sys.modules.get("torch"):  # otherwise the kernel computes, which uses one thread anyway
        torch.set_num_threads(1)
    return retriever


def serve(
    data: socket,
    control: Connection,
    opener: Opener,
    profile: Profile | None,
    in_processes: bool | None,
    workers: int,
    rerankings: Sequence[str] | None,
) -> None:
    """Open an index, and run an engine each time that the parent requests one; a None from the parent ends it.

    Args:
        data: Socket for requests and answers.
        control: Connection for all other messages.
        opener: Opens the index.
        profile: Its levels; None measures them.
        in_processes: Whether workers search in processes; None decides by `should_use_processes`.
        workers: Number of workers.
        rerankings: What is reranked at further levels if they are measured, as for `quick_profile`.
    """
    try:
        search = opener()
        queries: list[str] = []
        if not isinstance(search, BatchSearch):
            profile = profile or quick_profile(search, rerankings=rerankings)
            queries = sample_queries(search) if search.index.has_texts else []
            if should_use_processes(search) if in_processes is None else in_processes:
                search = ProcessPoolSearch(search, {level.name: level.recall for level in profile.levels}, workers)
                search.wait_until_ready()
        if profile is None:
            raise ElasticDenserError("got no profile; only the levels of a Retriever are known without one: give one")
        control.send(Ready(profile=profile, queries=queries))
        is_first = True
        while (start := control.recv()) is not None:
            _run(data, control, search, profile, start, warm_up=is_first)
            is_first = False
    except ElasticDenserError as error:
        control.send(str(error))
    except (EOFError, ConnectionError):
        pass  # the parent has ended
    except OSError as error:  # a file that cannot be read
        control.send(f"{error.filename}: {error.strerror}")


def _run(
    data: socket, control: Connection, search: Retriever | BatchSearch, profile: Profile, start: Start, *, warm_up: bool
) -> None:
    """Serve one run, until the parent sends an empty frame or ends."""
    answers = _AnswerSender(data)
    options = {"policy": start.policy, "slo_s": start.deadline_s, "workers": start.workers}
    with RetrievalEngine(search, profile, listener=answers, **options) as engine:  # type: ignore[arg-type]
        if warm_up:
            engine.warm_up()
            # The objects that exist now live as long as the process: exclude them from garbage collections.
            gc.collect()
            gc.freeze()
        control.send("ready")
        frames = FrameReader()
        while received := data.recv(_MAX_READ_BYTES):
            complete = list(frames.feed(received))
            # The newest first: under overload the oldest have the least chance to be answered in time.
            for frame in reversed(complete):
                _submit(frame, engine, answers)
            answers.delivered()
            if [] in complete:
                break
    answers.delivered()
    control.send(engine.snapshot())


def _without_answer(number: int, status: Status, finished_s: float) -> _Fields:
    return number, status.value, None, 0, 0.0, 0.0, finished_s


def _submit(frame: list[tuple[int, str, int, float]], engine: RetrievalEngine, answers: _AnswerSender) -> None:
    for number, text, k, deadline_s in reversed(frame):
        now_s = perf_counter()
        remaining_s = deadline_s - now_s
        if remaining_s <= 0 or engine.would_reject(remaining_s):
            answers.add(_without_answer(number, Status.REFUSED, now_s))
            continue
        try:
            future = engine.submit(text, k, deadline_s=remaining_s)
        except OverloadedError:
            answers.add(_without_answer(number, Status.REFUSED, now_s))
        except ElasticDenserError:
            answers.add(_without_answer(number, Status.FAILED, now_s))
        else:
            future.add_done_callback(partial(answers.add_future, number))


class _AnswerSender(DeliveryListener):
    """Collects answers, and sends those of a batch in one frame when the batch has been delivered. Thread-safe."""

    def __init__(self, data: socket) -> None:
        self._data, self._lock = data, Lock()
        self._unsent: deque[_Fields] = deque()
        self._batch_numbers = count(1)
        self._thread_state = local()

    def batch_finished(self, finished_s: float) -> None:
        """Assign the answers that this thread delivers from now on to a new batch."""
        self._thread_state.batch_number, self._thread_state.finished_s = next(self._batch_numbers), finished_s

    def add(self, answer: _Fields) -> None:
        """Collect an answer."""
        self._unsent.append(answer)

    def add_future(self, number: int, future: Future[Answer]) -> None:
        """Collect the answer or the error of a future that is done."""
        error = future.exception()
        if error is None:
            answer = future.result()
            status = Status.LATE if answer.late else Status.IN_TIME
            # This thread is no worker, and has no state, if the future was done before the callback was added.
            state = self._thread_state
            finished_s, batch_number = getattr(state, "finished_s", 0.0), getattr(state, "batch_number", 0)
            times_s = (answer.queued_s, answer.ran_s, finished_s)
            self.add((number, status.value, answer.level, answer.batch_size, *times_s, batch_number))
        else:
            status = Status.SHED if isinstance(error, OverloadedError) else Status.FAILED
            self.add(_without_answer(number, status, 0.0))  # when the request arrived is not known here

    def delivered(self) -> None:
        """Send the collected answers in one frame."""
        if not self._unsent:
            return
        with self._lock:
            frame = [self._unsent.popleft() for _ in range(len(self._unsent))]
            if frame:
                with suppress(OSError):  # the parent has ended: the reader of the socket ends the run
                    self._data.sendall(frame_of(frame))
