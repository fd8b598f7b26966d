"""Manifest of an index: its content, the encoder that made it, and size and checksum of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from elasticdenser.artifacts import sha256_of, write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.datasets.metadata import FieldType
from elasticdenser.errors import IndexFormatError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index import layout
from elasticdenser.index.chunking import Chunking
from elasticdenser.index.efforts import Effort
from elasticdenser.index.layout import MANIFEST, building_folder, replaced_folder
from elasticdenser.index.lexical.info import LexicalInfo, is_file_of_postings
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.progress import Progress

T = TypeVar("T")

FORMAT = "elasticdenser-index"
VERSION = 4
LATEST_VERSION = 6
"""Version of the manifests of sharded indexes; see `sharding.manifest`. Those of generations have version 5."""

Origin = Literal["encoded", "exact", "decoded"]
"""Origin of the vectors; see `Manifest`."""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """Size in bytes and SHA-256 of one file."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """Measure a file."""
        return cls(bytes=path.stat().st_size, sha256=sha256_of(path))


@dataclass(frozen=True, kw_only=True)
class StructureInfo:
    """Description of the search structure that is derived from the vectors.

    Args:
        factory: Factory strings of its parts, joined by " + "; `Flat` scans the vectors themselves.
        efforts: Efforts it can be searched with, of rising recall; the last is the default.
        n_sampled: Number of queries over which the recall was measured.
        files: Names of its files, one for each part that needs one.
    """

    factory: str
    efforts: tuple[Effort, ...]
    n_sampled: Annotated[int, msgspec.Meta(ge=0)]
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.efforts:
            raise ValueError("the structure has no search effort")

    @property
    def recall_at_10(self) -> float:
        """Recall of the greatest effort."""
        return self.efforts[-1].recall_at_10


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Description of an index, or of one of its segments.

    Args:
        created: UTC, ISO 8601.
        software: Version of elasticdenser that wrote it.
        n_passages: Number of passages.
        dim: Dimensions of a vector.
        vectors: `encoded`; of imported indexes `exact`, or `decoded` from a FAISS index that compresses with loss.
        has_texts: Whether the texts of the passages are stored beside the vectors.
        encoder: Fingerprint of the encoder of the passages.
        corpus: Origin of the passages: `sources`, `sha256` of the content, `skipped` by reason.
        structure: The search structure.
        files: Size and checksum of every file, by name.
        n_truncated: Number of passages that are longer than the encoder's maximum length, and were cut there; None if
            they were not counted, as in indexes that are imported or older than version 3.
        chunking: How documents were cut into passages; None if they were not.
        n_documents: Number of documents, if they were cut into passages.
        metadata: Types of the metadata fields by name, such as `{"date": "date", "tags": "text[]"}`; None without
            metadata.
        lexical: Postings for search by words; None if there are none, as in indexes older than version 4.
        version: Version of the format.
    """

    created: str
    software: str
    n_passages: Annotated[int, msgspec.Meta(ge=1)]
    dim: Annotated[int, msgspec.Meta(ge=1)]
    vectors: Origin
    has_texts: bool
    encoder: EncoderFingerprint
    corpus: dict[str, Any]
    structure: StructureInfo
    files: dict[str, FileEntry]
    n_truncated: int | None = None
    chunking: Chunking | None = None
    n_documents: int | None = None
    metadata: dict[str, str] | None = None
    lexical: LexicalInfo | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        for kind in (self.metadata or {}).values():
            FieldType.parse(kind)
        from_value(_CorpusKeys, {key: self.corpus.get(key) for key in _CORPUS_KEYS}, "corpus", error=IndexFormatError)

    @property
    def derived_files(self) -> tuple[str, ...]:
        """Names of the files that can be derived again from the vectors and texts, other than that of the ids."""
        return (*self.structure.files, *filter(is_file_of_postings, self.files))

    @property
    def vectors_sha256(self) -> str:
        """Fingerprint of all vectors, in order."""
        vectors = {name: entry.sha256 for name, entry in self.files.items() if Path(name).name == layout.VECTORS}
        if list(vectors) == [layout.VECTORS]:
            return vectors[layout.VECTORS]
        return fingerprint_of([vectors, self.corpus["sha256"]])  # which depends on the deleted passages too

    @property
    def stemmer(self) -> str | None:
        """Stemmer of the postings; None if there are none."""
        return None if self.lexical is None else self.lexical.stemmer

    def write(self, folder: Path) -> None:
        """Write the manifest atomically."""
        write_manifest(folder, {**asdict(self), "version": VERSION})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of the segment in `folder`, or of an index that is one segment.

        Raises:
            IndexFormatError: It is missing, damaged, or of a newer format.
        """
        return cls.from_json(folder / MANIFEST, read_manifest(folder))

    @classmethod
    def from_json(cls, path: Path, value: dict[str, Any]) -> Manifest:
        """Return the manifest that was read from `path`.

        Raises:
            IndexFormatError: It is damaged.
        """
        manifest = parse_manifest(cls, path, value, _upgraded)
        _check_files(path, manifest)
        return manifest


def write_manifest(folder: Path, value: dict[str, Any]) -> None:
    """Write a manifest of any version atomically, with its checksum."""
    value = {"format": FORMAT, **value}
    write_json(folder / MANIFEST, {**value, "sha256": _own_sha256(value)})


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`, of any version, as it was parsed.

    Raises:
        IndexFormatError: It is missing or damaged, or of a newer format.
    """
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise IndexFormatError(_missing_message(folder)) from None
    except OSError as error:
        raise IndexFormatError(f"{path} cannot be read ({error.strerror}): check its owner and mode") from None
    return parsed_manifest(path, content)


