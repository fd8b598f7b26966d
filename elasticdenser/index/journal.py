"""Build folder: passages are appended in windows, and each window is recorded in a journal once it is on disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Container
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import layout
from elasticdenser.index.integrity import find_damage
from elasticdenser.index.layout import JOURNAL, MANIFEST, PLAN
from elasticdenser.index.lexical.info import FILE_PATTERNS
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.plan import BuildPlan
from elasticdenser.index.structures.registry import structure_suffixes

_APPENDED_FILES = (
    layout.VECTORS,
    layout.IDS,
    layout.ID_OFFSETS,
    layout.PASSAGES,
    layout.PASSAGE_OFFSETS,
    layout.METADATA,
    layout.METADATA_OFFSETS,
)
_ENCODED_FILES = (*_APPENDED_FILES, PLAN, JOURNAL, MANIFEST)
_DERIVED_PATTERNS = (
    *(layout.ID_LOOKUP, layout.METADATA_TABLE, layout.VERIFIED, "ids-*.u64", "texts.tmp", ".*.tmp"),
    *FILE_PATTERNS,
)


@dataclass(frozen=True)
class JournalEntry:
    """Line of the journal, written once a window of passages is on disk.

    Args:
        passages: Number of finished passages, those of earlier windows included.
        bytes: Size of each appended file at that time.
        truncated: Number of finished passages that are longer than the encoder's maximum length; None if they were not
            counted.
    """

    passages: Annotated[int, msgspec.Meta(ge=1)]
    bytes: dict[str, Annotated[int, msgspec.Meta(ge=0)]]
    truncated: Annotated[int, msgspec.Meta(ge=0)] | None = None


def open_build_folder(work: Path) -> None:
    """Create the build folder, or cut an existing one back to what its journal records as finished.

    Raises:
        BuildError: Files of something else are there, or the disk refuses.
    """
    with explained_os_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        patterns = (*_ENCODED_FILES, *_DERIVED_PATTERNS, *(f"*{suffix}" for suffix in structure_suffixes()))
        names = [entry.name for entry in work.iterdir()]
        if foreign := [name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)]:
            raise BuildError(
                f"{work} holds a file that is not of a build ({foreign[0]}): move it away, or choose another place "
                "with -o"
            )
        _truncate_to_journal(work)
        clear_derived(work, keep=_complete_files(work))


def clear_derived(work: Path, *, keep: Container[str] = ()) -> None:
    """Remove the manifest, then all files that are derived from the vectors and ids; they will be derived again."""
    for entry in sorted(work.iterdir(), key=lambda entry: entry.name != MANIFEST):
        if entry.name not in keep and (entry.name == MANIFEST or entry.name not in _ENCODED_FILES):
            entry.unlink()


def _complete_files(work: Path) -> list[str]:
    """Return the names of all files of the index, if the build folder holds a complete one."""
    try:
        manifest = Manifest.read(work)
    except IndexFormatError:
        return []
    return [] if find_damage(work, manifest, "sizes") else [MANIFEST, *manifest.files]


def remove_if_empty(work: Path) -> None:
    """Remove the build folder if there is nothing in it."""
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()


def reset(work: Path, plan: BuildPlan | None) -> None:
    """Empty the build folder, and write the plan of the new build if it can be continued."""
    with explained_os_errors(work):
        # The plan goes first: without it, nothing else in the folder is used.
        for name in sorted((entry.name for entry in work.iterdir()), key=lambda name: name != PLAN):
            (work / name).unlink()
        if plan is not None:
            plan.write(work)
        flush_folder(work)


def discard(work: Path) -> None:
    """Remove the build folder, its plan first."""
    with explained_os_errors(work):
        (work / PLAN).unlink(missing_ok=True)
        shutil.rmtree(work)


def n_finished(work: Path) -> int:
    """Return the number of finished passages, according to the last entry of the journal."""
    entries = _read_entries(work)
    return entries[-1][1].passages if entries else 0


def n_truncated(work: Path) -> int | None:
    """Return the number of finished passages that were cut at the encoder's maximum length; None if not counted."""
    entries = _read_entries(work)
    return entries[-1][1].truncated if entries else 0


