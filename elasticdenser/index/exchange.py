"""Indexes of other tools: importing pyserini folders and FAISS files, exporting to pyserini."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.datasets.files import read_lines
from elasticdenser.encoders import PassageEncoder
from elasticdenser.errors import BadInputError, BuildError, EncoderMismatchError
from elasticdenser.index.build import append_window, finish, only_builder, put_in_place
from elasticdenser.index.layout import building_folder
from elasticdenser.index.passage_index import PassageIndex
from elasticdenser.index.structures import Progress, Structure, Vectors, silent

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
    doc_ids = _read_ids(id_file, index.ntotal)
    if path.exists():
        raise BuildError(f"{path} exists: choose another place with -o")
    work = building_folder(path)
    with explained_os_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    with only_builder(work), explained_os_errors(work):
        for leftover in work.iterdir():
            if leftover.name not in ("lock",):
                raise BuildError(f"{work} holds an unfinished build: finish it, or choose another place with -o")
        try:
            passages = _in_order(doc_ids, corpus)
            digest = _copy(work, index, passages, encoder, check=corpus is not None, progress=progress)
            plan = {
                "n_passages": index.ntotal,
                "corpus": {"sources": f"imported from {source}", "sha256": digest, "skipped": {}},
                "encoder": encoder.fingerprint.to_json(),
                "has_texts": corpus is not None,
            }
            finish(work, plan, factory, progress, vectors="decoded" if _is_lossy(index) else "exact")
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        put_in_place(work, path)
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
    if path.exists():
        raise BuildError(f"{path} exists: choose another place with -o")
    work = path.with_name(path.name + ".exporting")
    with explained_os_errors(work):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        filled = Structure.fill(index.vectors, factory, progress)
        with atomic_write(work / "index", "wb") as file:
            faiss.write_index(filled, faiss.PyCallbackIOWriter(file.write))
        with atomic_write(work / "docid") as file:
            file.writelines(f"{doc_id}\n" for doc_id in index.doc_ids)
        os.rename(work, path)


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
        index = faiss.downcast_index(faiss.read_index(str(path)))
    except RuntimeError as error:
        raise BadInputError(f"FAISS cannot read it ({str(error).splitlines()[-1].strip()})", path) from None
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise BadInputError("it is searched by distance; expected an index by inner product", path)
    if index.d != dim:
        raise BadInputError(f"its vectors have {index.d} dimensions, the encoder makes {dim}: give --encoder", path)
    if index.ntotal == 0:
        raise BadInputError("it holds no vectors", path)
    if isinstance(index, faiss.IndexRefine):  # the refining index holds the vectors more exactly
        return faiss.downcast_index(index.refine_index)
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()
    return index


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


def _in_order(doc_ids: list[str], corpus: Corpus | None) -> Iterator[Passage]:
    """Yield a passage for each id, with its text where there is a corpus."""
    if corpus is None:
        yield from (Passage(doc_id=doc_id, text="") for doc_id in doc_ids)
        return
    wanted = set(doc_ids)
    texts = {passage.doc_id: passage for passage in corpus if passage.doc_id in wanted}
    missing = [doc_id for doc_id in doc_ids if doc_id not in texts]
    if missing:
        raise BadInputError(
            f"{len(missing):,} of {len(doc_ids):,} ids are not in the corpus {corpus.name}, such as {missing[0]!r}: "
            "give the corpus the index was made from"
        )
    yield from (texts[doc_id] for doc_id in doc_ids)


def _copy(
    work: Path, index: Any, passages: Iterator[Passage], encoder: PassageEncoder, *, check: bool, progress: Progress
) -> str:
    digest = hashlib.sha256()
    for start in range(0, index.ntotal, _AT_ONCE):
        count = min(_AT_ONCE, index.ntotal - start)
        try:
            vectors = np.ascontiguousarray(index.reconstruct_n(start, count))
        except RuntimeError as error:
            raise BadInputError(
                f"FAISS cannot give back the vectors of a {type(index).__name__} ({str(error).splitlines()[-1].strip()}):"
                " import an index of another kind, such as Flat, IVF, HNSW or SQ"
            ) from None
        window = [passage for _, passage in zip(range(count), passages, strict=False)]
        if check and start == 0:
            _compare(window[:_COMPARED], vectors[:_COMPARED], encoder)
        append_window(work, window, vectors, start + count, texts=check)
        for passage in window:
            digest.update(passage.doc_id.encode() + b"\0")
        progress("importing", start + count, index.ntotal)
    return digest.hexdigest()


def _compare(passages: list[Passage], vectors: Vectors, encoder: PassageEncoder) -> None:
    made = encoder.encode([passage.content for passage in passages])
    lengths = np.linalg.norm(made, axis=1) * np.linalg.norm(vectors, axis=1)
    cosine = float(np.median((made * vectors).sum(axis=1) / np.maximum(lengths, 1e-12)))
    if cosine < _SAME_VECTOR:
        raise EncoderMismatchError(
            f"the vectors are not those of {encoder.found.name}: over {len(passages)} passages the median cosine is "
            f"{cosine:.3f}, expected above {_SAME_VECTOR}; give the encoder that made them (--encoder, --passage-prompt)"
        )
