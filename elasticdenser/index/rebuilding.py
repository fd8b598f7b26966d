"""Rebuilding of the files of an index that are derived from its vectors and texts, without encoding."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors, flush_folder
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.integrity import check_integrity
from elasticdenser.index.lexical.building import build_postings_of
from elasticdenser.index.lexical.info import FILE_PATTERNS, PREFIX, LexicalInfo
from elasticdenser.index.locking import exclusive_lock
from elasticdenser.index.manifest import Manifest, file_entries
from elasticdenser.index.structures import build_structure
from elasticdenser.index.structures.registry import structure_suffixes
from elasticdenser.progress import Progress

KEEP = "keep"
"""Stemmer that stands for the postings as they are."""


def rebuild_derived(
    folder: Path,
    factory: str | None,
    progress: Progress,
    *,
    stemmer: str | None = KEEP,
    codebooks: Path | None = None,
    wait_s: float = 0.0,
) -> None:
    """Derive the search structure or the postings of an index again; the files of the old ones may be damaged.

    Args:
        folder: The index, as `resolve_path` returns it.
        factory: Factory strings of the new structure, or `auto`; None keeps the old one.
        progress: Called with (step, done, in all).
        stemmer: Stemmer of the new postings; None removes them, `keep` keeps the old ones.
        codebooks: Folder of what the structure was trained to on other vectors; None trains it on those of the index.
        wait_s: How long to wait for another process that writes the index.

    Raises:
        IndexFormatError: More than the files to derive is damaged, or the index holds no texts to make postings of.
        BuildError: A factory string or stemmer is not known, or the disk refuses.
    """
    Manifest.read(folder)  # a folder that is no index gets no lock file
    with exclusive_lock(folder, wait_s), explained_os_errors(folder):
        _rebuild(folder, factory, stemmer, progress, codebooks)


def _rebuild(
    folder: Path, factory: str | None, stemmer: str | None, progress: Progress, codebooks: Path | None
) -> None:
    manifest = Manifest.read(folder)
    structure, lexical = manifest.structure, manifest.lexical
    replaced = {
        *(structure.files if factory is not None else ()),
        *(lexical.files if lexical is not None and stemmer != KEEP else ()),
    }
    kept = {name: entry for name, entry in manifest.files.items() if name not in replaced}
    check_integrity(folder, replace(manifest, files=kept))
    if stemmer != KEEP:
        lexical = None if stemmer is None else _build_postings(folder, manifest, stemmer, progress)
    if factory is not None:
        shape = (manifest.n_passages, manifest.dim)
        structure = build_structure(
            folder, shape, factory, progress, reserved=manifest.structure.files, codebooks=codebooks
        )
    new = replace(manifest, structure=structure, lexical=lexical)
    built = [name for name in new.derived_files if name not in kept]
    replace(new, files={**kept, **file_entries(folder, built, progress)}).write(folder)
    flush_folder(folder)
    _remove_leftovers(folder, new.derived_files)


def _build_postings(folder: Path, manifest: Manifest, stemmer: str, progress: Progress) -> LexicalInfo:
    if not manifest.has_texts:
        raise IndexFormatError(f"{folder} holds no texts, whose words are indexed: build it again without --no-texts")
    name = PREFIX if manifest.lexical is None else manifest.lexical.other_name()
    return build_postings_of(folder, manifest.n_passages, stemmer, name=name, progress=progress)


def _remove_leftovers(folder: Path, in_use: Collection[str]) -> None:
    """Remove the files that were replaced, and those of a rebuild that was interrupted."""
    for pattern in (*(f"*{suffix}" for suffix in structure_suffixes()), *FILE_PATTERNS, ".*.tmp"):
        for leftover in folder.glob(pattern):
            if leftover.name not in in_use:
                leftover.unlink(missing_ok=True)
