"""`POST /highlights`: the sentence of a passage that matches a query best, scored by the encoder itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response

from elasticdenser.arrays import Vectors
from elasticdenser.datasets.sentences import sentence_spans
from elasticdenser.errors import QueryError
from elasticdenser.serving.encoding import admitted, in_batches
from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.request_schemas import HighlightsRequest
from elasticdenser.serving.schemas import HighlightsResponse
from elasticdenser.serving.service import Service, add_log_fields, service_of

router = APIRouter()

_MAX_SENTENCES = 64
"""Sentences of one passage that are scored, the first ones: a bound on the time for very long passages."""


class _Sentence(NamedTuple):
    passage: int
    start: int
    end: int
    text: str


@router.post(
    "/highlights",
    response_model=HighlightsResponse,
    responses=error_responses(400, 401, 404, 408, 413, 415, 422, 429, 503),
)
async def highlights(body: HighlightsRequest, request: Request) -> dict[str, Any] | Response:
    """Find the sentence of each passage that matches a query best, by the full encoder."""
    service = service_of(request)
    try:
        sentences = await asyncio.to_thread(_sentences_of, service, body.doc_ids)
    except QueryError as error:
        return error_response(404, str(error), param="doc_ids")
    with admitted(service):
        scores = await _score(service, body.query, [sentence.text for sentence in sentences])
    best: list[dict[str, Any]] = [{"doc_id": doc_id, "start": 0, "end": 0, "score": None} for doc_id in body.doc_ids]
    for sentence, score in zip(sentences, scores, strict=True):
        highlight = best[sentence.passage]
        if highlight["score"] is None or score > highlight["score"]:
            highlight.update(start=sentence.start, end=sentence.end, score=score)
    add_log_fields(request, level=str(service.retriever.encoder.full_subnet), texts=len(sentences))
    return {"highlights": best}


def _sentences_of(service: Service, doc_ids: Sequence[str]) -> list[_Sentence]:
    """Return the sentences of passages, without the white space around them.

    Raises:
        QueryError: A passage is not in the index.
    """
    index = service.retriever.index
    if not index.has_texts:
        index.doc_ids.positions(doc_ids)  # refuses unknown ids
        return []
    texts = [passage.text for passage in service.passages(doc_ids)]
    return [sentence for number, text in enumerate(texts) for sentence in _split(number, text)]


def _split(passage: int, text: str) -> list[_Sentence]:
    stripped = []
    for start, end in islice(sentence_spans(text), _MAX_SENTENCES):
        sentence = text[start:end].strip()
        if sentence:
            start += len(text[start:end]) - len(text[start:end].lstrip())
            stripped.append(_Sentence(passage, start, start + len(sentence), sentence))
    return stripped


async def _score(service: Service, query: str, sentences: Sequence[str]) -> list[float]:
    """Return the score of each sentence for a query."""
    if not sentences:
        return []
    encoder = service.retriever.encoder
    (query_vectors,) = await in_batches(service, [query], encoder.encode)

    def score_batch(batch: Sequence[str]) -> list[float]:
        vectors: Vectors = encoder.encode_passages(batch)
        scores: list[float] = (vectors @ query_vectors[0]).tolist()
        return scores

    return [score for scores in await in_batches(service, sentences, score_batch) for score in scores]