def append_window(
    work: Path,
    window: list[Passage],
    vectors: Vectors,
    done: int,
    *,
    texts: bool,
    metadata: bool = False,
    truncated: int | None = None,
) -> None:
    """Append finished passages to the files, and record them in the journal once they are on disk.

    Args:
        work: The build folder.
        window: The passages.
        vectors: float32, (n_passages, dim).
        done: Number of finished passages, these included.
        texts: Whether texts are stored.
        metadata: Whether metadata is stored.
        truncated: Number of finished passages that were cut at the encoder's maximum length, these included; None if
            they are not counted.

    Raises:
        BuildError: The disk refuses.
    """
    lines = [(layout.IDS, layout.ID_OFFSETS, [passage.doc_id for passage in window])]
    if texts:
        lines.append((layout.PASSAGES, layout.PASSAGE_OFFSETS, [_as_json(passage) for passage in window]))
    if metadata:
        metadata_lines = [json.dumps(passage.metadata or {}, ensure_ascii=False) for passage in window]
        lines.append((layout.METADATA, layout.METADATA_OFFSETS, metadata_lines))
    with explained_os_errors(work):
        sizes = {layout.VECTORS: _append(work / layout.VECTORS, np.ascontiguousarray(vectors, "<f4").tobytes())}
        for name, offsets, strings in lines:
            rows = [string.encode() + b"\n" for string in strings]
            start = (work / name).stat().st_size if (work / name).exists() else 0
            ends = start + np.cumsum([len(row) for row in rows])
            sizes[name] = _append(work / name, b"".join(rows))
            sizes[offsets] = _append(work / offsets, ends.astype("<i8").tobytes())
        if done == len(window):
            flush_folder(work)
        record(work, done, sizes, truncated)


def record(work: Path, done: int, sizes: dict[str, int], truncated: int | None) -> None:
    """Record in the journal which passages are finished; see `JournalEntry` for the arguments."""
    entry = {"passages": done, "bytes": sizes, "truncated": truncated}
    _append(work / JOURNAL, json.dumps(entry).encode() + b"\n")


def _as_json(passage: Passage) -> str:
    record: dict[str, Any] = {"_id": passage.doc_id, "title": passage.title, "text": passage.text}
    return json.dumps(record, ensure_ascii=False)


def _append(path: Path, content: bytes) -> int:
    """Append to a file, wait until it is on disk, and return its new size."""
    with open(path, "ab") as file:
        file.write(content)
        flush_to_disk(file)
        return file.tell()


def _read_entries(work: Path) -> list[tuple[int, JournalEntry]]:
    """Return the entries of the journal, each with the offset of its end; those after a torn line are ignored."""
    entries: list[tuple[int, JournalEntry]] = []
    end = 0
    if not (work / JOURNAL).exists():
        return entries
    for line in (work / JOURNAL).read_bytes().splitlines(keepends=True):
        end += len(line)
        try:
            entry = from_value(JournalEntry, loads_json(line), JOURNAL, error=IndexFormatError)
        except (ValueError, IndexFormatError):
            break
        if not line.endswith(b"\n"):
            break
        entries.append((end, entry))
    return entries


def _truncate_to_journal(work: Path) -> None:
    """Cut all files, the journal too, back to the last entry that all of them support."""
    sizes = {name: (work / name).stat().st_size for name in (*_APPENDED_FILES, JOURNAL) if (work / name).exists()}
    journal_end, finished_sizes = 0, {}
    for end, entry in _read_entries(work):
        if any(sizes.get(name, 0) < size for name, size in entry.bytes.items()):
            break
        journal_end, finished_sizes = end, entry.bytes
    # The journal first: a file may be longer than the journal says, never shorter.
    for name in sorted(sizes, key=lambda name: name != JOURNAL):
        size = journal_end if name == JOURNAL else finished_sizes.get(name, 0)
        if sizes[name] != size:
            (work / MANIFEST).unlink(missing_ok=True)
            os.truncate(work / name, size)
