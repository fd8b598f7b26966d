"""Factory strings of FAISS: which exist, how many vectors they need, and which are known to be safe.

FAISS ends the process on some strings (`HNSW0`), and on others only when vectors are added (`HNSW1`).
"""

from __future__ import annotations

import re
from typing import Any

import faiss

from elasticdenser.errors import BuildError
from elasticdenser.index.structures.child_process import call_in_child
from elasticdenser.progress import Progress, silent

_CODES = r"(Flat|SQ(4|6|8|fp16|bf16)|PQ[1-9]\d*(x(4|8|4fsr?))?)"
_TESTED = re.compile(
    rf"((IVF[1-9]\d*(_HNSW\d*)?,)?{_CODES}|HNSW\d+((,|_)(Flat|SQ(4|6|8|fp16|bf16)))?)(,RFlat)?", re.ASCII
)
"""Strings that are built in this process; all others in a child process."""

_LIMITS = (
    (re.compile(r"(?:HNSW|NSG)(\d+)"), 2, 1024),
    (re.compile(r"(\d+)"), 1, 1 << 24),
)
"""Numbers outside these ranges end the process or fill the memory."""


def is_tested(factory: str) -> bool:
    """Return whether FAISS is known to raise an error, rather than end the process, where it cannot build `factory`."""
    return _TESTED.fullmatch(factory) is not None


def check_faiss_factory(factory: str, dim: int, n_passages: int | None = None) -> None:
    """Refuse a factory string that FAISS does not know, or cannot train on so few passages.

    Args:
        factory: FAISS factory string.
        dim: Dimensions of a vector.
        n_passages: Number of vectors; None if it is not known yet.

    Raises:
        BuildError: FAISS does not know it, a number in it is out of range, or there are too few passages.
    """
    for pattern, least, most in _LIMITS:
        for match in pattern.finditer(factory):
            if len(match[1]) > 8 or not least <= int(match[1]) <= most:
                raise BuildError(
                    f"got {match[0]} in the factory string {factory!r}, expected a number from {least} to {most:,} "
                    "there: use --factory auto"
                )
    if is_tested(factory):
        n_needed = n_training_vectors(factory, dim)
    else:
        n_needed = call_in_child(f"{__name__}:n_training_vectors", factory=factory, dim=dim)
    if n_passages is not None and n_passages < n_needed:
        raise BuildError(
            f"{factory!r} cannot be trained on fewer than {n_needed:,} passages, the corpus has {n_passages:,}: "
            "use --factory auto"
        )


def n_training_vectors(factory: str, dim: int, progress: Progress = silent) -> int:
    """Return the number of vectors that the training of a structure needs at least, as far as it is known.

    Raises:
        BuildError: FAISS does not know the factory string.
    """
    inverted_file = faiss.try_extract_index_ivf(empty_index(factory, dim))
    code_bits = [int(match or 8) for match in re.findall(r"(?<!O)PQ\d+(?:x(\d+))?", factory)]
    n_lists: int = 1 if inverted_file is None else inverted_file.nlist
    return max([n_lists, *(1 << bits for bits in code_bits)])


def empty_index(factory: str, dim: int) -> Any:
    """Return an empty FAISS index.

    Raises:
        BuildError: FAISS does not know the factory string.
    """
    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, MemoryError) as error:
        raise BuildError(
            f"FAISS does not take the factory string {factory!r} at {dim} dimensions ({faiss_reason(error)}): use "
            "auto, Flat, HNSW32, IVF1024,Flat, ... (see the FAISS wiki, 'The index factory')"
        ) from None


def faiss_reason(error: Exception) -> str:
    """Return the reason in a FAISS error message, without the location in the C++ code."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return str(error).strip().splitlines()[-1].rsplit(": ", 1)[-1]
