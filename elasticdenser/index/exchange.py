"""Exchange with other tools: import of pyserini folders, FAISS and NumPy files; export to pyserini."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elasticdenser.arrays import Vectors, l2_normalised
from elasticdenser.artifacts import atomic_write, explained_os_errors, flush_folder
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.datasets.metadata import MetadataInference
from elasticdenser.datasets.records import BadLine
from elasticdenser.errors import BadInputError, BuildError, EncoderMismatchError, ModelError
from elasticdenser.index import journal
from elasticdenser.index.finishing import finish_index
from elasticdenser.index.foreign_files import find_files, read_ids
from elasticdenser.index.layout import PLAN, VECTORS, building_folder
from elasticdenser.index.locking import exclusive_lock, resolve_path
from elasticdenser.index.passage_index import PassageIndex
from elasticdenser.index.plan import BuildPlan
from elasticdenser.index.publishing import publish, recover
from elasticdenser.index.structures.building import build_faiss_file
from elasticdenser.index.vector_files import VectorFile, read_vector_file
from elasticdenser.models.settings import SIMILARITIES, EncoderFingerprint
from elasticdenser.models.space import named_space
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from elasticdenser.encoders import PassageEncoder

_COPIED_AT_ONCE = 16_384
"""Vectors that are copied into memory at a time: 25 MB at 384 dimensions."""

_N_COMPARED = 64
"""Passages that are encoded to compare their vectors: enough for a stable median."""

_LENGTH_TOLERANCE, _LOSSY_LENGTH_TOLERANCE = 1e-3, 0.05
"""Difference from 1 of the length of a normalised vector: stored in half precision, and decoded from 8 bits."""

_MIN_COSINE = 0.98
"""Between an imported vector and the encoder's of the same text: vectors stored in 8 bits are above, those of
other models below."""

_MAX_LENGTH_ERROR = 0.1
"""By which the lengths of normalised vectors may differ from 1: those of compressed ones do."""


@dataclass(frozen=True, kw_only=True)
class ForeignSpace:
    """Vector space of a model that is not on this machine, such as that of an API.

    Args:
        name: Name of the model; indexes and students with the same name belong together.
        similarity: `cosine` or `dot`.

    Raises:
        ModelError: There is no such similarity.
    """

    name: str
    similarity: str = "cosine"

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITIES:
            raise ModelError(f"got similarity = {self.similarity!r}, expected one of {', '.join(SIMILARITIES)}")

    def of_dim(self, dim: int) -> EncoderFingerprint:
        """Return the fingerprint of the space with vectors of so many dimensions."""
        return named_space(self.name, dim, normalize=self.similarity == "cosine")


def import_index(
    source: Path,
    path: Path,
    encoder: PassageEncoder | ForeignSpace,
    *,
    ids: Path | None = None,
    corpus: Corpus | None = None,
    factory: str = "auto",
    progress: Progress = silent,
) -> PassageIndex:
    """Create an index at `path` from vectors that another tool wrote.

    Args:
        source: A folder with `index` (FAISS) and `docid` (ids, one a line), as pyserini writes it; a FAISS file; or a
            `.npy` file with a vector in each row. A FAISS index must be searched by inner product, or hold normalised
            vectors.
        path: The folder to create.
        encoder: The encoder that made the vectors; or their space, where it is not on this machine.
        ids: The ids of a bare file of vectors, one a line.
        corpus: Source of the texts. If given, some vectors are compared with those that an encoder computes.
        factory: Factory string of the search structure, or `auto`.
        progress: Called with (step, done, in all).

    Raises:
        BadInputError: Files are missing, or ids, vectors and corpus do not belong together.
        EncoderMismatchError: The vectors are not of this encoder.
        BuildError: Something exists at `path`, or the disk refuses.
    """
    vector_path, id_file = find_files(source, ids)
    file = read_vector_file(vector_path, None if isinstance(encoder, ForeignSpace) else encoder.dim)
    fingerprint = encoder.of_dim(file.dim) if isinstance(encoder, ForeignSpace) else encoder.fingerprint
    compared = None if isinstance(encoder, ForeignSpace) or corpus is None else encoder
    doc_ids = read_ids(id_file, file.n_vectors)
    path = resolve_path(path)
    with exclusive_lock(path):
        recover(path)
        if path.exists():
            raise BuildError(f"{path} exists: choose another place with -o")
        work = building_folder(path)
        journal.open_build_folder(work)
        if (work / PLAN).exists():
            raise BuildError(f"{work} holds an unfinished build: finish it, or choose another place with -o")
        journal.reset(work, None)  # an import that was killed cannot be continued
        try:
            with explained_os_errors(work):
                inference = MetadataInference({} if corpus is None else corpus.metadata.declared)
                passages = _passages_of(doc_ids, corpus, work / "texts.tmp", inference)
                sha256 = _copy_passages(
                    work,
                    file,
                    passages,
                    inference,
                    normalize=fingerprint.settings.normalize,
                    compared=compared,
                    texts=corpus is not None,
                    progress=progress,
                )
            plan = BuildPlan(
                n_passages=file.n_vectors,
                corpus={"sources": f"imported from {source}", "sha256": sha256, "skipped": {}},
                encoder=fingerprint,
                has_texts=corpus is not None,
                metadata={name: str(kind) for name, kind in inference.types.items()} or None,
            )
            finish_index(work, plan, factory, progress, vectors="decoded" if file.is_lossy else "exact")
            publish(work, path)
        except BaseException:
            if work.is_dir():
                shutil.rmtree(work, ignore_errors=True)
            raise
    return PassageIndex.open(path)


def export_index(index: PassageIndex, path: Path, *, factory: str = "Flat", progress: Progress = silent) -> None:
    """Write `index` as pyserini's FaissSearcher reads it: `path/index` (FAISS) and `path/docid`.

    Args:
        index: The index to export.
        path: The folder to create.
        factory: FAISS factory string of the exported index.
        progress: Called with (step, done, in all).

    Raises:
        BuildError: Something exists at `path`, FAISS does not know the factory string, or the disk refuses.
    """
    path = resolve_path(path)
    work = path.with_name(f"{path.name}.exporting")
    with exclusive_lock(path), explained_os_errors(work):
        if path.exists():
            raise BuildError(f"{path} exists: choose another place with -o")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            with _folder_of_vectors(index, work) as folder:
                build_faiss_file(work / "index", folder, (len(index), index.dim), factory, progress)
            with atomic_write(work / "docid") as file:
                file.writelines(f"{doc_id}\n" for doc_id in index.doc_ids)
            flush_folder(work)
            os.rename(work, path)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


@contextmanager
def _folder_of_vectors(index: PassageIndex, scratch: Path) -> Iterator[Path]:
    """Yield a folder with a file of all vectors of an index: of several segments, a copy that is removed."""
    if index.contents.is_one_folder:
        yield index.path
        return
    copy = scratch / VECTORS
    with open(copy, "xb") as file:
        for start in range(0, len(index), _COPIED_AT_ONCE):
            file.write(index.vectors[start : start + _COPIED_AT_ONCE].tobytes())
    yield scratch
    copy.unlink()


def _passages_of(
    doc_ids: list[str], corpus: Corpus | None, scratch: Path, inference: MetadataInference
) -> Iterator[Passage]:
    """Yield a passage for each id, in order.

    If there is a corpus, its texts are first copied to a scratch file, and the types of its metadata are inferred.
    """
    if corpus is None:
        yield from (Passage(doc_id=doc_id, text="") for doc_id in doc_ids)
        return
    numbers = {doc_id: number for number, doc_id in enumerate(doc_ids)}
    starts = np.full(len(doc_ids), -1, np.int64)
    with open(scratch, "w+b") as file:
        for path, line, passage in corpus.with_locations():
            number = numbers.get(passage.doc_id)
            if number is not None and starts[number] < 0:
                starts[number] = file.tell()
                file.write(json.dumps([passage.title, passage.text, passage.metadata]).encode() + b"\n")
                try:
                    inference.add(passage.doc_id, passage.metadata or {})
                except BadLine as error:
                    raise BadInputError(error.message, path, line) from None
        missing = np.flatnonzero(starts < 0)
        if len(missing):
            raise BadInputError(
                f"{len(missing):,} of {len(doc_ids):,} ids are not in the corpus {corpus.name}, such as "
                f"{doc_ids[missing[0]]!r}: give the corpus the index was made from"
            )
        for doc_id, start in zip(doc_ids, starts.tolist(), strict=True):
            file.seek(start)
            title, text, metadata = json.loads(file.readline())
            yield Passage(doc_id=doc_id, text=text, title=title, metadata=metadata)
    scratch.unlink()


def _copy_passages(
    work: Path,
    source: VectorFile,
    passages: Iterator[Passage],
    inference: MetadataInference,
    *,
    normalize: bool,
    compared: PassageEncoder | None,
    texts: bool,
    progress: Progress,
) -> str:
    """Copy all vectors, ids and texts into the build folder, and return the SHA-256 of the ids.

    Args:
        work: The build folder.
        source: The vectors.
        passages: A passage for each vector.
        inference: Types of their metadata, which are known once the first passage has been read.
        normalize: Whether the vectors are compared by cosine.
        compared: The encoder that made the vectors, some of which are compared with its own; None compares none.
        texts: Whether the passages have texts, which are stored.
        progress: Called with (step, done, in all).
    """
    digest, scaled = hashlib.sha256(), False
    for start in range(0, source.n_vectors, _COPIED_AT_ONCE):
        n_copied = min(_COPIED_AT_ONCE, source.n_vectors - start)
        vectors = source.vectors(start, n_copied)
        if not np.isfinite(vectors).all():
            raise BadInputError("some of its vectors are not finite: build the index that is imported again")
        if source.metric == "distance":
            _refuse_other_lengths(vectors, source)
        elif start == 0:
            # Tools that divide by the lengths in each search store the vectors of a cosine model as they come.
            lengths = float(np.median(np.linalg.norm(vectors, axis=1)))
            scaled = normalize and abs(lengths - 1) > _MAX_LENGTH_ERROR
        if scaled:
            vectors = l2_normalised(vectors)
        window = list(islice(passages, n_copied))
        if compared is not None and start == 0:
            _refuse_other_encoder(window[:_N_COMPARED], vectors[:_N_COMPARED], compared)
        has_metadata = bool(inference.types)
        journal.append_window(work, window, vectors, start + n_copied, texts=texts, metadata=has_metadata)
        for passage in window:
            digest.update(passage.doc_id.encode() + b"\0")
        progress("importing", start + n_copied, source.n_vectors)
    next(passages, None)  # runs the generator to its end, which removes the scratch file
    return digest.hexdigest()


def _refuse_other_lengths(vectors: Vectors, source: VectorFile) -> None:
    """Refuse vectors that are searched by distance, and have not length 1.

    Args:
        vectors: float32, (n, dim), some of the vectors.
        source: The file that they are from.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if np.abs(lengths - 1).max() > (_LOSSY_LENGTH_TOLERANCE if source.is_lossy else _LENGTH_TOLERANCE):
        raise BadInputError(
            "it is searched by distance, which ranks as inner products do only for normalised vectors; got vectors of "
            f"length {lengths.min():.4g} to {lengths.max():.4g}, expected 1: normalise them",
            source.path,
        )


def _refuse_other_encoder(passages: list[Passage], vectors: Vectors, encoder: PassageEncoder) -> None:
    """Refuse vectors that another encoder made.

    Args:
        passages: Some passages.
        vectors: float32, (n_passages, dim), their imported vectors.
        encoder: The encoder that should have made them.
    """
    own = encoder.encode([passage.content for passage in passages])
    norm_products = np.linalg.norm(own, axis=1) * np.linalg.norm(vectors, axis=1)
    cosine = float(np.median((own * vectors).sum(axis=1) / np.maximum(norm_products, 1e-12)))
    if cosine < _MIN_COSINE:
        raise EncoderMismatchError(
            f"the vectors are not those of {encoder.fingerprint.name}: over {len(passages)} passages the median cosine "
            f"is {cosine:.3f}, expected above {_MIN_COSINE}: give the encoder that made them (--encoder, "
            "--passage-prompt)"
        )
