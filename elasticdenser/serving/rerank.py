"""`/v1/rerank` in the form of Cohere's and Jina's APIs, and `/rerank` in that of Text Embeddings Inference (TEI)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response

from elasticdenser.arrays import Scores
from elasticdenser.rankers import AnyRanker
from elasticdenser.serving.direct import DirectRoute
from elasticdenser.serving.encoding import admitted, in_batches
from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.models import ranker_models, unknown_model
from elasticdenser.serving.request_schemas import AnyDocument, RerankRequest, TeiRerankRequest
from elasticdenser.serving.schemas import RerankResponse, TeiRank
from elasticdenser.serving.service import Service, add_log_fields, service_of
from elasticdenser.subnet import Subnet

router = APIRouter(route_class=DirectRoute)
"""The routes of a server with a ranker."""

router_without_ranker = APIRouter()
"""The same paths of a server without a ranker, which say so."""

_STATUSES = (400, 401, 404, 408, 413, 415, 422, 429, 503)


class _Scored(NamedTuple):
    """Scores of documents.

    Attributes:
        logits: float32, (n_documents,).
        lengths: Number of tokens of each pair.
        are_full: Whether each pair has the maximum number of tokens.
        order: Positions of the documents, best first; of equal scores, in the order of the request.
    """

    logits: Scores
    lengths: list[int]
    are_full: list[bool]
    order: list[int]


@router.post("/v1/rerank", response_model=RerankResponse, responses=error_responses(*_STATUSES))
async def rerank(body: RerankRequest, request: Request) -> Response:
    """Rank documents for a query, with the ranker's largest subnet or the one that the model name ends in."""
    service, ranker = _service_and_ranker(request)
    subnets = ranker_models(service)
    model = body.model or next(iter(subnets))
    if model not in subnets:
        return unknown_model(model, subnets)
    subnet, texts = Subnet.parse(subnets[model]), list(map(_text_of, body.documents))
    scored = await _score(service, ranker, request, body.query, texts, subnet)
    scores = _shown(ranker, scored.logits, subnet, is_raw=body.raw_scores)
    results: list[dict[str, Any]] = []
    for position in scored.order[: body.top_n]:
        results.append({"index": position, "relevance_score": scores[position]})
        if body.return_documents:
            results[-1]["document"] = _object_of(body.documents[position])
    n_tokens = sum(scored.lengths)
    rest = {
        "id": request.scope["request_id"],
        "model": model,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        "meta": {"api_version": {"version": "1"}, "tokens": {"input_tokens": n_tokens}},
    }
    return _json_response(f'{{"results": {await _json_list(results)}, {json.dumps(rest)[1:]}')


@router.post("/rerank", response_model=list[TeiRank], responses=error_responses(*_STATUSES))
async def rerank_as_tei(body: TeiRerankRequest, request: Request) -> Response:
    """Rank texts for a query, with the ranker's largest subnet."""
    service, ranker = _service_and_ranker(request)
    scored = await _score(service, ranker, request, body.query, body.texts, ranker.full_subnet)
    if not body.truncate and any(scored.are_full):
        where = f"texts[{scored.are_full.index(True)}]"
        limit = ranker.max_length
        message = f"{where}: it reaches the ranker's limit of {limit} tokens: shorten it, or truncate"
        return error_response(422, message, param=where)
    scores = _shown(ranker, scored.logits, ranker.full_subnet, is_raw=body.raw_scores)
    ranks: list[dict[str, Any]] = []
    for position in scored.order:
        ranks.append({"index": position, "score": scores[position]})
        if body.return_text:
            ranks[-1]["text"] = body.texts[position]
    return _json_response(await _json_list(ranks))


@router_without_ranker.post("/v1/rerank", include_in_schema=False)
@router_without_ranker.post("/rerank", include_in_schema=False)
async def no_ranker() -> Response:
    """Report that there is no ranker."""
    return error_response(404, "this server has no ranker: start it with serve --ranker FOLDER", code="no_ranker")


def _service_and_ranker(request: Request) -> tuple[Service, AnyRanker]:
    service = service_of(request)
    if service.ranker is None:
        raise RuntimeError("the routes of a ranker are served without one")
    return service, service.ranker


async def _score(
    service: Service, ranker: AnyRanker, request: Request, query: str, texts: Sequence[str], subnet: Subnet
) -> _Scored:
    """Score documents, a few at a time.

    Raises:
        OverloadedError: Too many such requests are waiting.
    """

    def score_batch(batch: Sequence[str]) -> tuple[Scores, list[int], list[bool]]:
        pairs = ranker.pairs(query, batch)
        return ranker.score_pairs(pairs, subnet), list(map(len, pairs)), list(map(ranker.is_full, pairs))

    with admitted(service.server):
        batches = await in_batches(service.server, texts, score_batch)
    logits = np.concatenate([scores for scores, _, _ in batches])
    lengths = [length for _, lengths_of_batch, _ in batches for length in lengths_of_batch]
    are_full = [is_full for _, _, full in batches for is_full in full]
    add_log_fields(request, level=str(subnet), texts=len(texts))
    service.metrics.count_reranked_tokens(sum(lengths))
    return _Scored(logits, lengths, are_full, np.argsort(-logits, kind="stable").tolist())


def _shown(ranker: AnyRanker, logits: Scores, subnet: Subnet, *, is_raw: bool) -> list[float]:
    """Return scores as a client sees them: the logits, or probabilities in the same order."""
    shown: list[float] = (logits if is_raw else ranker.calibration(subnet).probabilities(logits)).tolist()
    return shown


def _text_of(document: AnyDocument) -> str:
    return document if isinstance(document, str) else document.text


def _object_of(document: AnyDocument) -> dict[str, Any]:
    return {"text": document} if isinstance(document, str) else document.model_dump()


async def _json_list(rows: Sequence[Any]) -> str:
    """Return rows, which may hold megabytes of documents, as JSON."""
    # A call of json.dumps keeps the interpreter to itself: one call for each row lets other threads run between.
    texts = await asyncio.to_thread(lambda: [json.dumps(row, ensure_ascii=False) for row in rows])
    return f"[{', '.join(texts)}]"


def _json_response(text: str) -> Response:
    return Response(text.encode("utf-8", "replace"), media_type="application/json")
