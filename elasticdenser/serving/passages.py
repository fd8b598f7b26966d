"""`POST /passages` and `DELETE /passages`: changes of an index."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import BadLine, checked_id, checked_passage
from elasticdenser.errors import BadInputError, BuildError, EncoderMismatchError, ModelError, QueryError
from elasticdenser.index.locking import LockHeldError
from elasticdenser.retrieval.retriever import Retriever
from elasticdenser.serving.direct import DirectRoute
from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.index_parts import check_filter
from elasticdenser.serving.passage_writer import Addition, Deletion, Outcome, WriterBusyError
from elasticdenser.serving.schemas import ChangeResponse
from elasticdenser.serving.service import Service, add_log_fields, service_of
from elasticdenser.serving.write_schemas import AddRequest, DeleteRequest

router = APIRouter(route_class=DirectRoute)
"""The routes of an index that clients may change."""

read_only_router = APIRouter()
"""The same paths of an index that they may not change, which say so."""

_STATUSES = (400, 401, 408, 409, 413, 415, 422, 503)
_ENCODER_OPTIONS = ("device", "trust_remote_code")
_RETRY_AFTER_S = "2"


@router.post("/passages", response_model=ChangeResponse, responses=error_responses(*_STATUSES))
async def add(body: AddRequest, request: Request) -> dict[str, Any] | Response:
    """Add documents, or replace those whose ids the index has; once answered, searches here find them.

    A document whose text the index has already is left as it is, so that a request can be sent again.
    """
    service = service_of(request)
    if (fault := _fault_of_texts(body) or _fault_of_vectors(body, service.retriever.index.dim)) is not None:
        return fault
    vectors = [passage.vector for passage in body.passages if passage.vector is not None]
    addition = Addition(
        path=service.retriever.index.path,
        passages=[Passage(passage.doc_id, passage.text, passage.title, passage.metadata) for passage in body.passages],
        vectors=vectors or None,
        only_new=body.only_new,
        encoder=service.retriever.encoder.location.name,
        encoder_options=_encoder_options(service.retriever),
    )
    return await _answer(service, request, addition)


@router.delete("/passages", response_model=ChangeResponse, responses=error_responses(*_STATUSES))
async def delete(body: DeleteRequest, request: Request) -> dict[str, Any] | Response:
    """Delete documents; once answered, searches here do not find them. Ids that are not in the index are reported."""
    service = service_of(request)
    if (body.doc_ids is None) == (body.filter is None):
        got = "neither doc_ids nor filter" if body.doc_ids is None else "both doc_ids and filter"
        return error_response(422, f"got {got}; expected one of the two", param="doc_ids")
    filter = None
    if body.filter is not None:
        try:
            filter = str(await asyncio.to_thread(check_filter, service.retriever.index, body.filter))
        except QueryError as error:
            return error_response(422, str(error), param="filter")
    deletion = Deletion(path=service.retriever.index.path, doc_ids=body.doc_ids, filter=filter)
    return await _answer(service, request, deletion)


@read_only_router.post("/passages", include_in_schema=False)
@read_only_router.delete("/passages", include_in_schema=False)
async def read_only() -> Response:
    """Report that the index cannot be changed here."""
    return error_response(403, "this server takes no changes: start it with serve --write-key-file FILE")


async def _answer(service: Service, request: Request, change: Addition | Deletion) -> dict[str, Any] | Response:
    """Make a change, and answer once this server searches what it has made."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + service.settings.write_timeout_s
    try:
        outcome = await service.server.writer.change(change, service.settings.write_timeout_s)
    except WriterBusyError as error:
        return _try_again(str(error))
    except LockHeldError:
        return _try_again("another process is writing to the index: send the request again later")
    except (QueryError, BadInputError, EncoderMismatchError) as error:
        return error_response(422, str(error))
    except (BuildError, ModelError) as error:
        return error_response(409, str(error))
    _record(service, request, outcome)
    if not await service.refresher.wait_for(outcome.generation, end_s - loop.time()):
        return _try_again(
            f"the change was made, as generation {outcome.generation}, but is not searched yet: send the same request "
            "again to wait for it"
        )
    return {
        "generation": outcome.generation,
        "added": outcome.added,
        "replaced": outcome.replaced,
        "unchanged": outcome.unchanged,
        "deleted": outcome.deleted,
        "unknown": list(outcome.unknown),
    }


_try_again = partial(error_response, 503, headers={"Retry-After": _RETRY_AFTER_S})


def _record(service: Service, request: Request, outcome: Outcome) -> None:
    counts = {"added": outcome.added, "replaced": outcome.replaced, "deleted": outcome.deleted}
    service.metrics.count_change(**counts)
    add_log_fields(request, generation=outcome.generation, **counts)


def _fault_of_texts(body: AddRequest) -> Response | None:
    """Return the error of an id or text that no index takes, before the writer is asked, which may be busy."""
    for number, passage in enumerate(body.passages):
        try:
            checked_passage(checked_id(passage.doc_id), passage.text, passage.title)
        except BadLine as error:
            where = f"passages[{number}]"
            return error_response(422, f"{where}: {error.message}", param=where)
    return None


def _fault_of_vectors(body: AddRequest, dim: int) -> Response | None:
    """Return the error of vectors that are missing or of another dimension than the index; None if they are right."""
    if all(passage.vector is None for passage in body.passages):
        return None
    for number, passage in enumerate(body.passages):
        where = f"passages[{number}].vector"
        if passage.vector is None:
            message = f"{where} is missing: give vectors with all passages of a request, or with none"
            return error_response(422, message, param=where)
        if len(passage.vector) != dim:
            message = f"{where}: got {len(passage.vector):,} numbers; expected {dim:,}, the dimension of the index"
            return error_response(422, message, param=where)
    return None


def _encoder_options(retriever: Retriever) -> dict[str, Any]:
    """Return those options with which the retriever was opened that an encoder of passages takes too."""
    options = retriever.opener.keywords if isinstance(retriever.opener, partial) else {}
    return {name: options[name] for name in _ENCODER_OPTIONS if name in options}
