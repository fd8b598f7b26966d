"""Main function of a worker process of `ProcessPoolSearch`."""

from __future__ import annotations

import gc
import logging
import pickle
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.errors import IndexReplacedError
from elasticdenser.engine.processes.messages import (
    READY,
    BatchMessage,
    OpeningMessage,
    decode_message,
    encode_error,
    encode_hits,
)
from elasticdenser.engine.request import Query

if TYPE_CHECKING:
    from elasticdenser.index.manifest import Manifest
    from elasticdenser.retrieval.hits import Hit
    from elasticdenser.retrieval.retriever import Retriever


def main(file_descriptor: int) -> None:
    """Open a retriever, and answer batches until the connection is closed.

    Args:
        file_descriptor: File descriptor of a connection. The first message is a pickled tuple of the retriever's
            opener, the manifest of the index, the recalls of the levels, and the number of that index; each further
            one is a batch, or asks to open a newer generation of the index. Each message gets one reply.
    """
    with suppress(EOFError, OSError), Connection(file_descriptor) as connection:
        try:
            searches = _Searches(*pickle.loads(connection.recv_bytes()))
        except Exception as error:
            connection.send_bytes(encode_error(error))
            return
        # The objects that exist now live as long as the process: exclude them from garbage collections.
        gc.collect()
        gc.freeze()
        connection.send_bytes(READY)
        while True:
            connection.send_bytes(_reply(searches, connection.recv_bytes()))


def _reply(searches: _Searches, message: bytes) -> bytes:
    try:
        content = decode_message(message)
        if isinstance(content, BatchMessage):
            return encode_hits(searches.search_batch(content))
        searches.open_newest(content)
        return READY
    except Exception as error:
        return encode_error(error)


class _Searches:
    """Search in an index, and in the newer generation that is to follow it.

    Args:
        opener: Opens the retriever.
        manifest: Manifest that its index must have.
        recalls: Search effort of each level, as for `RetrieverSearch`.
        number: Number by which batches name this index.
    """

    def __init__(
        self, opener: Callable[[], Retriever], manifest: Manifest, recalls: Mapping[str, float | None], number: int
    ) -> None:
        self._recalls, self._current = recalls, number
        logging.disable(logging.WARNING)  # the process that opened the retriever has shown these warnings
        self._retriever = opener()
        logging.disable(logging.NOTSET)
        if torch := sys.modules.get("torch"):  # otherwise the kernel computes, which uses one thread anyway
            torch.set_num_threads(1)
        self._searches = {number: self._search_of(self._retriever, manifest)}

    def search_batch(self, batch: BatchMessage) -> list[list[Hit]]:
        """Search in the index that a batch names; those before it are then not searched any more."""
        if batch.number != self._current:
            self._searches = {batch.number: self._searches[batch.number]}
            self._current = batch.number
        return self._searches[batch.number].search_batch(batch.queries, batch.level)

    def open_newest(self, opening: OpeningMessage) -> None:
        """Open the newest generation of the index, beside the one that is searched; it shares files with that one.

        Raises:
            IndexReplacedError: It is not the expected one.
        """
        newest = self._retriever.refresh()
        search = self._search_of(newest, opening.manifest)
        self._searches = {self._current: self._searches[self._current], opening.number: search}
        self._retriever = newest

    def _search_of(self, retriever: Retriever, manifest: Manifest) -> RetrieverSearch:
        """Return the search of a retriever, after every level has run once, as first runs are slow."""
        found = retriever.index.manifest
        if found != manifest:
            raise IndexReplacedError(
                f"the index {retriever.index.path} was rebuilt or replaced since it was opened: searched is the one "
                f"made at {manifest.created}, and in its place is one made at {found.created}: open it again, or "
                "restart the server"
            )
        search = RetrieverSearch(retriever, self._recalls)
        for level in self._recalls:
            search.search_batch([Query(text="warm up", k=1)], level)
        return search
