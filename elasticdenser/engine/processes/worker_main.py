"""What a process of `ProcessPoolSearch` runs."""

from __future__ import annotations

import gc
import marshal
import pickle
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection

from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.request import Query

Asked = Sequence[tuple[str, int, frozenset[str] | None]]


def main(channel: int) -> None:
    """Open a retriever and answer batches until the other side goes.

    Args:
        channel: File descriptor of a connection. The first message on it is the pickled (opener, manifest of the index,
            recalls of the levels); each other one a level's name and (text, k, doc_ids) of queries. Answers are
            (result, pickled error), one of them None.
    """
    with suppress(EOFError, OSError), Connection(channel) as connection:
        try:
            opener, manifest, recalls = pickle.loads(connection.recv_bytes())
            retriever = opener()
            if retriever.index.manifest != manifest:
                raise WorkerError("the index was made anew since it was opened: open it again")
            search = RetrieverSearch(retriever, recalls)
            if torch := sys.modules.get("torch"):  # else our own kernel computes, on one thread
                torch.set_num_threads(1)
            for level in recalls:
                search.search_batch([Query(text="warm up", k=1)], level)
        except Exception as error:
            connection.send_bytes(_failure(error))
            return
        gc.collect()
        gc.freeze()
        connection.send_bytes(marshal.dumps((None, None)))
        while True:
            connection.send_bytes(_answer(search, *marshal.loads(connection.recv_bytes())))


def _answer(search: RetrieverSearch, level: str, asked: Asked) -> bytes:
    try:
        found = search.search_batch([Query(text=text, k=k, doc_ids=doc_ids) for text, k, doc_ids in asked], level)
    except Exception as error:
        return _failure(error)
    return marshal.dumps(([([hit.doc_id for hit in hits], [hit.score for hit in hits]) for hits in found], None))


def _failure(error: Exception) -> bytes:
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # some can be written but not read
    except Exception:
        pickled = pickle.dumps(WorkerError(f"{type(error).__name__}: {error}"))
    return marshal.dumps((None, pickled))
