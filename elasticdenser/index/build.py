"""Building an index so that no interruption loses finished work.

Passages are encoded in windows. A finished window is appended to the files in `NAME.building`, flushed, and only
then noted in a journal; on the next start everything past the last note is cut off and the work goes on from
there. The folder takes its final name when it is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk, write_json
from elasticdenser.datasets import Corpus, CorpusScan, Passage, scan_corpus, unique_passages
from elasticdenser.encoders import PassageEncoder
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import layout
from elasticdenser.index.layout import FileEntry, Manifest, building_folder
from elasticdenser.index.records import LineFile, write_lookup
from elasticdenser.index.structures import Progress, Structure, Vectors, choose_factory, parse_factory
from elasticdenser.models.settings import EncoderFingerprint

PLAN = "plan.json"
JOURNAL = "journal.jsonl"
LOCK = "lock"
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
        path: The index folder to make.
        encoder: The full-width encoder.
        settings: See there.
        progress: Called with (what, done, of how many).

    Returns:
        What was read.

    Raises:
        BuildError: Another build is running there, something else stands there, or the disk refuses.
        BadInputError: The corpus has a fault.
    """
    if settings.factory not in ("auto", "Flat"):
        parse_factory(settings.factory, encoder.dim)
    work = building_folder(path)
    with explained_os_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    with only_builder(work):
        _cut_to_journal(work)
        scan = scan_corpus(corpus, work, progress=lambda done: progress("reading", done, 0))
        plan = _plan(scan, corpus, encoder.fingerprint, settings)
        if _is_up_to_date(path, plan, settings):
            shutil.rmtree(work)
            return scan
        with explained_os_errors(work):
            _enter_plan(work, plan, settings)
            if not (work / layout.MANIFEST).exists():
                _encode_rest(work, unique_passages(corpus, scan), scan.n_passages, encoder, settings, progress)
                finish(work, plan, settings.factory, progress)
            put_in_place(work, path)
    return scan


@contextmanager
def only_builder(work: Path) -> Iterator[None]:
    """Hold the right to write to a build folder.

    Raises:
        BuildError: Another process has it, or the disk refuses.
    """
    lock = FileLock(work / LOCK, blocking=False)
    try:
        with explained_os_errors(work):
            lock.acquire()
    except Timeout:
        raise BuildError(
            f"another build is writing to {work}: wait for it to end, or choose another place with -o"
        ) from None
    try:
        yield
    finally:
        lock.release()
        for leftover in (work / LOCK, path_of(work) / LOCK):
            leftover.unlink(missing_ok=True)
        if work.is_dir() and not any(work.iterdir()):
            work.rmdir()


def path_of(work: Path) -> Path:
    """Return the index that the build folder `work` becomes."""
    return work.with_name(work.name.removesuffix(".building"))


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
    differences = next(encoders).differences(next(encoders))
    if mine["corpus"]["sha256"] != theirs["corpus"]["sha256"]:
        differences.append(
            f"corpus: {mine['n_passages']:,} passages against {theirs['n_passages']:,}, with other content"
        )
    if mine["has_texts"] != theirs["has_texts"]:
        differences.append(f"texts kept: {mine['has_texts']} against {theirs['has_texts']}")
    return differences


def _is_up_to_date(path: Path, plan: dict[str, Any], settings: BuildSettings) -> bool:
    if not path.exists():
        return False
    try:
        manifest = Manifest.read(path)
        damage = layout.find_damage(path, manifest)
    except IndexFormatError as error:
        if settings.overwrite and (path / layout.MANIFEST).exists():
            return False
        raise BuildError(f"{path} exists, but: {error}; choose another place with -o") from None
    standing = {**asdict(manifest), "encoder": manifest.encoder.to_json()}
    differences = [*_same_work(plan, standing), *damage]
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
        f"{path} is already an index of something else ({'; '.join(differences)}): choose another place with -o, or "
        "replace it with --overwrite"
    )


