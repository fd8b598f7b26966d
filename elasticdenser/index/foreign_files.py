"""Files of other tools: FAISS indexes and the ids of their vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from elasticdenser.datasets.files import read_lines
from elasticdenser.datasets.records import BadLine, checked_id
from elasticdenser.errors import BadInputError


def find_files(source: Path, ids: Path | None) -> tuple[Path, Path]:
    """Return the FAISS file and the file of ids.

    Args:
        source: A folder with `index` and `docid`, as pyserini writes it, or a FAISS file.
        ids: The file of ids, if it is not `docid` in the folder.

    Raises:
        BadInputError: One of them is missing.
    """
    if source.is_dir():
        files = (source / "index", ids or source / "docid")
    elif ids is None and source.exists():
        raise BadInputError("a FAISS file needs its ids: give a file with one id a line (--ids)", source)
    else:
        files = (source, ids or source)
    for path in files:
        if not path.is_file():
            raise BadInputError("no such file, expected a folder with `index` and `docid`, or a FAISS file", path)
    return files


def read_faiss(path: Path, dim: int) -> Any:
    """Read a FAISS index of float vectors that is searched by inner product.

    Raises:
        BadInputError: FAISS cannot read it, or it is of another kind, dimension or metric, or empty.
    """
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise BadInputError(f"FAISS cannot read it ({_last_line(error)}), expected a FAISS index", path) from None
    if not isinstance(index, faiss.Index):
        raise BadInputError(f"got a FAISS {type(index).__name__}, expected an index of float vectors", path)
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BadInputError("it is searched by distance, expected an index by inner product", path)
    if index.d != dim:
        raise BadInputError(f"its vectors have {index.d} dimensions, the encoder makes {dim}: give --encoder", path)
    if index.ntotal == 0:
        raise BadInputError("it holds no vectors, expected at least one", path)
    return index


def vector_storage(index: Any, path: Path) -> Any:
    """Return the part of a FAISS index that can reconstruct the vectors; valid only as long as `index` exists.

    Raises:
        BadInputError: No part can.
    """
    storage = index
    if isinstance(storage, faiss.IndexIDMap):
        if not np.array_equal(faiss.vector_to_array(storage.id_map), np.arange(storage.ntotal)):
            raise BadInputError("it numbers its vectors itself, expected an index without an IDMap", path)
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
    except RuntimeError as error:
        raise BadInputError(
            f"FAISS cannot reconstruct the vectors of a {type(storage).__name__} ({_last_line(error)}): import an "
            "index of another kind, such as Flat, IVF, HNSW or SQ",
            path,
        ) from None
    return storage


def is_lossy(storage: Any) -> bool:
    """Return whether a FAISS index compresses its vectors with loss."""
    return not isinstance(storage, faiss.IndexFlat | faiss.IndexIVFFlat | faiss.IndexHNSWFlat)


def read_ids(path: Path, n_vectors: int) -> list[str]:
    """Read the ids of `n_vectors` vectors, one a line.

    Raises:
        BadInputError: An id is empty or repeated, or there are more or fewer of them.
    """
    lines: dict[str, int] = {}
    for number, line in read_lines(path):
        try:
            doc_id = checked_id(line.strip())
        except BadLine as error:
            raise BadInputError(error.message, path, number) from error
        if doc_id in lines:
            raise BadInputError(f"the id {doc_id!r} is already in line {lines[doc_id]}, expected it once", path, number)
        lines[doc_id] = number
    if len(lines) != n_vectors:
        raise BadInputError(f"got {len(lines):,} ids for {n_vectors:,} vectors: give the ids that belong to them", path)
    return list(lines)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
