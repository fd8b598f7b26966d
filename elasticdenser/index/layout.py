"""The files of an index on disk, their manifest, and the checks that refuse what is damaged.

`indexes/README.md` documents the format.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from elasticdenser.artifacts import sha256_of, write_json
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.efforts import Effort
from elasticdenser.models.settings import EncoderFingerprint

FORMAT = "elasticdenser-index"
VERSION = 2

MANIFEST = "manifest.json"
VECTORS = "vectors.f32"
IDS = "ids.txt"
ID_OFFSETS = "ids.offsets"
ID_LOOKUP = "ids.lookup"
PASSAGES = "passages.jsonl"
PASSAGE_OFFSETS = "passages.offsets"
CHECKED = ".checked.json"

PLAN = "plan.json"
JOURNAL = "journal.jsonl"
BUILD_NOTES = (PLAN, JOURNAL)

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
        factory: FAISS factory strings, joined by " + "; `Flat` means that the vectors themselves are scanned.
        efforts: Ways to search it, of rising effort and recall; the last is what a search does by default.
        n_sampled: On how many queries the recall was measured.
        files: Names of the FAISS files, one a factory string; none for `Flat`.
    """

    factory: str
    efforts: tuple[Effort, ...]
    n_sampled: int
    files: tuple[str, ...] = ()

    @property
    def recall_at_10(self) -> float:
        """Recall of the greatest effort."""
        return self.efforts[-1].recall_at_10

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> StructureInfo:
        """Read what a manifest says; before version 2 there was one effort, among the other keys, and one file.

        Raises:
            KeyError: Keys are missing.
            TypeError: Keys are missing, or unknown.
            ValueError: There is no effort.
        """
        value = dict(value)
        if "efforts" not in value:
            names = [field.name for field in fields(Effort)]
            value["efforts"] = [{name: value.pop(name) for name in names if name in value}]
        if "file" in value:
            value["files"] = list(filter(None, [value.pop("file")]))
        if not value["efforts"]:
            raise ValueError("the structure has no search effort")
        value |= {"efforts": tuple(Effort(**effort) for effort in value["efforts"]), "files": tuple(value["files"])}
        return cls(**value)


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
        value = {"format": FORMAT, **asdict(self), "version": VERSION}
        write_json(folder / MANIFEST, {**value, "sha256": _own_sha256(value)})

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
        except OSError as error:
            raise IndexFormatError(f"{path} cannot be read ({error.strerror}): check its owner and mode") from None
        except ValueError as error:
            raise IndexFormatError(_damaged(path, error)) from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise IndexFormatError(f"{path} is not the manifest of an {FORMAT}: give the folder of an index")
        if not isinstance(value.get("version"), int) or value["version"] > VERSION:
            raise IndexFormatError(
                f"{folder} has format version {value.get('version')}; this elasticdenser reads up to {VERSION}: "
                "upgrade elasticdenser (pip install -U elasticdenser)"
            )
        try:
            manifest = cls._from_json(value)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise IndexFormatError(_damaged(path, error)) from None
        manifest._check_sizes(path)
        return manifest

    @classmethod
    def _from_json(cls, value: dict[str, Any]) -> Manifest:
        own_sha256 = value.pop("sha256", None)
        unknown = sorted(set(value) - {field.name for field in fields(cls)} - {"format"})
        if unknown:
            raise TypeError(f"unknown keys: {', '.join(unknown)}")
        if own_sha256 not in (None, _own_sha256(value)):
            raise ValueError("it was altered: its SHA-256 is not the one that stands in it")
        rest = {key: value[key] for key in value if key not in ("format", "encoder", "structure", "files")}
        return cls(
            **rest,
            encoder=EncoderFingerprint.from_json(value["encoder"]),
            structure=StructureInfo.from_json(value["structure"]),
            files={name: FileEntry(**entry) for name, entry in value["files"].items()},
        )

    def _check_sizes(self, path: Path) -> None:
        n, texts = self.n_passages, (PASSAGES, PASSAGE_OFFSETS) if self.has_texts else ()
        expected = {VECTORS: 4 * n * self.dim, IDS: None, ID_OFFSETS: 8 * n, ID_LOOKUP: 16 * n}
        expected |= dict.fromkeys((*texts, *self.structure.files))
        for name, size in expected.items():
            if name not in self.files:
                raise IndexFormatError(_damaged(path, f"it does not list {name}"))
            if size not in (None, self.files[name].bytes):
                raise IndexFormatError(
                    _damaged(path, f"{name} has {self.files[name].bytes:,} bytes there, expected {size:,}")
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
            now[name] = times_of(stat)
            if stat.st_size != entry.bytes:
                damage.append(f"{name} has {stat.st_size:,} bytes, expected {entry.bytes:,}")
            elif check != "sizes" and seen.get(name) != now[name] and sha256_of(path) != entry.sha256:
                damage.append(f"{name} was altered: its SHA-256 is not the one in the manifest")
        except FileNotFoundError:
            damage.append(f"{name} is missing")
        except OSError as error:
            damage.append(f"{name} cannot be read ({error.strerror})")
    if not damage and check != "sizes" and now != seen:
        mark_checked(folder, now)
    return damage


def times_of(stat: os.stat_result) -> list[int]:
    """Return what changes whenever a file's content does: size, times, and its place on the disk."""
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


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
    if all(line.split()[0] in manifest.structure.files for line in damage):
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
    return _beside(path, "building")


def replaced_folder(path: Path) -> Path:
    """Return where the index `path` stands while a new one takes its place."""
    return _beside(path, "replaced")


def lock_file(path: Path) -> Path:
    """Return the file that is locked by whoever writes the index `path`."""
    return _beside(path, "lock")


def _beside(path: Path, what: str) -> Path:
    path = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    return path.with_name(f"{path.name}.{what}") if path.name else path / what


def _own_sha256(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, what: object) -> str:
    return f"{path} is damaged ({what}): restore it from a copy, or build the index again with --overwrite"


def _missing(folder: Path) -> str:
    if not folder.exists() and (replaced_folder(folder) / MANIFEST).exists():
        return (
            f"{folder} was being replaced when its build was stopped: run the same `elasticdenser index` command "
            f"again; the old index stands in {replaced_folder(folder)}"
        )
    if building_folder(folder).is_dir():
        return (
            f"{folder} is not finished: its build stands in {building_folder(folder)}; run the same "
            "`elasticdenser index` command again and it goes on"
        )
    if folder.is_dir():
        return f"{folder} is not an index: it holds no {MANIFEST}"
    return f"{folder} does not exist: build an index with `elasticdenser index CORPUS -o {folder}`"
