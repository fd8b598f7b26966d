"""Building of a search structure: its files are written, read again and searched before anything refers to them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.layout import VECTORS
from elasticdenser.index.manifest import StructureInfo
from elasticdenser.index.structures.child_process import call_in_child
from elasticdenser.index.structures.faiss_factory import check_faiss_factory, faiss_reason, is_tested
from elasticdenser.index.structures.faiss_structure import FaissStructure, filled_index, write_index
from elasticdenser.index.structures.index_structure import IndexStructure, choose_factory, train_parts
from elasticdenser.index.structures.registry import AUTO, check_factory, split_factory, structure_class
from elasticdenser.progress import Progress, silent


def build_structure(
    folder: Path,
    shape: tuple[int, int],
    factory: str,
    progress: Progress,
    reserved: Collection[str] = (),
    codebooks: Path | None = None,
) -> StructureInfo:
    """Build the structure that `factory` spells over the vectors in `folder`, and write its files there.

    What may end its process is built in a child process.

    Args:
        folder: The index, or the build folder.
        shape: Number of passages and dimensions.
        factory: One factory string, several joined by " + ", or `auto`.
        progress: Called with (step, vectors done, vectors in all).
        reserved: File names that must not be used.
        codebooks: Folder that `train_structure` wrote; None trains the structure on these vectors.

    Returns:
        The structure; it could be opened and searched with all its efforts.

    Raises:
        BuildError: A factory string is not known, there are too few vectors for it, the structure cannot be searched,
            or the disk refuses. No file is left.
    """
    n_passages, dim = shape
    factory = choose_factory(n_passages, dim) if factory == AUTO else factory
    check_factory(factory, dim, n_passages)
    before = {entry.name for entry in folder.iterdir()}
    try:
        value = _call_safely(
            build_files,
            progress,
            folder=str(folder),
            shape=list(shape),
            factory=factory,
            reserved=list(reserved),
            codebooks=None if codebooks is None else str(codebooks),
        )
    except BaseException:
        for entry in folder.iterdir():
            if entry.name not in before:
                entry.unlink()
        raise
    return from_value(StructureInfo, value, "structure", error=BuildError)


def train_structure(folder: Path, shape: tuple[int, int], factory: str, codebooks: Path) -> list[str]:
    """Write what a structure learns of a sample of vectors, for structures over other vectors; return the file names.

    Args:
        folder: Folder with the file of the sample, named as that of the vectors of an index.
        shape: Number of vectors in the sample, and dimensions.
        factory: One factory string, or several joined by " + ".
        codebooks: Folder to write to.

    Raises:
        BuildError: A factory string is not known, there are too few vectors for it, or the disk refuses.
    """
    arguments = {"folder": str(folder), "shape": list(shape), "codebooks": str(codebooks)}
    names: list[str] = _call_safely(train_files, silent, factory=factory, **arguments)
    return names


def train_files(folder: str, shape: list[int], factory: str, codebooks: str, progress: Progress) -> list[str]:
    """Train the parts of a structure; for `train_structure`, in any process."""
    return train_parts(factory, _stored_vectors(Path(folder), shape), Path(codebooks))


def build_faiss_file(file: Path, folder: Path, shape: tuple[int, int], factory: str, progress: Progress) -> None:
    """Write a FAISS file with the vectors of the index in `folder`, for other tools.

    Args:
        file: The file to write.
        folder: The index.
        shape: Number of passages and dimensions.
        factory: FAISS factory string.
        progress: Called with (step, vectors done, vectors in all).

    Raises:
        BuildError: FAISS does not know the factory string, or cannot build it; or the disk refuses.
    """
    check_faiss_factory(factory, shape[1], shape[0])
    _call_safely(fill_faiss_file, progress, file=str(file), folder=str(folder), shape=list(shape), factory=factory)


def _call_safely(function: Callable[..., Any], progress: Progress, *, factory: str, **arguments: Any) -> Any:
    """Call a function of this module, in a child process if FAISS might end the process."""
    arguments["factory"] = factory
    if any(structure_class(part) is FaissStructure and not is_tested(part) for part in split_factory(factory)):
        return call_in_child(f"{__name__}:{function.__name__}", progress, **arguments)
    return function(**arguments, progress=progress)


def fill_faiss_file(file: str, folder: str, shape: list[int], factory: str, progress: Progress) -> None:
    """Write a FAISS file; for `build_faiss_file`, in any process."""
    write_index(filled_index(factory, _stored_vectors(Path(folder), shape), progress), Path(file))


def _stored_vectors(folder: Path, shape: list[int]) -> Vectors:
    """Return the vectors of an index, float32, (n_passages, dim), memory-mapped."""
    return np.memmap(folder / VECTORS, dtype="<f4", mode="r", shape=(shape[0], shape[1]))


def build_files(
    folder: str, shape: list[int], factory: str, reserved: list[str], codebooks: str | None, progress: Progress
) -> dict[str, Any]:
    """Build a structure, write its files, read them again and search them; for `build_structure`, in any process.

    Returns:
        The `StructureInfo`, as JSON can hold it.
    """
    path = Path(folder)
    vectors = _stored_vectors(path, shape)
    try:
        structure = IndexStructure.build(vectors, factory, progress, None if codebooks is None else Path(codebooks))
        structure.write(path, reserved)
        IndexStructure.read(path, structure.info, vectors).try_all_efforts(vectors)
    except (IndexFormatError, RuntimeError) as error:
        reason = str(error) if isinstance(error, IndexFormatError) else faiss_reason(error)
        raise BuildError(
            f"{factory!r} gives a structure that cannot be searched ({reason}): use --factory auto"
        ) from error
    except MemoryError:
        raise BuildError(f"there is not enough memory to build {factory!r}: use --factory auto") from None
    return asdict(structure.info)
