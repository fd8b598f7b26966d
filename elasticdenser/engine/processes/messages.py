"""Messages between an engine and its worker processes.

Both sides run the same Python on one machine and trust each other, so messages are serialised with `marshal`, which is
the fastest way. Errors, and the first message, which starts a process, are pickled.
"""

from __future__ import annotations

import marshal
import pickle
import traceback
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError
from elasticdenser.subnet import LEVEL_0, Subnet

if TYPE_CHECKING:
    from elasticdenser.index.manifest import Manifest
    from elasticdenser.retrieval.hits import Hit

READY = marshal.dumps((None, None))
"""Reply to the first message, and to `encode_opening`: the process can search the index."""

Columns = tuple[list[str], list[float], tuple[float, int]]
"""Document ids and scores of the hits of one query, and width and depth of the subnet that encoded it."""


class BatchMessage(NamedTuple):
    """Request for the hits of a batch.

    Attributes:
        queries: The queries.
        level: Name of the level.
        number: Number of the opened index to search, as `encode_opening` gave it; 0 is the first one.
    """

    queries: list[Query]
    level: str
    number: int


class OpeningMessage(NamedTuple):
    """Request to open the newest generation of the index.

    Attributes:
        manifest: The manifest that it must have.
        number: Number that batches will name it by.
    """

    manifest: Manifest
    number: int


def encode_opening(manifest: Manifest, number: int) -> bytes:
    """Return the message that requests to open the newest generation of the index; see `OpeningMessage`."""
    return marshal.dumps((None, pickle.dumps(manifest), number))


def encode_batch(queries: Sequence[Query], level: str, number: int = 0) -> bytes:
    """Return the message that requests the hits of a batch; see `BatchMessage`."""
    rows = []
    for query in queries:
        doc_ids = None if query.doc_ids is None else frozenset(map(_exact_str, query.doc_ids))
        filter = None if query.filter is None else _exact_str(query.filter)
        words = (query.hybrid, query.word_weight)
        rows.append((_exact_str(query.text), int(query.k), doc_ids, filter, query.rerank, *words))
    return marshal.dumps((_exact_str(level), rows, number))


def decode_message(message: bytes) -> BatchMessage | OpeningMessage:
    """Return the content of a message."""
    level, rows, number = marshal.loads(message)
    if level is None:
        return OpeningMessage(pickle.loads(rows), number)
    queries = [
        Query(text=text, k=k, doc_ids=doc_ids, filter=filter, rerank=rerank, hybrid=hybrid, word_weight=word_weight)
        for text, k, doc_ids, filter, rerank, hybrid, word_weight in rows
    ]
    return BatchMessage(queries, level, number)


def encode_hits(hits: Sequence[Sequence[Hit]]) -> bytes:
    """Return the reply with the hits of each query of a batch."""
    columns = [([hit.doc_id for hit in row], [hit.score for hit in row], _subnet_of(row)) for row in hits]
    return marshal.dumps((columns, None))


def encode_error(error: Exception) -> bytes:
    """Return the reply with the error of a batch; its traceback, which is not pickled, becomes a note."""
    if not isinstance(error, QueryError):  # which is the client's, and says all there is
        error.add_note("In the worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # some errors can be pickled, but not unpickled
    except Exception:
        substitute = WorkerError(f"{type(error).__name__}: {error}")
        substitute.__notes__ = list(getattr(error, "__notes__", ()))
        pickled = pickle.dumps(substitute)
    return marshal.dumps((None, pickled))


def decode_reply(reply: bytes) -> Any:
    """Return the content of a reply: the columns of the hits of each query, or None for `READY`.

    Raises:
        Exception: The error that the process sent.
    """
    content, error = marshal.loads(reply)
    if error is not None:
        raise pickle.loads(error)
    return content


class LazyHits(Collection["list[Hit]"]):
    """Hits of each query of a batch, built from the reply of a process when they are iterated.

    Building them takes longer than receiving the reply; later, the worker has already started its next batch.

    Args:
        columns: What the process found for each query.
    """

    def __init__(self, columns: list[Columns]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    def __contains__(self, hits: object) -> bool:
        return hits in list(self)

    def __iter__(self) -> Iterator[list[Hit]]:
        from elasticdenser.retrieval.hits import Hit

        for number, (doc_ids, scores, parts) in enumerate(self._columns):
            query_id, subnet = str(number), Subnet(*parts)
            yield [Hit(query_id, doc_id, score, subnet) for doc_id, score in zip(doc_ids, scores, strict=True)]


def _subnet_of(hits: Sequence[Hit]) -> tuple[float, int]:
    """Return width and depth of the subnet that encoded the query of some hits; level 0 if there are none."""
    subnet = hits[0].subnet if hits else LEVEL_0
    return subnet.width, subnet.depth


def _exact_str(text: str) -> str:
    """Return a string of type `str` itself: `marshal` does not write subclasses, such as NumPy's, as strings."""
    return str.__str__(text) if isinstance(text, str) else text
