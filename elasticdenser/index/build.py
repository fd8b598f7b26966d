"""Building an index so that no interruption loses finished work.

Passages are encoded in windows. A finished window is appended to the files in `NAME.building`, flushed, and only
then noted in a journal; on the next start everything past the last note is cut off and the work goes on from
there. The folder takes its final name when it is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from elasticdenser.artifacts import explained_os_errors
from elasticdenser.datasets import Corpus, CorpusScan, Passage, scan_corpus, unique_passages
from elasticdenser.errors import BadInputError, BuildError, IndexFormatError
from elasticdenser.index import journal, layout
from elasticdenser.index.layout import FileEntry, Manifest, building_folder
from elasticdenser.index.line_files import LineFile, write_lookup
from elasticdenser.index.locking import only_builder, put_in_place, recover
from elasticdenser.index.structures import Structure, choose_factory, parse_factory, parts_of
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.encoders import PassageEncoder

WINDOW = 2048
"""Passages that are sorted, encoded and saved together: at most this much work is done twice after a kill."""


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """What a build makes of a corpus.

    Args:
        factory: FAISS factory string or `auto`.
        texts: Whether the passages' texts are kept beside the vectors.
        overwrite: Whether a finished index of that name may be replaced, once the new one is complete.
        restart: Whether an unfinished build of something else in that place may be thrown away.
        workers: Cores to encode on; None is all usable ones.
    """

    factory: str = "auto"
    texts: bool = True
    overwrite: bool = False
    restart: bool = False
    workers: int | None = None


def build_index(
    corpus: Corpus, path: Path, encoder: PassageEncoder, settings: BuildSettings, progress: Progress
) -> CorpusScan:
    """Encode `corpus` into a new index at `path`, or go on with the build that was interrupted there.

    Args:
        corpus: The passages; read twice, first to check and count them.
        path: The index folder to make, `settled`.
        encoder: The full-width encoder.
        settings: See there.
        progress: Called with (what, done, of how many).

    Returns:
        What was read.

    Raises:
        BuildError: Another build is running there, something else stands there, or the disk refuses.
        BadInputError: The corpus has a fault.
    """
    _refuse_untrainable(settings.factory, encoder.dim)
    with only_builder(path):
        recover(path)
        _refuse_taken(path, settings)
        work = building_folder(path)
        journal.open_build_folder(work)
        try:
            scan = scan_corpus(corpus, work, progress=lambda done: progress("reading", done, 0))
            plan = _plan(scan, corpus, encoder.fingerprint, settings)
            if _is_up_to_date(path, plan, settings):
                _drop_same_work(work, plan)
            else:
                _refuse_untrainable(settings.factory, encoder.dim, scan.n_passages)
                _enter_plan(work, plan, settings)
                _encode_rest(work, unique_passages(corpus, scan), scan.n_passages, encoder, settings, progress)
                finish(work, plan, settings.factory, progress)
                put_in_place(work, path)
        finally:
            journal.close_build_folder(work)
    return scan


def _refuse_untrainable(factory: str, dim: int, n_passages: int | None = None) -> None:
    """Refuse a factory string that FAISS does not know, or cannot train on so few passages."""
    if len(parts_of(factory)) > 1:
        for part in parts_of(factory):
            _refuse_untrainable(part, dim, n_passages)
        return
    if factory in ("auto", "Flat"):
        return
    inverted = faiss.try_extract_index_ivf(parse_factory(factory, dim))
    bits = [int(match or 8) for match in re.findall(r"(?<!O)PQ\d+(?:x(\d+))?", factory)]
    needed = max([1 if inverted is None else inverted.nlist, *(2**n for n in bits)])
    if n_passages is not None and n_passages < needed:
        raise BuildError(
            f"{factory!r} cannot be trained on fewer than {needed:,} passages, the corpus has {n_passages:,}: use "
            "--factory auto"
        )


def _refuse_taken(path: Path, settings: BuildSettings) -> None:
    """Refuse to build where something other than an index stands, before the corpus is read."""
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / layout.MANIFEST).exists():
        raise BuildError(f"{path} exists and is not an index: choose another place with -o")
    try:
        Manifest.read(path)
    except IndexFormatError as error:
        if not settings.overwrite:
            raise BuildError(f"{error}; or choose another place with -o") from None


def _drop_same_work(work: Path, plan: dict[str, Any]) -> None:
    """Remove the build folder beside a finished index, unless something else is being built there."""
    begun = journal.read_plan(work)
    if begun is None or not _same_work(plan, begun):
        journal.drop(work)


def _plan(scan: CorpusScan, corpus: Corpus, encoder: EncoderFingerprint, settings: BuildSettings) -> dict[str, Any]:
    return {
        "n_passages": scan.n_passages,
        "corpus": {"sources": corpus.name, "sha256": scan.sha256, "skipped": scan.skipped},
        "encoder": encoder.to_json(),
        "has_texts": settings.texts,
    }


def _same_work(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return what keeps the work done under one plan from serving the other."""
    encoders = (EncoderFingerprint.from_json(plan["encoder"]) for plan in (mine, theirs))
    differences = next(encoders).differences_of_passages(next(encoders))
    if mine["corpus"]["sha256"] != theirs["corpus"]["sha256"]:
        differences.append(
            f"corpus: {mine['n_passages']:,} passages against {theirs['n_passages']:,}, with other content"
        )
    if mine["has_texts"] != theirs["has_texts"]:
        differences.append(f"texts kept: {mine['has_texts']} against {theirs['has_texts']}")
    return differences


