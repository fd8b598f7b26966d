"""Integrity check: refuses an index with files that are missing, truncated or altered."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from elasticdenser.artifacts import sha256_of, write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.layout import VERIFIED
from elasticdenser.index.manifest import Manifest

Check = Literal["changed", "all", "sizes"]
"""`all` reads every file; `changed` only those whose size or times differ from when they were last verified; `sizes`
compares sizes alone."""


def check_integrity(folder: Path, manifest: Manifest, check: Check = "changed") -> None:
    """Refuse a damaged index.

    Raises:
        IndexFormatError: Some files differ from the manifest; the message lists them all and says what to do.
    """
    damage = find_damage(folder, manifest, check)
    if not damage:
        return
    if damage.keys() <= set(manifest.structure.files):
        way_out = f"the vectors are undamaged, so run `elasticdenser rebuild {folder}`"
    elif damage.keys() <= set(manifest.derived_files):
        way_out = f"vectors and texts are undamaged, so run `elasticdenser rebuild {folder} --factory auto --hybrid`"
    else:
        way_out = "restore these files from a copy, or build the index again with --overwrite"
    listed = "; ".join(f"{name} {fault}" for name, fault in damage.items())
    raise IndexFormatError(f"{folder} is damaged: {listed}. Way out: {way_out}")


def find_damage(folder: Path, manifest: Manifest, check: Check = "changed") -> dict[str, str]:
    """Return the fault of every file of an index that is missing, truncated or altered, by file name.

    Args:
        folder: The index.
        manifest: Its manifest.
        check: Which files to read.
    """
    verified = _read_verified(folder) if check == "changed" else {}
    current: dict[str, list[int]] = {}
    damage: dict[str, str] = {}
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            stat = path.stat()
            current[name] = _state_of(stat)
            if stat.st_size != entry.bytes:
                damage[name] = f"has {stat.st_size:,} bytes, expected {entry.bytes:,}"
            elif check != "sizes" and verified.get(name) != current[name] and sha256_of(path) != entry.sha256:
                damage[name] = "was altered: its SHA-256 is not the one in the manifest"
        except FileNotFoundError:
            damage[name] = "is missing"
        except OSError as error:
            damage[name] = f"cannot be read ({error.strerror})"
    if not damage and check != "sizes" and any(verified.get(name) != state for name, state in current.items()):
        _write_verified(folder, {**verified, **current})
    return damage


def mark_verified(folder: Path, names: Iterable[str]) -> None:
    """Record that some files are undamaged, so that opening the index does not read them again; best effort."""
    verified = {name: state for name, state in _read_verified(folder).items() if (folder / name).exists()}
    _write_verified(folder, {**verified, **{name: _state_of((folder / name).stat()) for name in names}})


def verified_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Return those of some files that have not changed since they were last verified."""
    verified = _read_verified(folder)
    return [name for name in names if verified.get(name) == _state_of((folder / name).stat())]


def _state_of(stat: os.stat_result) -> list[int]:
    """Return size, times and inode of a file, some of which change whenever its content does."""
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _write_verified(folder: Path, states: dict[str, list[int]]) -> None:
    if os.access(folder, os.W_OK):
        try:
            write_json(folder / VERIFIED, states)
        except Exception:  # for example a full disk: the next opening only takes longer
            return


def _read_verified(folder: Path) -> dict[str, list[int]]:
    try:
        value = loads_json((folder / VERIFIED).read_text(encoding="utf-8"))
        return from_value(dict[str, list[int]], value, VERIFIED, error=IndexFormatError)
    except (OSError, ValueError, IndexFormatError):
        return {}  # then every file is read
