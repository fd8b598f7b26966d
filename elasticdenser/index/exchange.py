"""Indexes of other tools: importing pyserini folders and FAISS files, exporting to pyserini."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.artifacts import atomic_write, explained_os_errors, flush_folder
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.datasets.files import read_lines
from elasticdenser.errors import BadInputError, BuildError, EncoderMismatchError
from elasticdenser.index import journal
from elasticdenser.index.build import finish
from elasticdenser.index.layout import building_folder
from elasticdenser.index.locking import only_builder, put_in_place, recover, settled
from elasticdenser.index.passage_index import PassageIndex
from elasticdenser.index.structures import Structure
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from elasticdenser.encoders import PassageEncoder

_AT_ONCE = 16_384
_COMPARED = 64
_SAME_VECTOR = 0.98
"""Least cosine of a vector to what the encoder makes of its text: 8-bit storage stays above, other models below."""


def import_index(
    source: Path,
    path: Path,
    encoder: PassageEncoder,
    *,
    ids: Path | None = None,
    corpus: Corpus | None = None,
    factory: str = "auto",
    progress: Progress = silent,
) -> PassageIndex:
    """Make an index at `path` of vectors that another tool wrote.

    Args:
        source: A folder with `index` (FAISS) and `docid` (ids, one a line), as pyserini writes, or a FAISS file.
        path: The folder to make.
        encoder: What made the vectors.
        ids: The ids of a bare FAISS file, one a line.
        corpus: Where to take the texts from. With it some vectors are compared with what `encoder` makes of their
            texts.
        factory: FAISS factory string, or `auto`.
        progress: Called with (what, done, of how many).

    Raises:
        BadInputError: Files are missing, or ids, vectors and corpus do not belong together.
        EncoderMismatchError: The vectors are not this encoder's.
        BuildError: Something stands at `path`, or the disk refuses.
    """
    faiss_file, id_file = _files_of(source, ids)
    index = _read_faiss(faiss_file, encoder.dim)
    stored = _stored_vectors(index, faiss_file)
    doc_ids = _read_ids(id_file, index.ntotal)
    path = settled(path)
    with only_builder(path):
        recover(path)
        if path.exists():
            raise BuildError(f"{path} exists: choose another place with -o")
        work = building_folder(path)
        journal.open_build_folder(work)
        if journal.read_plan(work):
            raise BuildError(f"{work} holds an unfinished build: finish it, or choose another place with -o")
        journal.begin(work, None)  # an import that was killed is made anew
        try:
            with explained_os_errors(work):
                passages = _in_order(doc_ids, corpus, work / "texts.tmp")
                digest = _copy(work, stored, passages, encoder, check=corpus is not None, progress=progress)
            plan = {
                "n_passages": index.ntotal,
                "corpus": {"sources": f"imported from {source}", "sha256": digest, "skipped": {}},
                "encoder": encoder.fingerprint.to_json(),
                "has_texts": corpus is not None,
            }
            finish(work, plan, factory, progress, vectors="decoded" if _is_lossy(stored) else "exact")
            put_in_place(work, path)
        except BaseException:
            if work.is_dir():
                shutil.rmtree(work, ignore_errors=True)
            raise
    return PassageIndex.open(path)


def export_index(index: PassageIndex, path: Path, *, factory: str = "Flat", progress: Progress = silent) -> None:
    """Write `index` as pyserini's FaissSearcher reads it: `path/index` (FAISS) and `path/docid`.

    Args:
        index: What to export.
        path: The folder to make.
        factory: FAISS factory string of the exported index.
        progress: Called with (what, done, of how many).

    Raises:
        BuildError: Something stands at `path`, FAISS does not take the factory string, or the disk refuses.
    """
    path = settled(path)
    work = path.with_name(f"{path.name}.exporting")
    with only_builder(path), explained_os_errors(work):
        if path.exists():
            raise BuildError(f"{path} exists: choose another place with -o")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            filled = Structure.fill(index.vectors, factory, progress)
            with atomic_write(work / "index", "wb") as file:
                faiss.write_index(filled, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
            with atomic_write(work / "docid") as file:
                file.writelines(f"{doc_id}\n" for doc_id in index.doc_ids)
            flush_folder(work)
            os.rename(work, path)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _files_of(source: Path, ids: Path | None) -> tuple[Path, Path]:
    if source.is_dir():
        pair = (source / "index", ids or source / "docid")
    elif ids is None:
        raise BadInputError("a FAISS file needs its ids: give a file with one id a line (--ids)", source)
    else:
        pair = (source, ids)
    for path in pair:
        if not path.is_file():
            raise BadInputError("no such file; expected a folder with `index` and `docid`, or a FAISS file", path)
    return pair


def _read_faiss(path: Path, dim: int) -> Any:
    try:
        index = faiss.read_index(str(path))
    except RuntimeError as error:
        raise BadInputError(f"FAISS cannot read it ({_last_line(error)}): expected a FAISS index", path) from None
    if not isinstance(index, faiss.Index):
        raise BadInputError(f"it is a FAISS {type(index).__name__}: expected one of float vectors", path)
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BadInputError("it is searched by distance: expected an index by inner product", path)
    if index.d != dim:
        raise BadInputError(f"its vectors have {index.d} dimensions, the encoder makes {dim}: give --encoder", path)
    if index.ntotal == 0:
        raise BadInputError("it holds no vectors", path)
    return index


def _stored_vectors(index: Any, path: Path) -> Any:
    """Return the part of a FAISS index that gives vectors back; it lives as long as `index` does.

    Raises:
        BadInputError: No part does.
    """
    stored = index
    if isinstance(stored, faiss.IndexIDMap):
        if not np.array_equal(faiss.vector_to_array(stored.id_map), np.arange(stored.ntotal)):
            raise BadInputError("it numbers its vectors itself: expected an index without an IDMap", path)
        stored = faiss.downcast_index(stored.index)
    if isinstance(stored, faiss.IndexRefine):  # the refining index holds the vectors more exactly
        stored = faiss.downcast_index(stored.refine_index)
    inverted = faiss.try_extract_index_ivf(stored)
    try:
        if inverted is not None and isinstance(faiss.downcast_index(inverted), faiss.IndexIVFFastScan):
            raise RuntimeError("fast-scan lists are packed")  # where FAISS itself ends the process
        if inverted is not None:
            inverted.make_direct_map()
        stored.reconstruct(0)  # `reconstruct_n` would end the process where this raises
    except RuntimeError as error:
        raise BadInputError(
            f"FAISS cannot give back the vectors of a {type(stored).__name__} ({_last_line(error)}): import an index "
            "of another kind, such as Flat, IVF, HNSW or SQ",
            path,
        ) from None
    return stored


def _is_lossy(index: Any) -> bool:
    exact = (faiss.IndexFlat, faiss.IndexIVFFlat, faiss.IndexHNSWFlat)
    return not isinstance(index, exact)


def _read_ids(path: Path, n_vectors: int) -> list[str]:
    seen: dict[str, int] = {}
    for number, line in read_lines(path):
        doc_id = line.strip()
        if not doc_id:
            raise BadInputError("empty line; expected a document id", path, number)
        if doc_id in seen:
            raise BadInputError(f"the id {doc_id!r} stands in line {seen[doc_id]} already", path, number)
        seen[doc_id] = number
    if len(seen) != n_vectors:
        raise BadInputError(f"{len(seen):,} ids for {n_vectors:,} vectors: give the ids that belong to them", path)
    return list(seen)


def _in_order(doc_ids: list[str], corpus: Corpus | None, scratch: Path) -> Iterator[Passage]:
    """Yield a passage for each id, with its text where there is a corpus; the texts wait in a file meanwhile."""
    if corpus is None:
        yield from (Passage(doc_id=doc_id, text="") for doc_id in doc_ids)
        return
    position = {doc_id: at for at, doc_id in enumerate(doc_ids)}
    starts = np.full(len(doc_ids), -1, np.int64)
    with open(scratch, "w+b") as file:
        for passage in corpus:
            at = position.get(passage.doc_id)
            if at is not None and starts[at] < 0:
                starts[at] = file.tell()
                file.write(json.dumps([passage.title, passage.text]).encode() + b"\n")
        missing = np.flatnonzero(starts < 0)
        if len(missing):
            raise BadInputError(
                f"{len(missing):,} of {len(doc_ids):,} ids are not in the corpus {corpus.name}, such as "
                f"{doc_ids[missing[0]]!r}: give the corpus the index was made from"
            )
        for doc_id, start in zip(doc_ids, starts.tolist(), strict=True):
            file.seek(start)
            title, text = json.loads(file.readline())
            yield Passage(doc_id=doc_id, text=text, title=title)
    scratch.unlink()


def _copy(
    work: Path, stored: Any, passages: Iterator[Passage], encoder: PassageEncoder, *, check: bool, progress: Progress
) -> str:
    digest = hashlib.sha256()
    for start in range(0, stored.ntotal, _AT_ONCE):
        count = min(_AT_ONCE, stored.ntotal - start)
        vectors = np.ascontiguousarray(stored.reconstruct_n(start, count))
        if not np.isfinite(vectors).all():
            raise BadInputError("some of its vectors are not finite: make the index that is imported anew")
        window = list(islice(passages, count))
        if check and start == 0:
            _compare(window[:_COMPARED], vectors[:_COMPARED], encoder)
        journal.append_window(work, window, vectors, start + count, texts=check)
        for passage in window:
            digest.update(passage.doc_id.encode() + b"\0")
        progress("importing", start + count, stored.ntotal)
    next(passages, None)  # lets it clear up
    return digest.hexdigest()


def _compare(passages: list[Passage], vectors: Vectors, encoder: PassageEncoder) -> None:
    made = encoder.encode([passage.content for passage in passages])
    lengths = np.linalg.norm(made, axis=1) * np.linalg.norm(vectors, axis=1)
    cosine = float(np.median((made * vectors).sum(axis=1) / np.maximum(lengths, 1e-12)))
    if cosine < _SAME_VECTOR:
        raise EncoderMismatchError(
            f"the vectors are not those of {encoder.fingerprint.name}: over {len(passages)} passages the median cosine "
            f"is {cosine:.3f}, expected above {_SAME_VECTOR}: give the one that made them (--encoder, --passage-prompt)"
        )


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
