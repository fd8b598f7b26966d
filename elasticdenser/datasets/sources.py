"""Which files a corpus is made of, and in which format each one is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elasticdenser.datasets.files import bare_name, compression_of, text_suffix
from elasticdenser.errors import BadInputError

FORMATS = ("auto", "beir", "jsonl", "tsv", "lines", "irds")
# Of corpora; of queries too, which may also be question files of DPR.
KINDS = {".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv", ".txt": "lines"}
QUERY_KINDS = KINDS | {".csv": "dpr"}
_READABLE = "expected .jsonl, .tsv or .txt (each also .gz or .zst)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One thing to read.

    Attributes:
        kind: `jsonl`, `tsv`, `lines` or `irds`.
        path: The file, or the id of an ir_datasets data set.
        prefix: What the ids of plain lines begin with.
        long_prefix: What they begin with where another file has the same prefix.
    """

    kind: str
    path: str
    prefix: str = ""
    long_prefix: str = ""


def find_parts(sources: Sequence[str | Path], format: str) -> list[Part]:
    """List what to read, in order.

    Raises:
        BadInputError: A source does not exist, or is of no known format.
    """
    if format not in FORMATS:
        raise BadInputError(f"format {format!r} is unknown: expected one of {', '.join(FORMATS)}")
    if not sources or not all(map(str, sources)):
        raise BadInputError("no corpus was given: name a file, a folder or an ir_datasets id")
    parts = [part for source in sources for part in _parts_of(source, format)]
    prefixes = Counter(part.prefix for part in parts if part.kind == "lines")
    return [replace(part, prefix=part.long_prefix) if prefixes[part.prefix] > 1 else part for part in parts]


def is_dataset_id(source: str | Path) -> bool:
    """Tell an ir_datasets id from a path, whether or not such a path exists."""
    source = str(source)
    if Path(source).exists():
        return False
    known = bool(compression_of(source)) or text_suffix(source) in QUERY_KINDS
    return not known and not source.startswith(("/", ".", "~")) and not source.endswith("/")


def natural_order(path: str | Path) -> list[tuple[int, str]]:
    """Sort key under which `corpus-10` comes after `corpus-9`."""
    pieces = re.split(r"(\d+)", str(path))
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def beir_files(folder: Path, stem: str) -> list[Path]:
    """Return the files `<stem>*.jsonl`, plain or compressed, in natural order; a plain one comes first."""
    found = [
        path
        for path in folder.iterdir()
        if path.is_file() and path.name.startswith(stem) and text_suffix(path) == ".jsonl"
    ]
    return _once_each(sorted(found, key=natural_order))


def _parts_of(source: str | Path, format: str) -> list[Part]:
    if format == "irds" or (format == "auto" and is_dataset_id(source)):
        return [Part(kind="irds", path=str(source))]
    path = Path(source)
    if not path.exists():
        raise BadInputError("no such file or folder: check the path", source)
    if path.is_dir():
        return _folder_parts(path, format)
    if not path.is_file():
        raise BadInputError("this is a pipe or device, but a corpus is read twice: save it to a file", source)
    if format == "beir":
        raise BadInputError("this is a file, but the format beir is a folder with corpus.jsonl in it", source)
    kind = KINDS.get(text_suffix(path)) if format == "auto" else format
    if kind is None:
        message = f"the file's name does not tell its format: {_READABLE}, or give the format"
        raise BadInputError(message, source)
    return [_file_part(kind, path, path)]


def _folder_parts(folder: Path, format: str) -> list[Part]:
    if format in ("auto", "beir", "jsonl") and (corpus := beir_files(folder, "corpus")):
        return [_file_part("jsonl", path, path) for path in corpus]
    if format == "beir":
        raise BadInputError("the folder has no corpus*.jsonl, plain, .gz or .zst", folder)
    if beir_files(folder, "queries") and (folder / "qrels").is_dir():
        message = "a BEIR folder of queries and qrels, but no corpus*.jsonl to index: add it, or name another"
        raise BadInputError(message, folder)
    kinds = {path: KINDS.get(text_suffix(path)) for path in _visible_files(folder)}
    wanted = {kind for kind in kinds.values() if kind and format in ("auto", kind)}
    files = _once_each(path for path, kind in kinds.items() if kind in wanted)
    if not files:
        held = ", ".join(str(path.relative_to(folder)) for path in list(kinds)[:3]) or "nothing"
        raise BadInputError(f"the folder holds no file to read: {_READABLE}, got {held}", folder)
    return [_file_part(kinds[path] or format, path, path.relative_to(folder)) for path in files]


def _visible_files(folder: Path) -> list[Path]:
    found = (
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(name.startswith(".") for name in path.relative_to(folder).parts)
    )
    return sorted(found, key=natural_order)


def _once_each(paths: Iterable[Path]) -> list[Path]:
    """Leave out a compressed file beside which its content lies."""
    paths = list(paths)
    plain = {str(path) for path in paths if not compression_of(path)}
    return [path for path in paths if not compression_of(path) or str(path.with_suffix("")) not in plain]


def _file_part(kind: str, path: Path, shown: Path) -> Part:
    long_prefix = bare_name(shown)
    return Part(kind=kind, path=str(path), prefix=Path(long_prefix).name, long_prefix=long_prefix)
