"""`POST /search`."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Future
from dataclasses import replace
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request, Response

from elasticdenser.engine.answers import Answer
from elasticdenser.engine.errors import OverloadedError
from elasticdenser.errors import QueryError
from elasticdenser.index.filters import parse_filter
from elasticdenser.serving.direct import DirectRoute
from elasticdenser.serving.errors import CLIENT_CLOSED_REQUEST, error_response, error_responses
from elasticdenser.serving.fast_json import JsonResponse, json_bytes
from elasticdenser.serving.index_parts import check_filter, check_hybrid
from elasticdenser.serving.request_schemas import AnySearchRequest, BatchSearchRequest, SearchRequest
from elasticdenser.serving.schemas import SearchResponse
from elasticdenser.serving.service import Service, add_log_fields, service_of
from elasticdenser.serving.settings import MAX_TOTAL_HITS

router = APIRouter(route_class=DirectRoute)

_SUBMITS_PER_TURN = 16
"""Queries submitted before the event loop gets to serve other requests."""

_MAX_INLINE_HITS = 64
"""Hits whose texts the event loop reads itself, in about 0.5 ms; for so few, a thread would cost more."""

_MIN_REMAINING_S = 1e-6
_WATCH_AFTER_S = 0.05
"""Most requests are answered by then, so that nothing needs to watch whether their client hangs up."""


@router.post(
    "/search", response_model=SearchResponse, responses=error_responses(400, 401, 404, 408, 413, 415, 422, 429, 503)
)
async def search(body: AnySearchRequest, request: Request) -> Response:
    """Search by meaning, at the best level that the load allows."""
    service = service_of(request)
    queries = [body.query] if isinstance(body, SearchRequest) else body.queries
    invalid = await _invalid_response(service, body, len(queries))
    if invalid is not None:
        return invalid
    answers = await _answer_all(service, request, queries, body.k, _deadline_s(service, body), _submit_options(body))
    if answers is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)  # nobody receives it
    add_log_fields(request, level=",".join(sorted({answer.level for answer in answers})), queries=len(queries))
    for answer in answers:
        service.metrics.observe_query(answer.queued_s + answer.ran_s)
        service.samples.record_latency(answer.queued_s + answer.ran_s)
    with_text = body.with_text
    if sum(len(answer.hits) for answer in answers) > _MAX_INLINE_HITS:
        content = await asyncio.to_thread(_render, service, answers, with_text)
    else:
        content = _render(service, answers, with_text)
    return JsonResponse(content)


async def _invalid_response(
    service: Service, body: SearchRequest | BatchSearchRequest, n_queries: int
) -> Response | None:
    """Return an error response if the request does not fit the index or the engine.

    An unknown document or field is noticed here, because in the engine it would make its whole batch fail once, and
    then be searched query by query.
    """
    index = service.retriever.index
    if n_queries * min(body.k, len(index)) > MAX_TOTAL_HITS:
        message = f"k: got {body.k:,} for {n_queries:,} queries; expected at most {MAX_TOTAL_HITS:,} hits in total"
        return error_response(422, f"{message}: send fewer queries or a smaller k", param="k")
    if body.minimum_level is not None:
        levels = [level.name for level in service.engine.profile.levels]
        if body.minimum_level not in levels:
            message = f"minimum_level: got {body.minimum_level!a}; expected one of {', '.join(levels)}"
            return error_response(422, message, param="minimum_level")
    try:
        check_hybrid(index, body.hybrid)
    except QueryError as error:
        return error_response(422, str(error), param="hybrid")
    try:
        if body.doc_ids is not None:
            await asyncio.to_thread(index.positions, body.doc_ids)
    except QueryError as error:
        return error_response(404, f"doc_ids: {error}", param="doc_ids")
    try:
        if body.filter is not None:
            await asyncio.to_thread(check_filter, index, body.filter)
    except QueryError as error:
        return error_response(422, str(error), param="filter")
    return None


def _deadline_s(service: Service, body: SearchRequest | BatchSearchRequest) -> float:
    """Return the deadline of a request in seconds after its arrival; infinity for none."""
    if body.deadline_ms is not None:
        return body.deadline_ms / 1000
    return math.inf if isinstance(body, BatchSearchRequest) else service.settings.deadline_s


def _submit_options(body: SearchRequest | BatchSearchRequest) -> dict[str, Any]:
    """Return the keyword arguments of `RetrievalEngine.submit` beside the deadline."""
    options: dict[str, Any] = {
        "minimum_level": body.minimum_level,
        "minimum_quality": body.minimum_quality,
        "priority": body.priority,
        "rerank": body.rerank,
        "hybrid": body.hybrid,
    }
    if body.doc_ids is not None:
        options["doc_ids"] = frozenset(body.doc_ids)
    if body.filter is not None:
        options["filter"] = str(parse_filter(body.filter))  # read once for all queries
    return options


async def _answer_all(
    service: Service, request: Request, queries: list[str], k: int, deadline_s: float, options: dict[str, Any]
) -> list[Answer] | None:
    """Return the answers to all queries; None if the client has hung up.

    The time since the request arrived counts towards the deadline, and towards the queueing time of each answer.

    Raises:
        OverloadedError: A query was rejected, or the answers took too long; the other queries are then cancelled.
    """
    received_s: float = request.scope["received_s"]
    futures: list[Future[Answer]] = []
    delays_s: list[float] = []  # from the arrival of the request until the query was submitted
    try:
        for number, query in enumerate(queries, 1):
            delays_s.append(perf_counter() - received_s)
            # A query whose deadline has passed is submitted all the same: the engine rejects it, and counts it.
            remaining_s = max(deadline_s - delays_s[-1], _MIN_REMAINING_S)
            futures.append(service.engine.submit(query, k, deadline_s=remaining_s, **options))
            if number % _SUBMITS_PER_TURN == 0:
                await asyncio.sleep(0)
        answers = await _wait_for_answers(service, request, futures)
    finally:
        for future in futures:
            future.cancel()  # removes waiting queries from the queue; does nothing to answered ones
    if answers is None:
        return None
    pairs = zip(answers, delays_s, strict=True)
    return [replace(answer, queued_s=answer.queued_s + delay_s) for answer, delay_s in pairs]


async def _wait_for_answers(service: Service, request: Request, futures: list[Future[Answer]]) -> list[Answer] | None:
    """Return the answers of futures; None if the client hangs up first.

    Raises:
        OverloadedError: The answers took too long.
    """
    if await service.server.notifier.wait(futures, _WATCH_AFTER_S):
        return [future.result() for future in futures]
    timeout_s = service.settings.request_timeout_s
    all_answers = asyncio.gather(*map(asyncio.wrap_future, futures))
    all_answers.add_done_callback(_retrieve_exception)
    disconnect = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait((all_answers, disconnect), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if all_answers.done():
            return all_answers.result()
        all_answers.cancel()
        if disconnect.done():
            return None
    finally:
        disconnect.cancel()
    message = f"no answer within {timeout_s:g} s: send fewer queries, or try again later"
    raise OverloadedError(message, retry_after_s=1.0)


def _retrieve_exception(done: asyncio.Future[list[Answer]]) -> None:
    """Retrieve the exception of a future, so that asyncio does not warn that nobody did."""
    if not done.cancelled():
        done.exception()


async def _wait_for_disconnect(request: Request) -> None:
    """Return when the client hangs up. The request must have been read to its end."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _render(service: Service, answers: list[Answer], with_text: bool) -> bytes:
    """Return the body of the response.

    The models that describe the response do not render it: they would take longer than a small subnet's search.
    """
    index = service.retriever.index
    has_chunks, has_metadata = index.manifest.chunking is not None, bool(index.fields)
    results = []
    for answer in answers:
        hits: list[dict[str, Any]] = [{"doc_id": hit.doc_id, "score": hit.score} for hit in answer.hits]
        if has_chunks:
            for hit in hits:
                hit["document"] = index.document_of(hit["doc_id"])
        if with_text and hits and index.has_texts:
            for hit, passage in zip(hits, service.passages([hit["doc_id"] for hit in hits]), strict=True):
                hit["title"], hit["text"] = passage.title, passage.text
                if has_metadata:
                    hit["metadata"] = passage.metadata or {}
        elif with_text and has_metadata:
            for hit in hits:
                hit["metadata"] = index.metadata_of(hit["doc_id"])
        result = {
            "hits": hits,
            "level": answer.level,
            "reranked": [{"candidates": stage.n_candidates, "subnet": str(stage.subnet)} for stage in answer.reranked],
            "queued_ms": round(1000 * answer.queued_s, 3),
            "ran_ms": round(1000 * answer.ran_s, 3),
            "late": answer.late,
            "coverage": answer.coverage,
        }
        # To write JSON keeps the interpreter busy: one call for each result lets other threads run between.
        results.append(json_bytes(result))
    return b'{"results":[' + b",".join(results) + b"]}"
