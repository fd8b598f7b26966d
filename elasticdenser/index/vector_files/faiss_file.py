"""Files of FAISS, whose vectors are reconstructed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from elasticdenser.arrays import Positions, Vectors
from elasticdenser.errors import BadInputError

_METRICS = {faiss.METRIC_INNER_PRODUCT: "inner product", faiss.METRIC_L2: "distance"}

_OWN_NUMBERS = "it numbers its vectors itself"
_WAY_OUT = "build it again without ids of its own (`add`, not `add_with_ids`)"


class FaissFile:
    """FAISS index of float vectors; a `VectorFile`.

    Args:
        path: The file.
        index: The FAISS index.
    """

    def __init__(self, path: Path, index: Any) -> None:
        self.path, self._index = path, index  # the parts are valid only as long as the whole exists
        self.n_vectors, self.dim = index.ntotal, index.d
        self.metric: str | None = _METRICS[index.metric_type]
        self._storage = _vector_storage(index, path) if self.n_vectors else index
        self.is_lossy = not isinstance(self._storage, faiss.IndexFlat | faiss.IndexIVFFlat | faiss.IndexHNSWFlat)

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Accept every file: FAISS knows what it can read."""
        return True

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a FAISS index, searched by inner product or by distance (L2).

        Raises:
            BadInputError: FAISS cannot read it, it is of another kind or metric, it does not hold one vector for each
                number from 0, or its vectors cannot be reconstructed.
        """
        try:
            index = faiss.read_index(str(path))
        except (RuntimeError, MemoryError) as error:
            raise BadInputError(f"FAISS cannot read it ({_last_line(error)}), expected a FAISS index", path) from None
        if not isinstance(index, faiss.Index):
            raise BadInputError(f"got a FAISS {type(index).__name__}, expected an index of float vectors", path)
        if index.metric_type not in _METRICS:
            expected = "expected inner product, or L2 of normalised vectors"
            raise BadInputError(f"it is searched by the metric {index.metric_type} of FAISS, {expected}", path)
        for part in _parts(index):
            _check_numbers(part, index.ntotal, path)
        return cls(path, index)

    def vectors(self, start: int, n_vectors: int) -> Vectors:
        """Return some of the vectors, float32, (n_vectors, dim).

        Raises:
            BadInputError: FAISS cannot reconstruct them.
        """
        try:
            return np.ascontiguousarray(self._storage.reconstruct_n(start, n_vectors))
        except (RuntimeError, MemoryError) as error:
            raise _not_reconstructed(self._storage, error, self.path) from None


def _parts(index: Any) -> Iterator[Any]:
    """Yield a FAISS index and all indexes inside it that hold the same vectors."""
    part = faiss.downcast_index(index)
    yield part
    for name in ("index", "base_index", "refine_index", "storage"):
        inner = getattr(part, name, None)
        if isinstance(inner, faiss.Index):
            yield from _parts(inner)


def _check_numbers(part: Any, n_vectors: int, path: Path) -> None:
    """Refuse a part that does not hold exactly the vectors numbered 0 to `n_vectors` - 1.

    `reconstruct_n` would leave rows for missing numbers as they were in memory, and take any of several for a repeated
    number.
    """
    kind = type(part).__name__
    if part.ntotal != n_vectors:
        raise BadInputError(f"its {kind} holds {part.ntotal:,} vectors, expected {n_vectors:,}: build it again", path)
    if isinstance(part, faiss.IndexIDMap):
        numbers = faiss.vector_to_array(part.id_map)
        if not np.array_equal(numbers, np.arange(n_vectors)):
            raise BadInputError(f"{_OWN_NUMBERS}, expected an index without an IDMap: {_WAY_OUT}", path)
    if isinstance(part, faiss.IndexIVF):
        _check_lists(part.invlists, n_vectors, path)


def _check_lists(lists: Any, n_vectors: int, path: Path) -> None:
    """Refuse the lists of an inverted file that do not hold the numbers 0 to `n_vectors` - 1, each once."""
    n_listed = sum(map(lists.list_size, range(lists.nlist)))
    if n_listed != n_vectors:
        raise BadInputError(f"its lists hold {n_listed:,} vectors, expected {n_vectors:,}: build it again", path)
    seen = np.zeros(n_vectors, bool)
    for numbers in _numbers_in_lists(lists):
        outside = numbers[(numbers < 0) | (numbers >= n_vectors)]
        if len(outside):
            _refuse_number(outside[0], "out of range", n_vectors, path)
        in_order = np.sort(numbers)
        repeated = np.r_[numbers[seen[numbers]], in_order[1:][in_order[1:] == in_order[:-1]]]
        if len(repeated):
            _refuse_number(repeated[0], "repeated", n_vectors, path)
        seen[numbers] = True


def _numbers_in_lists(lists: Any) -> Iterator[Positions]:
    """Yield the numbers of the vectors in each list of an inverted file, int64, (n,)."""
    for number in range(lists.nlist):
        size = lists.list_size(number)
        if size:
            pointer = lists.get_ids(number)
            numbers = faiss.rev_swig_ptr(pointer, size).copy()
            lists.release_ids(number, pointer)
            yield numbers


def _refuse_number(number: int, fault: str, n_vectors: int, path: Path) -> None:
    expected = f"expected the numbers 0 to {n_vectors - 1:,}, each once"
    raise BadInputError(f"{_OWN_NUMBERS}: {number} is {fault}, {expected}; {_WAY_OUT}", path)


def _vector_storage(index: Any, path: Path) -> Any:
    """Return the part of a FAISS index that can reconstruct the vectors; valid only as long as `index` exists.

    Raises:
        BadInputError: No part can.
    """
    storage = index
    if isinstance(storage, faiss.IndexIDMap):
        storage = faiss.downcast_index(storage.index)
    if isinstance(storage, faiss.IndexRefine):  # the refining index holds the vectors more exactly
        storage = faiss.downcast_index(storage.refine_index)
    inverted_file = faiss.try_extract_index_ivf(storage)
    try:
        if inverted_file is not None and isinstance(faiss.downcast_index(inverted_file), faiss.IndexIVFFastScan):
            raise RuntimeError("fast-scan lists are packed")  # FAISS itself would end the process
        if inverted_file is not None:
            inverted_file.make_direct_map()
        storage.reconstruct(0)  # raises here, whereas `reconstruct_n` would end the process
    except (RuntimeError, MemoryError) as error:
        raise _not_reconstructed(storage, error, path) from None
    return storage


def _not_reconstructed(storage: Any, error: Exception, path: Path) -> BadInputError:
    return BadInputError(
        f"FAISS cannot reconstruct the vectors of a {type(storage).__name__} ({_last_line(error)}): import an index of "
        "another kind, such as Flat, IVF, HNSW or SQ",
        path,
    )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
