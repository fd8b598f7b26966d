"""Texts with their vectors, which an API or another tool made: JSONL, Parquet, NumPy with a file of texts, an index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.arrays import Array, Vectors, l2_normalised
from elasticdenser.datasets.files import read_lines, text_suffix
from elasticdenser.datasets.formats.parquet import import_pyarrow
from elasticdenser.datasets.records import BadLine, json_object
from elasticdenser.errors import BadInputError
from elasticdenser.index import PassageIndex
from elasticdenser.models.settings import EncoderFingerprint

_TEXT_NAMES = ("text", "query", "input")
_VECTOR_NAMES = ("vector", "embedding", "values")
"""Names under which a text and its vector are looked for, in this order."""

_FORMS = (
    "expected JSONL or Parquet with text and vector, vectors.npy with vectors.txt beside it, or an index with texts"
)

_MAX_PASSAGES = 100_000
"""Passages of an index that are read, at even distances: their vectors are held in memory."""

_Row = tuple[int, object, object]
"""Number of a line or row, text, and vector."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenVectors:
    """Distinct texts with their vectors.

    Args:
        path: Their file.
        texts: The texts.
        vectors: float32, (n_texts, dim), L2-normalised.
        space: Their vector space, if the file says it.
    """

    path: Path
    texts: list[str]
    vectors: Vectors
    space: EncoderFingerprint | None = None

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.vectors.shape[1])

    @property
    def sha256(self) -> str:
        """SHA-256 of the vectors."""
        return hashlib.sha256(self.vectors.tobytes()).hexdigest()


def read_given_vectors(path: Path) -> GivenVectors:
    """Read texts with their vectors; of a text that is repeated, the first vector counts.

    Args:
        path: JSONL (also compressed) or Parquet with a text and a vector in each row; `NAME.npy` with a vector in each
            row and `NAME.txt` with a text in each line; or the folder of an index that stores its texts.

    Raises:
        BadInputError: The file is missing or of another form, a text has no vector, vectors differ in their dimensions,
            or one is not finite or zero.
    """
    if path.is_dir():
        return _of_index(path)
    if not path.is_file():
        raise BadInputError(f"no such file, {_FORMS}", path)
    if path.suffix.lower() == ".npy":
        texts, vectors = _of_npy(path)
        rows: Iterator[_Row] = ((row, text, vectors[row - 1]) for row, text in enumerate(texts, 1))
    else:
        reader = _READERS.get(path.suffix.lower() if path.suffix.lower() == ".parquet" else text_suffix(path))
        if reader is None:
            raise BadInputError(f"got a file of another form, {_FORMS}", path)
        rows = reader(path)
    return _checked(path, rows)


def _checked(path: Path, rows: Iterator[_Row]) -> GivenVectors:
    """Return the texts and vectors of rows, each of which is checked."""
    vectors: dict[str, Vectors] = {}
    dim = 0
    for number, text, value in rows:
        text = " ".join(text.split()) if isinstance(text, str) else ""
        if not text:
            raise BadInputError(f"got no text, expected one under {' or '.join(_TEXT_NAMES)}", path, number)
        vector = _vector_of(value)
        if vector is None:
            names = " or ".join(_VECTOR_NAMES)
            raise BadInputError(f"got a text without a vector of numbers, expected one under {names}", path, number)
        dim = dim or len(vector)
        if len(vector) != dim:
            raise BadInputError(f"got a vector of {len(vector)} dimensions, expected {dim}, as before", path, number)
        if not np.isfinite(vector).all() or not vector.any():
            raise BadInputError("got a vector that is zero or not finite, expected finite numbers", path, number)
        vectors.setdefault(text, vector)
    if not vectors:
        raise BadInputError("holds no texts with vectors, expected at least one", path)
    return GivenVectors(path=path, texts=list(vectors), vectors=l2_normalised(np.stack(list(vectors.values()))))


def _vector_of(value: object) -> Vectors | None:
    """Return a vector, float32; None if the value is something else."""
    try:
        vector: Array = np.asarray(value, np.float32)
    except (ValueError, TypeError):
        return None
    return vector if vector.ndim == 1 and len(vector) else None


def _of_json_lines(path: Path) -> Iterator[_Row]:
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        try:
            value = json_object(line)
        except BadLine as error:
            raise BadInputError(error.message, path, number) from error
        yield number, _first(value, _TEXT_NAMES), _first(value, _VECTOR_NAMES)


def _first(value: dict[str, Any], names: tuple[str, ...]) -> object:
    return next((value[name] for name in names if name in value), None)


def _of_parquet(path: Path) -> Iterator[_Row]:
    pyarrow = import_pyarrow(str(path))
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            names = [next((name for name in known if name in columns), None) for known in (_TEXT_NAMES, _VECTOR_NAMES)]
            if None in names:
                raise BadInputError(f"got the columns {', '.join(columns)}, {_FORMS}", path)
            for batch in file.iter_batches(columns=names):
                texts, vectors = (batch.column(name).to_pylist() for name in names)
                for text, vector in zip(texts, vectors, strict=True):
                    number += 1
                    yield number, text, vector
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInputError(f"cannot be read as Parquet ({str(error).splitlines()[0]})", path) from error


_READERS: dict[str, Callable[[Path], Iterator[_Row]]] = {
    ".jsonl": _of_json_lines,
    ".json": _of_json_lines,
    ".parquet": _of_parquet,
}


def _of_npy(path: Path) -> tuple[list[str], Array]:
    try:
        vectors: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is a literal of Python, whose faults are of many types
        raise BadInputError(f"NumPy cannot read it ({error}), expected a .npy file of numbers", path) from None
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise BadInputError(f"got an array of {vectors.dtype} and shape {vectors.shape}, expected rows of floats", path)
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        raise BadInputError("no such file, expected the texts of the vectors, one a line in the same order", beside)
    texts = [line.strip() for _, line in read_lines(beside)]
    if len(texts) != len(vectors):
        raise BadInputError(f"got {len(texts):,} texts for {len(vectors):,} vectors, expected one each", beside)
    return texts, vectors


def _of_index(path: Path) -> GivenVectors:
    index = PassageIndex.open(path)
    if not index.manifest.has_texts:
        raise BadInputError("this index holds no texts, expected them with its vectors: import it with --corpus", path)
    positions = np.unique(np.linspace(0, len(index) - 1, _MAX_PASSAGES).astype(np.int64)).tolist()
    rows = ((position + 1, index.passage_at(position).content, index.vectors[position]) for position in positions)
    given = _checked(path, rows)
    return GivenVectors(path=path, texts=given.texts, vectors=given.vectors, space=index.manifest.encoder)
