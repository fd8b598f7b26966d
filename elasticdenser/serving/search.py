"""`POST /search`."""

from __future__ import annotations

import asyncio
import json
import math
from concurrent.futures import Future
from dataclasses import replace
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request, Response

from elasticdenser.engine.answers import Answer
from elasticdenser.engine.errors import OverloadedError
from elasticdenser.errors import QueryError
from elasticdenser.serving.errors import documented, problem
from elasticdenser.serving.schemas import Search, SearchMany, SearchOne, SearchResponse
from elasticdenser.serving.service import Service, note_for_log, service_of
from elasticdenser.serving.settings import MOST_FOUND

router = APIRouter()

_ERRORS = documented(400, 401, 404, 408, 413, 415, 422, 429, 503)

_AT_ONCE = 16
"""Queries handed in before the event loop gets to do something else."""

_HITS_AT_ONCE = 64
"""Hits that are looked up in the event loop: that takes about 0.5 ms; for fewer a thread would cost more."""

_SHORTEST_S = 1e-6
_PATIENCE_S = 0.05
"""A request that has its answers by then needs nobody to watch whether its client is still there."""


@router.post("/search", response_model=SearchResponse, responses=_ERRORS)
async def search(body: Search, request: Request) -> Response:
    """Search by meaning, at the best level that the load allows."""
    service = service_of(request)
    queries = [body.query] if isinstance(body, SearchOne) else body.queries
    refusal = await _refusal(service, body, len(queries))
    if refusal is not None:
        return refusal
    within_s = _deadline_s(service, body)
    answers = await _answers(service, request, queries, body.k, within_s, _options(body))
    if answers is None:
        return Response(status_code=499)  # to nobody
    note_for_log(request, level=",".join(sorted({answer.level for answer in answers})), queries=len(queries))
    for answer in answers:
        service.metrics.query(answer.queued_s + answer.ran_s)
        service.live.answered(answer.queued_s + answer.ran_s)
    with_text = body.with_text and service.retriever.index.has_texts
    if sum(len(answer.hits) for answer in answers) > _HITS_AT_ONCE:
        rendered = await asyncio.to_thread(_rendered, service, answers, with_text)
    else:
        rendered = _rendered(service, answers, with_text)
    return Response(rendered, media_type="application/json")


async def _refusal(service: Service, body: SearchOne | SearchMany, n_queries: int) -> Response | None:
    """Return what to answer where the index or the engine has not what is asked for.

    Found out in a batch, an unknown document would fail all queries that are in it.
    """
    index = service.retriever.index
    if n_queries * min(body.k, len(index)) > MOST_FOUND:
        message = (
            f"got {n_queries} queries with k = {body.k}; expected at most {MOST_FOUND:,} hits in all: ask for less"
        )
        return problem(422, message, param="k")
    try:
        if body.minimum_level is not None:
            service.engine.profile.level_index(body.minimum_level)
    except QueryError as error:
        return problem(422, str(error), param="minimum_level")
    try:
        if body.doc_ids is not None:
            await asyncio.to_thread(index.positions, body.doc_ids)
    except QueryError as error:
        return problem(404, str(error), param="doc_ids")
    return None


def _deadline_s(service: Service, body: SearchOne | SearchMany) -> float:
    """Return how long after the request came its answers become worthless."""
    if body.deadline_ms is not None:
        return body.deadline_ms / 1000
    return math.inf if isinstance(body, SearchMany) else service.settings.deadline_s


def _options(body: SearchOne | SearchMany) -> dict[str, Any]:
    """Return what `RetrievalEngine.submit` takes beside the query and its deadline."""
    options: dict[str, Any] = {"minimum_level": body.minimum_level, "priority": body.priority}
    if body.doc_ids is not None:
        options["doc_ids"] = frozenset(body.doc_ids)
    return options


async def _answers(
    service: Service, request: Request, queries: list[str], k: int, within_s: float, options: dict[str, Any]
) -> list[Answer] | None:
    """Return the answers to all queries; None if the client does not wait for them any more.

    The time since the request came is part of the deadline, and of how long a query waited.

    Raises:
        OverloadedError: One of them gets none; then the others are withdrawn.
    """
    came_s: float = request.scope["came_s"]
    futures: list[Future[Answer]] = []
    before_s: list[float] = []
    watch: asyncio.Task[None] | None = None
    try:
        for number, query in enumerate(queries, 1):
            before_s.append(perf_counter() - came_s)
            # What is due already is for the engine to refuse, and to count.
            left_s = max(within_s - before_s[-1], _SHORTEST_S)
            futures.append(service.engine.submit(query, k, deadline_s=left_s, **options))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
        waiting.add_done_callback(_look_at)
        await asyncio.wait((waiting,), timeout=_PATIENCE_S)
        if not waiting.done():
            watch = asyncio.create_task(_gone(request))
            timeout_s = service.settings.body_timeout_s
            await asyncio.wait((waiting, watch), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            pairs = zip(waiting.result(), before_s, strict=True)
            return [replace(answer, queued_s=answer.queued_s + waited_s) for answer, waited_s in pairs]
        waiting.cancel()
        if watch is not None and watch.done():
            return None
        message = f"no answer within {service.settings.body_timeout_s:g} s: send fewer queries, or try again later"
        raise OverloadedError(message, retry_after_s=1.0)
    finally:
        if watch is not None:
            watch.cancel()
        for future in futures:
            future.cancel()  # takes those that still wait out of the queue; nothing to those that are done


def _look_at(done: asyncio.Future[list[Answer]]) -> None:
    """Take note of an error that nobody waits for any more, so that asyncio does not complain of it."""
    if not done.cancelled():
        done.exception()


async def _gone(request: Request) -> None:
    """Return when the client has hung up; its request has been read to the end."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _rendered(service: Service, answers: list[Answer], with_text: bool) -> bytes:
    """Return the response's body.

    Here and not by the models that describe it: they would take longer than a small size takes to search.
    """
    index = service.retriever.index
    results = []
    for answer in answers:
        hits: list[dict[str, Any]] = [{"doc_id": hit.doc_id, "score": hit.score} for hit in answer.hits]
        if with_text and hits:
            positions = index.positions([hit["doc_id"] for hit in hits]).tolist()
            for hit, passage in zip(hits, map(index.passage_at, positions), strict=True):
                hit["title"], hit["text"] = passage.title, passage.text
        result = {
            "hits": hits,
            "level": answer.level,
            "queued_ms": round(1000 * answer.queued_s, 3),
            "ran_ms": round(1000 * answer.ran_s, 3),
            "late": answer.late,
        }
        # One by one: nothing else runs while json works.
        results.append(json.dumps(result, ensure_ascii=False))
    return f'{{"results": [{", ".join(results)}]}}'.encode("utf-8", "replace")
