"""The build folder: passages are appended in windows, and noted in a journal once they are on disk."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Container
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk, write_json
from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import layout
from elasticdenser.index.layout import JOURNAL, MANIFEST, PLAN, Manifest

_APPENDED = (layout.VECTORS, layout.IDS, layout.ID_OFFSETS, layout.PASSAGES, layout.PASSAGE_OFFSETS)
_KEPT = (*_APPENDED, PLAN, JOURNAL, MANIFEST)
_LEFTOVERS = (layout.ID_LOOKUP, layout.CHECKED, "*.faiss", "ids-*.u64", "texts.tmp", ".*.tmp", "lock")


def open_build_folder(work: Path) -> None:
    """Make the build folder, or bring the one that is there back to what its journal says is finished.

    Raises:
        BuildError: Something else stands there, or the disk refuses.
    """
    with explained_os_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        names = [entry.name for entry in work.iterdir()]
        strange = [name for name in names if name not in _KEPT and not any(fnmatch(name, like) for like in _LEFTOVERS)]
        if strange:
            raise BuildError(
                f"{work} holds something that is not of a build ({strange[0]}): move it away, or choose another place "
                "with -o"
            )
        _cut_to_journal(work)
        clear_derived(work, but=_derived_of(work))


def clear_derived(work: Path, *, but: Container[str] = ()) -> None:
    """Remove the manifest and all that follows from the vectors and ids, to be made again."""
    for entry in sorted(work.iterdir(), key=lambda entry: entry.name != MANIFEST):
        if entry.name not in but and (entry.name == MANIFEST or entry.name not in _KEPT):
            entry.unlink()


def _derived_of(work: Path) -> list[str]:
    """Return the names of the derived files, if the build folder holds a complete index."""
    try:
        manifest = Manifest.read(work)
    except IndexFormatError:
        return []
    whole = not layout.find_damage(work, manifest, "sizes")
    return [MANIFEST, *manifest.files] if whole else []


def close_build_folder(work: Path) -> None:
    """Remove the build folder if there is nothing in it."""
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()


def read_plan(work: Path) -> dict[str, Any] | None:
    """Return what is being built in `work`, or None where nothing was begun."""
    try:
        plan = json.loads((work / PLAN).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return plan if isinstance(plan, dict) else None


def begin(work: Path, plan: dict[str, Any] | None) -> None:
    """Empty the build folder and note what is to be built there."""
    with explained_os_errors(work):
        # The plan goes first: without it, what is left counts for nothing.
        for name in sorted((entry.name for entry in work.iterdir()), key=lambda name: name != PLAN):
            (work / name).unlink()
        if plan is not None:
            write_json(work / PLAN, plan)
        flush_folder(work)


def drop(work: Path) -> None:
    """Throw the build folder away, its plan first."""
    with explained_os_errors(work):
        (work / PLAN).unlink(missing_ok=True)
        shutil.rmtree(work)


def n_finished(work: Path) -> int:
    """Return how many passages are finished, after the last note of the journal."""
    notes = _notes(work)
    return int(notes[-1][1]["passages"]) if notes else 0


def append_window(work: Path, window: list[Passage], vectors: Vectors, done: int, *, texts: bool) -> None:
    """Append finished passages to the files, and note them in the journal once they are on disk.

    Args:
        work: The build folder.
        window: The passages.
        vectors: float32, (n_passages, dim), theirs.
        done: How many passages are finished with these.
        texts: Whether their texts are kept.

    Raises:
        BuildError: The disk refuses.
    """
    lines = [(layout.IDS, layout.ID_OFFSETS, [passage.doc_id for passage in window])]
    if texts:
        lines.append((layout.PASSAGES, layout.PASSAGE_OFFSETS, [_as_json(passage) for passage in window]))
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
        _append(work / JOURNAL, json.dumps({"passages": done, "bytes": sizes}).encode() + b"\n")


def _as_json(passage: Passage) -> str:
    record = {"_id": passage.doc_id, "title": passage.title, "text": passage.text}
    return json.dumps(record, ensure_ascii=False)


def _append(path: Path, content: bytes) -> int:
    """Append to a file, wait until it is on disk, and return its new size."""
    with open(path, "ab") as file:
        file.write(content)
        flush_to_disk(file)
        return file.tell()


def _notes(work: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the whole notes of the journal and where each ends; what follows a torn one counts for nothing."""
    notes: list[tuple[int, dict[str, Any]]] = []
    end = 0
    if not (work / JOURNAL).exists():
        return notes
    for line in (work / JOURNAL).read_bytes().splitlines(keepends=True):
        end += len(line)
        try:
            note = json.loads(line)
            whole = line.endswith(b"\n") and isinstance(note["passages"], int) and isinstance(note["bytes"], dict)
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            break
        notes.append((end, note))
    return notes


def _cut_to_journal(work: Path) -> None:
    """Cut every file, the journal too, to the last note that all of them bear out."""
    have = {name: (work / name).stat().st_size for name in (*_APPENDED, JOURNAL) if (work / name).exists()}
    end, sizes = 0, {}
    for note_end, note in _notes(work):
        if any(have.get(name, 0) < size for name, size in note["bytes"].items()):
            break
        end, sizes = note_end, note["bytes"]
    # The journal first: a file may be longer than it says, never shorter.
    for name in sorted(have, key=lambda name: name != JOURNAL):
        size = end if name == JOURNAL else sizes.get(name, 0)
        if have[name] != size:
            (work / MANIFEST).unlink(missing_ok=True)
            os.truncate(work / name, size)
