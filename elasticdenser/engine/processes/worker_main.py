"""Main function of a worker process of `ProcessPoolSearch`."""

from __future__ import annotations

import gc
import logging
import pickle
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.errors import WorkerError
from elasticdenser.engine.processes.messages import READY, decode_batch, encode_error, encode_hits
from elasticdenser.engine.request import Query


def main(file_descriptor: int) -> None:
    """Open a retriever, and answer batches until the connection is closed.

    Args:
        file_descriptor: File descriptor of a connection. The first message is a pickled tuple of the retriever's
            opener, the manifest of the index, and the recalls of the levels; each further one is a batch
            (`encode_batch`). Each message gets one reply.
    """
    with suppress(EOFError, OSError), Connection(file_descriptor) as connection:
        try:
            search = _open(connection.recv_bytes())
        except Exception as error:
            connection.send_bytes(encode_error(error))
            return
        # The objects that exist now live as long as the process: exclude them from garbage collections.
        gc.collect()
        gc.freeze()
        connection.send_bytes(READY)
        while True:
            connection.send_bytes(_reply(search, connection.recv_bytes()))


def _open(message: bytes) -> RetrieverSearch:
    """Open the retriever, and run every level once, as first runs are slow."""
    opener, manifest, recalls = pickle.loads(message)
    logging.disable(logging.WARNING)  # the process that opened the retriever has shown these warnings
    retriever = opener()
    logging.disable(logging.NOTSET)
    if retriever.index.manifest != manifest:
        raise WorkerError("the index was rebuilt or replaced since it was opened: open it again, or restart the server")
    search = RetrieverSearch(retriever, recalls)
    if torch := sys.modules.get("torch"):  # otherwise the kernel computes, which uses one thread anyway
        torch.set_num_threads(1)
    for level in recalls:
        search.search_batch([Query(text="warm up", k=1)], level)
    return search


def _reply(search: RetrieverSearch, message: bytes) -> bytes:
    try:
        return encode_hits(search.search_batch(*decode_batch(message)))
    except Exception as error:
        return encode_error(error)
