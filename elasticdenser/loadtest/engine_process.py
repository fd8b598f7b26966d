"""The engine in a process of its own: requests come in frames over a socket, and so do the answers.

What comes in is treated as no HTTP server treats it. Of requests that came together the newest is looked at first, and
`RetrievalEngine.would_reject`, a glance without a lock, says of each whether it would be refused. Both keep the
interpreter for the workers where more comes than can be served, so that past its capacity the engine does better here
than behind `elasticdenser serve`, which takes requests as they come and parses each: put the server itself under load
(`elasticdenser loadtest http://...`) for what it can do.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable
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
from elasticdenser.engine.dispatcher import Dispatcher, Ran
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.processes.pool import ProcessPoolSearch, gain_by_processes
from elasticdenser.engine.profiling.ladder import quick_profile
from elasticdenser.engine.profiling.measure import sample_queries
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Status
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.errors import ElasticDenserError
from elasticdenser.loadtest.frames import FrameReader, frame_of

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

Opener = Callable[[], "Retriever | BatchSearch"]

_PIECE = 1 << 14
"""Bytes that are taken in at once: while many are, the workers wait for the interpreter."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Asks the child for an engine.

    Args:
        policy: As `make_policy` spells it.
        deadline_s: The usual deadline.
        workers: How many.
    """

    policy: str
    deadline_s: float
    workers: int


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The child tells what it has opened.

    Args:
        profile: The levels.
        queries: Made of passages of its index, if it has texts.
    """

    profile: Profile
    queries: list[str]


def open_index(path: Path, *, encoder: str | None = None, download: bool = True, **options: Any) -> Retriever:
    """Open an index and its encoder, computing on one thread a query; the arguments are those of `Retriever.open`."""
    from elasticdenser.retrieval.retriever import Retriever

    retriever = Retriever.open(path, encoder=encoder, download=download, **options)
    if torch := sys.modules.get("torch"):  # else our own kernel computes, on one thread
        torch.set_num_threads(1)
    return retriever


def serve(
    data: socket, control: Connection, opener: Opener, profile: Profile | None, in_processes: bool | None, workers: int
) -> None:
    """Open what is tested, and run an engine each time that the parent asks for one; what ends the process.

    Args:
        data: Requests and answers.
        control: Everything else.
        opener: Opens it.
        profile: Its levels; None measures them.
        in_processes: Whether workers search in processes; None is where they gain by it.
        workers: How many.
    """
    try:
        search = opener()
        queries: list[str] = []
        if not isinstance(search, BatchSearch):
            profile = profile or quick_profile(search)
            queries = sample_queries(search) if search.index.has_texts else []
            if gain_by_processes(search) if in_processes is None else in_processes:
                search = ProcessPoolSearch(search, {level.name: level.recall for level in profile.levels}, workers)
                search.wait()
        if profile is None:
            raise ElasticDenserError("got no profile; only the levels of a Retriever are known without one")
        control.send(Ready(profile=profile, queries=queries))
        is_first = True
        while (start := control.recv()) is not None:
            _run(data, control, search, profile, start, warm_up=is_first)
            is_first = False
    except ElasticDenserError as error:
        control.send(str(error))
    except (EOFError, ConnectionError):
        pass  # the parent has gone
    except OSError as error:  # a file that the operating system keeps from us
        control.send(f"{error.filename}: {error.strerror}")


def _run(
    data: socket, control: Connection, search: Retriever | BatchSearch, profile: Profile, start: Start, *, warm_up: bool
) -> None:
    """Serve one run, until the parent sends an empty frame or goes."""
    answers = _Answers(data)
    engine = _Engine(search, profile, start, answers)
    with engine:
        if warm_up:
            engine.warm_up()
            # What is there now stays: the collector need not look through it again while requests wait.
            gc.collect()
            gc.freeze()
        control.send("ready")
        frames = FrameReader()
        while piece := data.recv(_PIECE):
            came = list(frames.feed(piece))
            # The newest first: where more come than can be looked at, the oldest are those not worth a look.
            for frame in reversed(came):
                _take_in(frame, engine, answers)
            answers.flush()
            if [] in came:
                break
    answers.flush()
    control.send(engine.snapshot())


def _take_in(frame: list[tuple[int, str, int, float]], engine: RetrievalEngine, answers: _Answers) -> None:
    for number, text, k, due_s in reversed(frame):
        left_s = due_s - perf_counter()
        if left_s <= 0 or engine.would_reject(left_s):
            answers.add((number, Status.REFUSED.value, None, 0, 0.0, 0.0, due_s - left_s))
            continue
        try:
            future = engine.submit(text, k, deadline_s=left_s)
        except OverloadedError:
            answers.add((number, Status.REFUSED.value, None, 0, 0.0, 0.0, due_s - left_s))
        except ElasticDenserError:
            answers.add((number, Status.FAILED.value, None, 0, 0.0, 0.0, due_s - left_s))
        else:
            future.add_done_callback(partial(answers.done, number))


class _Answers:
    """Gathers answers until they are sent; for several threads."""

    def __init__(self, data: socket) -> None:
        self._data, self._lock = data, Lock()
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._numbers = count(1)
        self._of_thread = local()

    def begin_batch(self, at_s: float) -> None:
        """For a worker: what this thread hands out from now on is of another batch, which had run at `at_s`."""
        self._of_thread.batch, self._of_thread.at_s = next(self._numbers), at_s

    def add(self, answer: tuple[Any, ...]) -> None:
        self._waiting.append(answer)

    def done(self, number: int, future: Future[Answer]) -> None:
        error = future.exception()
        if error is None:
            its = future.result()
            status = Status.LATE if its.late else Status.IN_TIME
            of = self._of_thread  # which is no worker's if the answer was there before anybody could wait for it
            at_s, batch = getattr(of, "at_s", 0.0), getattr(of, "batch", 0)
            self.add((number, status.value, its.level, its.batch_size, its.queued_s, its.ran_s, at_s, batch))
        else:
            status = Status.SHED if isinstance(error, OverloadedError) else Status.FAILED
            self.add((number, status.value, None, 0, 0.0, 0.0, 0.0))  # when it came is not known

    def flush(self) -> None:
        """Send what has gathered, in one frame."""
        if not self._waiting:
            return
        with self._lock:
            frame = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if frame:
                with suppress(OSError):  # the parent has gone: whoever reads from it ends all
                    self._data.sendall(frame_of(frame))


class _Engine(RetrievalEngine):
    """An engine whose desk sends what it hands out."""

    def __init__(self, search: Retriever | BatchSearch, profile: Profile, start: Start, answers: _Answers) -> None:
        self._answers = answers
        super().__init__(search, profile, policy=start.policy, slo_s=start.deadline_s, workers=start.workers)

    def _make_dispatcher(self, scheduler: Scheduler, clock: Callable[[], float]) -> Dispatcher:
        return _Dispatcher(scheduler, self._search, clock, self._answers)


class _Dispatcher(Dispatcher):
    """Sends the answers of a batch together, when they have been handed out."""

    def __init__(
        self, scheduler: Scheduler, search: BatchSearch, clock: Callable[[], float], answers: _Answers
    ) -> None:
        super().__init__(scheduler, search, clock)
        self._answers = answers

    def deliver(self, ran: Ran) -> None:
        self._answers.begin_batch(ran.at_s)
        super().deliver(ran)
        self._answers.flush()

    def deliver_shed(self) -> None:
        super().deliver_shed()
        self._answers.flush()