def parsed_manifest(path: Path, content: bytes) -> dict[str, Any]:
    """Return the manifest, of any version, that the file at `path` holds.

    Raises:
        IndexFormatError: It is damaged, or of a newer format.
    """
    try:
        value = loads_json(content.decode("utf-8"))
    except ValueError as error:
        raise damaged(path, error) from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise IndexFormatError(f"{path} is not the manifest of an {FORMAT}: give the folder of an index")
    if type(value.get("version")) is not int or not 1 <= value["version"] <= LATEST_VERSION:
        raise IndexFormatError(
            f"{path.parent} has format version {value.get('version')}, this elasticdenser reads up to "
            f"{LATEST_VERSION}: install a newer elasticdenser"
        )
    return value


@dataclass(frozen=True, kw_only=True)
class _CorpusKeys:
    """The keys that `Manifest.corpus` always has."""

    sources: str
    sha256: str
    skipped: dict[str, Annotated[int, msgspec.Meta(ge=0)]]


_CORPUS_KEYS = [field.name for field in fields(_CorpusKeys)]


def is_file_name(name: str) -> bool:
    """Return whether a name is that of a file in the folder itself."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def file_entries(folder: Path, names: Iterable[str], progress: Progress) -> dict[str, FileEntry]:
    """Return size and checksum of those files of an index that exist."""
    existing = [name for name in names if (folder / name).is_file()]
    entries = {}
    for number, name in enumerate(existing, 1):
        entries[name] = FileEntry.of(folder / name)
        progress("checksums", number, len(existing))
    return entries


def parse_manifest(kind: type[T], path: Path, value: dict[str, Any], upgraded: Callable[..., dict[str, Any]]) -> T:
    """Return the manifest that a JSON object holds.

    Args:
        kind: Type of the manifest.
        path: Its file, for messages.
        value: The object, as `read_manifest` returns it.
        upgraded: Returns the content in the form of the newest version.

    Raises:
        IndexFormatError: It is damaged.
    """
    own_sha256 = value.get("sha256")
    value = {key: value[key] for key in value if key != "sha256"}
    content = {key: value[key] for key in value if key != "format"}
    try:
        manifest = from_value(kind, upgraded(content), "manifest", error=IndexFormatError)
    except IndexFormatError as error:
        raise damaged(path, error) from None
    if own_sha256 not in (None, _own_sha256(value)):
        raise damaged(path, "it was altered: its SHA-256 is not the one recorded in it")
    return manifest


def _upgraded(value: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest in the form of version 2, which 3 and 4 add keys to.

    Version 1 had one effort and one file among the structure's keys.
    """
    structure = value.get("structure")
    if not isinstance(structure, dict):
        return value
    structure = dict(structure)
    if "efforts" not in structure:
        names = [field.name for field in fields(Effort)]
        structure["efforts"] = [{name: structure.pop(name) for name in names if name in structure}]
    if "file" in structure:
        structure["files"] = list(filter(None, [structure.pop("file")]))
    return {**value, "structure": structure}


def _check_files(path: Path, manifest: Manifest) -> None:
    """Refuse a manifest that lists files elsewhere or not all, or sizes that contradict its number of passages."""
    if not all(map(is_file_name, (*manifest.files, *manifest.structure.files))):
        raise damaged(path, f"it lists files outside of its folder: {', '.join(manifest.files)}")
    n_passages, encoder_dim = manifest.n_passages, manifest.encoder.settings.dim
    text_files = (layout.PASSAGES, layout.PASSAGE_OFFSETS) if manifest.has_texts else ()
    metadata_sizes = {layout.METADATA: None, layout.METADATA_OFFSETS: 8 * n_passages, layout.METADATA_TABLE: None}
    expected_sizes = {
        layout.VECTORS: 4 * n_passages * manifest.dim,
        layout.IDS: None,
        layout.ID_OFFSETS: 8 * n_passages,
        layout.ID_LOOKUP: 16 * n_passages,
        **(metadata_sizes if manifest.metadata else {}),
        **dict.fromkeys((*text_files, *manifest.structure.files)),
        **({} if manifest.lexical is None else manifest.lexical.sizes(n_passages)),
    }
    for name, expected in expected_sizes.items():
        if name not in manifest.files:
            raise damaged(path, f"it does not list {name}")
        size = manifest.files[name].bytes
        if expected not in (None, size):
            raise damaged(path, f"it lists {name} with {size:,} bytes, expected {expected:,}")
    if encoder_dim != manifest.dim:
        raise damaged(path, f"its encoder makes vectors of {encoder_dim} dimensions, expected {manifest.dim}")


def _own_sha256(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def damaged(path: Path, reason: object) -> IndexFormatError:
    """Return the error for a file that is damaged."""
    return IndexFormatError(
        f"{path} is damaged ({reason}): restore it from a copy, or build the index again with --overwrite"
    )


def _missing_message(folder: Path) -> str:
    """Return the error message for a folder without a manifest."""
    if not folder.exists() and (replaced_folder(folder) / MANIFEST).exists():
        return (
            f"{folder} was being replaced when its build was stopped: run the same `elasticdenser index` command "
            f"again; the old index is in {replaced_folder(folder)}"
        )
    if building_folder(folder).is_dir():
        return (
            f"{folder} is not finished: its build is in {building_folder(folder)}; run the same "
            "`elasticdenser index` command again to continue it"
        )
    if folder.is_dir():
        return f"{folder} is not an index: it holds no {MANIFEST}; `elasticdenser index` makes one"
    if folder.exists():
        build = f"elasticdenser index {folder} -o INDEX"
        return f"{folder} is a file, expected the folder of an index: build one with `{build}`"
    return f"{folder} does not exist: build an index with `elasticdenser index CORPUS -o {folder}`"
