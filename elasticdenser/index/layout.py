"""The files of an index on disk, their manifest, and the checks that refuse what is damaged.

`indexes/README.md` documents the format.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from elasticdenser.artifacts import sha256_of, write_json
from elasticdenser.errors import IndexFormatError
from elasticdenser.models.settings import EncoderFingerprint

FORMAT = "elasticdenser-index"
VERSION = 1

MANIFEST = "manifest.json"
VECTORS = "vectors.f32"
IDS = "ids.txt"
ID_OFFSETS = "ids.offsets"
ID_LOOKUP = "ids.lookup"
PASSAGES = "passages.jsonl"
PASSAGE_OFFSETS = "passages.offsets"
CHECKED = ".checked.json"

Check = Literal["changed", "all", "sizes"]


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """Size in bytes and SHA-256 of one file."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """Measure a file."""
        return cls(bytes=path.stat().st_size, sha256=sha256_of(path))


@dataclass(frozen=True, kw_only=True)
class StructureInfo:
    """The search structure derived from the vectors.

    Args:
        factory: FAISS factory string; `Flat` means that the vectors themselves are scanned, without a file.
        rescored: Candidates for k = 10 whose exact scores are computed from the vectors.
        nprobe: Lists visited by an inverted file, else None.
        ef_search: Breadth of a graph search, else None.
        recall_at_10: Against exact search, over sampled passages as queries.
        n_sampled: How many.
        file: Name of the FAISS file; empty for `Flat`.
    """

    factory: str
    rescored: int
    nprobe: int | None = None
    ef_search: int | None = None
    recall_at_10: float
    n_sampled: int
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an index is.

    Args:
        created: UTC, ISO 8601.
        software: Version that wrote it.
        n_passages: Number of passages.
        dim: Dimensions of a vector.
        vectors: `encoded`, or for imported indexes `exact` or `decoded` (from a lossy FAISS index).
        has_texts: Whether the passages' texts stand beside the vectors.
        encoder: Fingerprint of what encoded the passages.
        corpus: Where they came from: `sources`, `sha256` of the content, `skipped` by reason.
        structure: The search structure.
        files: Size and checksum of every file by name.
        version: Of the format.
    """

    created: str
    software: str
    n_passages: int
    dim: int
    vectors: str
    has_texts: bool
    encoder: EncoderFingerprint
    corpus: dict[str, Any]
    structure: StructureInfo
    files: dict[str, FileEntry]
    version: int = VERSION

    def write(self, folder: Path) -> None:
        """Write the manifest atomically."""
        write_json(folder / MANIFEST, {"format": FORMAT, **asdict(self)})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest in `folder`.

        Raises:
            IndexFormatError: There is none, it is damaged, or of a newer format.
        """
        path = folder / MANIFEST
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise IndexFormatError(_missing(folder)) from None
        except ValueError as error:
            raise IndexFormatError(
                f"{path} is damaged ({error}): restore it from a copy, or build the index again"
            ) from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise IndexFormatError(f"{path} is not the manifest of an {FORMAT}: give the folder of an index")
        if not isinstance(value.get("version"), int) or value["version"] > VERSION:
            raise IndexFormatError(
                f"{folder} has format version {value.get('version')}; this elasticdenser reads up to {VERSION}: "
                "upgrade elasticdenser (pip install -U elasticdenser)"
            )
        try:
            return cls._from_json(value)
        except (KeyError, TypeError) as error:
            raise IndexFormatError(
                f"{path} is damaged ({error}): restore it from a copy, or build the index again"
            ) from None

    @classmethod
    def _from_json(cls, value: dict[str, Any]) -> Manifest:
        unknown = sorted(set(value) - {field.name for field in fields(cls)} - {"format"})
        if unknown:
            raise TypeError(f"unknown keys: {', '.join(unknown)}")
        rest = {key: value[key] for key in value if key not in ("format", "encoder", "structure", "files")}
        return cls(
            **rest,
            encoder=EncoderFingerprint.from_json(value["encoder"]),
            structure=StructureInfo(**value["structure"]),
            files={name: FileEntry(**entry) for name, entry in value["files"].items()},
        )


def find_damage(folder: Path, manifest: Manifest, check: Check = "changed") -> list[str]:
    """Return a line for every file of an index that is missing, truncated or altered.

    Args:
        folder: The index.
        manifest: Its manifest.
        check: `all` reads every file; `changed` only those whose size and times on disk are not those seen when
            they were last found whole; `sizes` reads none.
    """
    seen = _read_checked(folder) if check == "changed" else {}
    now: dict[str, list[int]] = {}
    damage = []
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            stat = path.stat()
        except FileNotFoundError:
            damage.append(f"{name} is missing")
            continue
        now[name] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        if stat.st_size != entry.bytes:
            damage.append(f"{name} has {stat.st_size:,} bytes, expected {entry.bytes:,}")
        elif check != "sizes" and seen.get(name) != now[name] and sha256_of(path) != entry.sha256:
            damage.append(f"{name} was altered: its SHA-256 is not the one in the manifest")
    if not damage and check != "sizes" and now != seen:
        mark_checked(folder, now)
    return damage


def mark_checked(folder: Path, times: dict[str, list[int]]) -> None:
    """Remember the files' sizes and times, so that opening need not read them again; harmless where it cannot."""
    if os.access(folder, os.W_OK):
        try:
            write_json(folder / CHECKED, times)
        except Exception:  # a read-only or full disk only costs the next opening some time
            return


def check_whole(folder: Path, manifest: Manifest, check: Check = "changed") -> None:
    """Refuse a damaged index.

    Raises:
        IndexFormatError: With everything that differs, and what to do.
    """
    damage = find_damage(folder, manifest, check)
    if not damage:
        return
    if all(line.split()[0] == manifest.structure.file for line in damage):
        way_out = f"the vectors are whole: elasticdenser rebuild {folder}"
    else:
        way_out = "restore these files from a copy, or build the index again with --overwrite"
    raise IndexFormatError(f"{folder} is damaged: {'; '.join(damage)}. Way out: {way_out}")


def _read_checked(folder: Path) -> dict[str, list[int]]:
    try:
        value = json.loads((folder / CHECKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def building_folder(path: Path) -> Path:
    """Return where an unfinished build of the index `path` stands."""
    return path.with_name(path.name + ".building")


def _missing(folder: Path) -> str:
    if building_folder(folder).is_dir():
        return (
            f"{folder} is not finished: its build stands in {building_folder(folder)}; run the same "
            "`elasticdenser index` command again and it goes on"
        )
    if folder.is_dir():
        return f"{folder} is not an index: it holds no {MANIFEST}"
    return f"{folder} does not exist: build an index with `elasticdenser index CORPUS -o {folder}`"
