"""Files of other tools that hold vectors, for `import`.

To add a form, add one file with a class that satisfies `VectorFile`, and one line in `_FORMS`.
"""

from __future__ import annotations

from pathlib import Path

from elasticdenser.errors import BadInputError
from elasticdenser.index.vector_files.base import VectorFile
from elasticdenser.index.vector_files.faiss_file import FaissFile
from elasticdenser.index.vector_files.npy_file import NpyFile

__all__ = ["VectorFile", "read_vector_file"]

_FORMS: tuple[type[VectorFile], ...] = (
    NpyFile,
    FaissFile,  # last: it accepts every file
)


def read_vector_file(path: Path, dim: int | None) -> VectorFile:
    """Read a file of vectors.

    Args:
        path: The file.
        dim: Dimensions that the vectors must have; None takes any.

    Raises:
        BadInputError: The file is damaged or of no known form, or its vectors cannot be used.
    """
    file = next(form for form in _FORMS if form.accepts(path)).read(path)
    if dim is not None and file.dim != dim:
        raise BadInputError(f"its vectors have {file.dim} dimensions, the encoder makes {dim}: give --encoder", path)
    if file.n_vectors == 0:
        raise BadInputError("it holds no vectors, expected at least one", path)
    return file
