"""Work beside searches, with the encoder or the ranker: small batches in threads of their own, few requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.serving.server_state import ServerState
from elasticdenser.serving.settings import TEXTS_PER_BATCH

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def admitted(server: ServerState) -> Iterator[None]:
    """Count a request that encodes or ranks texts while it is open.

    Raises:
        OverloadedError: Too many such requests are waiting.
    """
    if server.n_encoding >= server.settings.max_encoding:
        message = f"{server.n_encoding} requests for embeddings or reranking are waiting: try again later"
        raise OverloadedError(message, retry_after_s=1.0)
    server.n_encoding += 1
    try:
        yield
    finally:
        server.n_encoding -= 1


async def in_batches(
    server: ServerState, items: Sequence[_Item], compute: Callable[[Sequence[_Item]], _Result]
) -> list[_Result]:
    """Return what `compute` returns for each batch of items; it runs in the threads for encoding.

    A client that hangs up is noticed only at the end: its batches are not cancelled.
    """
    loop = asyncio.get_running_loop()
    return [
        await loop.run_in_executor(server.encoding_pool, compute, items[start : start + TEXTS_PER_BATCH])
        for start in range(0, len(items), TEXTS_PER_BATCH)
    ]
