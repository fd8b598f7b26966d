"""Vectors of the tokens of an index's passages, computed before they are searched, for a late-interaction ranker.

    INDEX.token-vectors/KEY/    an `ActivationCache`; KEY stands for the ranker's projection and its encoder

The folder lies beside that of the index. Vectors are found by the text of a passage, so the index can be changed,
moved or merged without them; those of passages that are added later are computed in every search until they are stored
too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.cpus import cpu_count
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.models.ranker_manifest import is_late_interaction
from elasticdenser.models.shipped_ranker import shipped_ranker
from elasticdenser.ordered_map import ordered_map
from elasticdenser.progress import Progress, silent
from elasticdenser.query_input import checked_count
from elasticdenser.rankers import AnyRanker, LateInteractionRanker, load_ranker, load_shipped_ranker
from elasticdenser.rankers.late_interaction import MAX_BYTES

if TYPE_CHECKING:
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder

logger = logging.getLogger(__name__)

_CHUNK = 64
"""Passages of a call of the ranker."""

_SAMPLED = 200
"""Passages by which the size is estimated."""


@dataclass(frozen=True, kw_only=True)
class StoredTokenVectors:
    """Counts of `store_token_vectors`.

    Args:
        folder: Folder of the vectors.
        n_computed: Passages whose vectors were computed.
        n_found: Passages whose vectors were there.
        n_refused: Passages whose vectors did not fit.
        n_bytes: Bytes of the folder.
    """

    folder: Path
    n_computed: int
    n_found: int
    n_refused: int
    n_bytes: int


def token_vectors_folder(index: str | Path) -> Path:
    """Return the folder of the vectors of an index's tokens, whether it exists or not."""
    path = Path(index).expanduser().absolute()
    return path.with_name(f"{path.name}.token-vectors")


def load_ranker_for(
    index: str | Path,
    ranker: str | Path | None = None,
    *,
    dtype: str = "auto",
    device: str = "auto",
    query_encoder: ElasticQueryEncoder | None = None,
) -> AnyRanker:
    """Load a ranker, with the vectors that are stored beside an index if it is a late-interaction ranker.

    Args:
        index: Folder of the index.
        ranker: Folder of the ranker; None is the one that comes with this package.
        dtype: Arithmetic, as for `load_ranker`.
        device: Device, as for `load_ranker`.
        query_encoder: Encoder of the searches, as for `load_ranker`.

    Raises:
        ModelError: The ranker cannot be used.
    """
    folder = shipped_ranker() if ranker is None else Path(ranker).expanduser()
    stored = token_vectors_folder(index)
    token_vectors = stored if is_late_interaction(folder) and stored.is_dir() else None
    if token_vectors is None and ranker is None and query_encoder is None and (dtype, device) == ("auto", "auto"):
        return load_shipped_ranker()
    loaded = load_ranker(ranker, dtype=dtype, device=device, token_vectors=token_vectors, query_encoder=query_encoder)
    if isinstance(loaded, LateInteractionRanker) and token_vectors is not None and not len(loaded.stored_vectors):
        logger.warning(
            "%s holds no vectors of %s in %s: the passages are encoded in each search; store them by `elasticdenser "
            "token-vectors`",
            token_vectors,
            loaded.folder,
            loaded.dtype,
        )
    return loaded


def estimated_bytes(index: PassageIndex, ranker: LateInteractionRanker) -> int:
    """Return about how many bytes the vectors of all tokens take, from a sample of the passages."""
    step = max(1, len(index) // _SAMPLED)
    texts = [index.passage_at(position).content for position in range(0, len(index), step)]
    return round(ranker.stored_bytes(texts) * len(index) / len(texts))


def size_text(n_bytes: int) -> str:
    """Return a number of bytes in megabytes or gigabytes."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


def store_token_vectors(
    index: PassageIndex,
    ranker: str | Path | None = None,
    *,
    dtype: str = "auto",
    device: str = "auto",
    max_bytes: int = MAX_BYTES,
    workers: int | None = None,
    progress: Progress = silent,
    log: Callable[[str], None] = lambda message: None,
) -> StoredTokenVectors:
    """Compute the vectors of the tokens of all passages, and store them beside the index.

    Vectors that are there are not computed again, so that an interrupted call can be repeated.

    Args:
        index: The index, with texts.
        ranker: Folder of a late-interaction ranker; None is the one that comes with this package.
        dtype: Arithmetic, as for `load_ranker`. Searches find only vectors of the arithmetic in which they rerank.
        device: Device, as for `load_ranker`.
        max_bytes: Most bytes of the folder.
        workers: Threads; None is one for each usable CPU.
        progress: Called with (activity, done, total).
        log: Called with the size on disk before anything is computed.

    Raises:
        QueryError: The index holds no texts, or there are no workers.
        ModelError: The ranker cannot be used.
        BadInputError: There is something else in the folder.
        BuildError: The disk refuses.
    """
    n_threads = cpu_count() if workers is None else checked_count(workers, "workers")
    if not index.has_texts:
        raise QueryError(f"{index.path} holds no texts, whose tokens are encoded: build the index without --no-texts")
    loaded = LateInteractionRanker.from_pretrained(
        ranker, dtype=dtype, device=device, token_vectors=token_vectors_folder(index.path), max_bytes=max_bytes
    )
    loaded.stored_vectors.create()  # a disk that refuses it does so before hours of work
    log(f"{len(index):,} passages, whose tokens will take about {size_text(estimated_bytes(index, loaded))} in all")
    cache = loaded.stored_vectors
    try:
        _store_all(loaded, index, n_threads, progress)
    finally:
        cache.flush()
    counts = cache.counts
    return StoredTokenVectors(
        folder=cache.folder,
        n_computed=counts.computed,
        n_found=counts.read,
        n_refused=counts.refused,
        n_bytes=cache.n_bytes,
    )


def _store_all(ranker: LateInteractionRanker, index: PassageIndex, n_threads: int, progress: Progress) -> None:
    done = 0
    with ThreadPoolExecutor(n_threads, thread_name_prefix="token-vectors") as pool:
        for n_stored in ordered_map(pool, ranker.store, _texts(index), 2 * n_threads):
            done += n_stored
            progress("Encoding tokens", done, len(index))


def _texts(index: PassageIndex) -> Iterator[list[str]]:
    for start in range(0, len(index), _CHUNK):
        stop = min(start + _CHUNK, len(index))
        yield [index.passage_at(position).content for position in range(start, stop)]
