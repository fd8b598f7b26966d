"""Number of threads of FAISS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss


@contextmanager
def faiss_threads(n_threads: int) -> Iterator[None]:
    """Let FAISS use so many threads, for calls of this thread.

    The number before is restored, because other libraries share it: torch would go on with one thread after a search.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n_threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
