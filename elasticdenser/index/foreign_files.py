"""Files of other tools: where their vectors and ids are, and the ids; see `vector_files` for the vectors."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.datasets.files import read_lines
from elasticdenser.datasets.records import BadLine, checked_id
from elasticdenser.errors import BadInputError


def find_files(source: Path, ids: Path | None) -> tuple[Path, Path]:
    """Return the file of vectors and the file of ids.

    Args:
        source: A folder with `index` and `docid`, as pyserini writes it, or a file of vectors.
        ids: The file of ids, if it is not `docid` in the folder.

    Raises:
        BadInputError: One of them is missing.
    """
    if source.is_dir():
        files = (source / "index", ids or source / "docid")
    elif ids is None and source.exists():
        raise BadInputError("a file of vectors needs its ids: give a file with one id a line (--ids)", source)
    else:
        files = (source, ids or source)
    for path in files:
        if not path.is_file():
            expected = "a folder with `index` and `docid`, or a file of FAISS or NumPy (.npy)"
            if path == ids:
                expected = "a file with one id a line"
            fault = "this is a folder" if path.is_dir() else "no such file"
            raise BadInputError(f"{fault}, expected {expected}", path)
    return files


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