def _is_up_to_date(path: Path, plan: dict[str, Any], settings: BuildSettings) -> bool:
    """Tell whether `path` holds just what is wanted; refuse if it holds something else that must not go."""
    if not (path / layout.MANIFEST).exists():
        return False
    try:
        manifest = Manifest.read(path)
        differences = _same_work(plan, {**asdict(manifest), "encoder": manifest.encoder.to_json()})
        if not differences:
            layout.check_whole(path, manifest)
    except IndexFormatError as error:
        if settings.overwrite:
            return False
        raise BuildError(f"{error}; or choose another place with -o") from None
    factory = choose_factory(manifest.n_passages, manifest.dim) if settings.factory == "auto" else settings.factory
    if not differences and factory == manifest.structure.factory:
        return True
    if settings.overwrite:
        return False
    if not differences:
        raise BuildError(
            f"{path} holds these passages with the structure {manifest.structure.factory}: change it with "
            f"`elasticdenser rebuild {path} --factory {settings.factory}`"
        )
    raise BuildError(
        f"{path} is already an index of something else (wanted against there: {'; '.join(differences)}): choose "
        "another place with -o, or replace it with --overwrite"
    )


def _enter_plan(work: Path, plan: dict[str, Any], settings: BuildSettings) -> None:
    """Note what is being built, or check that what was begun here is the same."""
    begun = journal.read_plan(work)
    try:
        differences = _same_work(plan, begun) if begun else []
    except (KeyError, TypeError):
        begun, differences = None, []
    if differences and not settings.restart and journal.n_finished(work):
        raise BuildError(
            f"{work} holds an unfinished build of something else (wanted against there: {'; '.join(differences)}): "
            "give the command it was begun with, throw it away with --restart, or choose another place with -o"
        )
    if differences or begun is None:
        journal.begin(work, plan)


def _encode_rest(
    work: Path,
    passages: Iterator[Passage],
    n_passages: int,
    encoder: PassageEncoder,
    settings: BuildSettings,
    progress: Progress,
) -> None:
    done = journal.n_finished(work)
    progress("encoding", done, n_passages)
    if done == n_passages:
        return
    encoding: list[list[Passage]] = []

    def windows() -> Iterator[list[str]]:
        for window in _in_windows(islice(passages, done, None)):
            encoding.append(window)
            yield [_encodable(passage) for passage in window]

    for vectors in encoder.encode_windows(windows(), workers=settings.workers):
        window = encoding.pop(0)
        if not np.isfinite(vectors).all():
            raise BuildError("the encoder gave vectors that are not finite: try --precision fp32")
        done += len(window)
        journal.append_window(work, window, vectors, done, texts=settings.texts)
        progress("encoding", done, n_passages)
    if done != n_passages:
        raise BuildError(
            f"the corpus changed while it was read: {done:,} passages, before it was {n_passages:,}; run the command "
            "again with --restart"
        )


def _encodable(passage: Passage) -> str:
    try:
        f"{passage.doc_id} {passage.content}".encode()
    except UnicodeEncodeError:
        raise BadInputError(
            f"passage {passage.doc_id!r} holds half of a surrogate pair, which no encoder can read: remove it"
        ) from None
    return passage.content


def _in_windows(passages: Iterator[Passage]) -> Iterator[list[Passage]]:
    while window := list(islice(passages, WINDOW)):
        yield window


def finish(work: Path, plan: dict[str, Any], factory: str, progress: Progress, vectors: str = "encoded") -> None:
    """Derive what follows from the vectors and ids, and write the manifest that makes the index whole.

    Args:
        work: The build folder.
        plan: What is being built.
        factory: FAISS factory string, or `auto`.
        progress: Called with (what, done, of how many).
        vectors: Where they came from, as in the manifest.

    Raises:
        BuildError: FAISS does not take the factory string, or the disk refuses.
    """
    encoder = EncoderFingerprint.from_json(plan["encoder"])
    dim, n_passages = encoder.settings.dim, int(plan["n_passages"])
    wanted = choose_factory(n_passages, dim) if factory == "auto" else factory
    if (work / layout.MANIFEST).exists() and Manifest.read(work).structure.factory == wanted:
        return
    with explained_os_errors(work):
        journal.clear_derived(work)
        write_lookup(work / layout.ID_LOOKUP, LineFile(work / layout.IDS, work / layout.ID_OFFSETS), n_passages)
        stored = np.memmap(work / layout.VECTORS, dtype="<f4", mode="r", shape=(n_passages, dim))
        structure = Structure.build(stored, factory, progress=progress)
        structure.write(work)
        manifest = Manifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software=version("elasticdenser"),
            dim=dim,
            vectors=vectors,
            structure=structure.info,
            files=measure_files(work, [*_FILES, *structure.info.files], progress),
            n_passages=n_passages,
            has_texts=plan["has_texts"],
            corpus=plan["corpus"],
            encoder=encoder,
        )
        manifest.write(work)


_FILES = (
    layout.VECTORS,
    layout.IDS,
    layout.ID_OFFSETS,
    layout.ID_LOOKUP,
    layout.PASSAGES,
    layout.PASSAGE_OFFSETS,
)


def measure_files(folder: Path, names: Iterable[str], progress: Progress) -> dict[str, FileEntry]:
    """Return size and checksum of the index files that are there."""
    there = [name for name in names if (folder / name).is_file()]
    entries = {}
    for number, name in enumerate(there, 1):
        entries[name] = FileEntry.of(folder / name)
        progress("checksums", number, len(there))
    return entries