def _enter_plan(work: Path, plan: dict[str, Any], settings: BuildSettings) -> None:
    """Note what is being built, or check that what was begun here is the same."""
    try:
        begun = json.loads((work / PLAN).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        begun = None
    differences = _same_work(plan, begun) if begun else []
    if differences and not settings.restart:
        raise BuildError(
            f"{work} holds an unfinished build of something else ({'; '.join(differences)}): give the command it was "
            "begun with, throw it away with --restart, or choose another place with -o"
        )
    if differences or begun is None:
        for entry in work.iterdir():
            if entry.name != LOCK:
                entry.unlink()
        write_json(work / PLAN, plan)


def _cut_to_journal(work: Path) -> None:
    """Cut every file to what the journal says is finished."""
    sizes = _journal(work)["bytes"]
    for name in (layout.VECTORS, layout.IDS, layout.ID_OFFSETS, layout.PASSAGES, layout.PASSAGE_OFFSETS):
        if (work / name).exists() and (work / name).stat().st_size != sizes.get(name, 0):
            with explained_os_errors(work / name):
                os.truncate(work / name, sizes.get(name, 0))


def _journal(work: Path) -> dict[str, Any]:
    """Return the last whole note of the journal."""
    note: dict[str, Any] = {"passages": 0, "bytes": {}}
    if (work / JOURNAL).exists():
        for line in (work / JOURNAL).read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                note = json.loads(line)
    return note


def _encode_rest(
    work: Path,
    passages: Iterator[Passage],
    n_passages: int,
    encoder: PassageEncoder,
    settings: BuildSettings,
    progress: Progress,
) -> None:
    done = int(_journal(work)["passages"])
    progress("encoding", done, n_passages)
    encoding: list[list[Passage]] = []

    def windows() -> Iterator[list[str]]:
        for window in _in_windows(islice(passages, done, None)):
            encoding.append(window)
            yield [passage.content for passage in window]

    for vectors in encoder.encode_windows(windows(), workers=settings.workers):
        window = encoding.pop(0)
        if not np.isfinite(vectors).all():
            raise BuildError("the encoder gave vectors that are not finite: try --dtype float32")
        done += len(window)
        append_window(work, window, vectors, done, texts=settings.texts)
        progress("encoding", done, n_passages)
    if done != n_passages:
        raise BuildError(
            f"the corpus changed while it was read: {done:,} passages, before it was {n_passages:,}; run the command again"
        )


def _in_windows(passages: Iterator[Passage]) -> Iterator[list[Passage]]:
    while window := list(islice(passages, WINDOW)):
        yield window


def append_window(work: Path, window: list[Passage], vectors: Vectors, done: int, *, texts: bool) -> None:
    """Append finished passages to the files, and note them in the journal once they are on disk."""
    sizes = {layout.VECTORS: _append(work / layout.VECTORS, np.ascontiguousarray(vectors, "<f4").tobytes())}
    lines = [(layout.IDS, layout.ID_OFFSETS, [passage.doc_id for passage in window])]
    if texts:
        records = [{"_id": p.doc_id, "title": p.title, "text": p.text} for p in window]
        encoded = [json.dumps(record, ensure_ascii=False) for record in records]
        lines.append((layout.PASSAGES, layout.PASSAGE_OFFSETS, encoded))
    for name, offsets, strings in lines:
        rows = [string.encode() + b"\n" for string in strings]
        start = (work / name).stat().st_size if (work / name).exists() else 0
        ends = start + np.cumsum([len(row) for row in rows])
        sizes[name] = _append(work / name, b"".join(rows))
        sizes[offsets] = _append(work / offsets, ends.astype("<i8").tobytes())
    note = json.dumps({"passages": done, "bytes": sizes})
    _append(work / JOURNAL, note.encode() + b"\n")


def _append(path: Path, content: bytes) -> int:
    """Append to a file, wait until it is on disk, and return its new size."""
    with open(path, "ab") as file:
        file.write(content)
        flush_to_disk(file)
        return file.tell()


def finish(work: Path, plan: dict[str, Any], factory: str, progress: Progress, vectors: str = "encoded") -> None:
    """Derive what follows from the vectors and ids, and write the manifest that makes the index whole."""
    encoder = EncoderFingerprint.from_json(plan["encoder"])
    dim, n_passages = encoder.settings.dim, int(plan["n_passages"])
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
        files=measure_files(work, [*_FILES, structure.info.file], progress),
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


def put_in_place(work: Path, path: Path) -> None:
    """Give a complete index its final name; an index that stood there goes only when the new one stands."""
    for name in (PLAN, JOURNAL):
        (work / name).unlink(missing_ok=True)
    replaced = path.with_name(f"{path.name}.replaced")
    if path.exists():
        os.rename(path, replaced)
    os.rename(work, path)
    flush_folder(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    manifest = Manifest.read(path)
    stats = {name: (path / name).stat() for name in manifest.files}
    layout.mark_checked(path, {n: [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for n, s in stats.items()})
