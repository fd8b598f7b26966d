"""`POST /highlights`: the sentence of a passage that matches a query best, scored by the encoder itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from elasticdenser.errors import QueryError
from elasticdenser.retrieval.snippets import Sentence, best_snippets, score_sentences, split_into_sentences
from elasticdenser.serving.direct import DirectRoute
from elasticdenser.serving.encoding import admitted, in_batches
from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.request_schemas import HighlightsRequest
from elasticdenser.serving.schemas import HighlightsResponse
from elasticdenser.serving.service import Service, add_log_fields, service_of

router = APIRouter(route_class=DirectRoute)


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
    with admitted(service.server):
        scores = await _score(service, body.query, [sentence.text for sentence in sentences])
    index = service.retriever.index
    snippets = await asyncio.to_thread(best_snippets, index, body.query, len(body.doc_ids), sentences, scores)
    add_log_fields(request, level=str(service.retriever.encoder.full_subnet), texts=len(sentences))
    return {
        "highlights": [
            {
                "doc_id": doc_id,
                "start": snippet.start,
                "end": snippet.end,
                "score": snippet.score,
                "words": [{"start": start, "end": end} for start, end in snippet.words],
            }
            for doc_id, snippet in zip(body.doc_ids, snippets, strict=True)
        ]
    }


def _sentences_of(service: Service, doc_ids: Sequence[str]) -> list[Sentence]:
    """Return the sentences of passages.

    Raises:
        QueryError: A passage is not in the index.
    """
    index = service.retriever.index
    if not index.has_texts:
        index.doc_ids.positions(doc_ids)  # refuses unknown ids
        return []
    # Of passages alone: a document of chunks has no one text.
    return split_into_sentences([passage.text for passage in service.passages(doc_ids)])


async def _score(service: Service, query: str, sentences: Sequence[str]) -> list[float]:
    """Return the score of each sentence for a query."""
    if not sentences:
        return []
    encoder = service.retriever.encoder
    (query_vectors,) = await in_batches(service.server, [query], encoder.encode)
    score_batch = partial(score_sentences, encoder, query_vectors[0])
    return [score for scores in await in_batches(service.server, sentences, score_batch) for score in scores]
