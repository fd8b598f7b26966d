"""Sources of a corpus: the files it consists of, and the format of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elasticdenser.datasets.beir import beir_files
from elasticdenser.datasets.files import (
    bare_name,
    compression_of,
    natural_order,
    text_suffix,
    without_copies,
)
from elasticdenser.datasets.formats import RECORD_FORMATS, format_of
from elasticdenser.datasets.records import id_of_name
from elasticdenser.errors import BadInputError

IRDS = "irds"
"""Spelling of the format of an id of ir_datasets."""

FORMATS = ("auto", "beir", *RECORD_FORMATS, IRDS)

QUERY_SUFFIXES = (".xml", ".topics")
"""Suffixes of TREC topics, which hold queries but no corpus."""

_LINES, _TEXT = "lines", "text"

_READABLE = "expected .jsonl, .json, .tsv, .csv or .txt (each also .gz or .zst), or .parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusPart:
    """A file or data set that is read as part of a corpus.

    Attributes:
        format: Name of a format of records, or `irds`.
        path: The file, or the id of a data set of ir_datasets.
        prefix: Start of the ids of plain lines; the id of a file that is one text.
        long_prefix: Prefix to use instead if another file has the same prefix.
    """

    format: str
    path: str
    prefix: str = ""
    long_prefix: str = ""


def resolve_sources(sources: Sequence[str | Path], format: str) -> list[CorpusPart]:
    """Return the files and data sets of all sources, in order.

    Raises:
        BadInputError: A source does not exist, or is of no known format.
    """
    if format not in FORMATS:
        raise BadInputError(f"format {format!r} is unknown: expected one of {', '.join(FORMATS)}")
    if not sources or not all(map(str, sources)):
        raise BadInputError("no corpus was given: name a file, a folder or an ir_datasets id")
    parts = [part for source in sources for part in _parts_of(source, format)]
    prefixes = Counter((part.format, part.prefix) for part in parts if part.format in (_LINES, _TEXT))
    return [
        replace(part, prefix=part.long_prefix) if prefixes[part.format, part.prefix] > 1 else part for part in parts
    ]


def texts_remark(parts: Sequence[CorpusPart]) -> str | None:
    """Return what became one passage of plain text: each line, or each file; None if there is no such text."""
    n_texts, n_lines = (sum(part.format == name for part in parts) for name in (_TEXT, _LINES))
    remarks = []
    if n_texts:
        remarks.append(f"{_files(n_texts)}: each is one passage (--format lines: each line is one)")
    if n_lines:
        remarks.append(f"{_files(n_lines)}: each line is one passage (--format text: each file is one)")
    return "; ".join(remarks) or None


def is_dataset_id(source: str | Path) -> bool:
    """Return whether a source is an ir_datasets id; a name that looks like a path is none, even if nothing is there."""
    source = str(source)
    if Path(source).exists():
        return False
    looks_like_file = compression_of(source) or format_of(source) or text_suffix(source) in QUERY_SUFFIXES
    return not looks_like_file and not source.startswith(("/", ".", "~")) and not source.endswith("/")


def _parts_of(source: str | Path, format: str) -> list[CorpusPart]:
    if format == IRDS or (format == "auto" and is_dataset_id(source)):
        return [CorpusPart(format=IRDS, path=str(source))]
    path = Path(source)
    if not path.exists():
        raise BadInputError("no such file or folder: check the path", source)
    if path.is_dir():
        return _folder_parts(path, format)
    if not path.is_file():
        raise BadInputError("this is a pipe or device, but a corpus is read twice: save it to a file", source)
    if format == "beir":
        raise BadInputError("this is a file, but the format beir is a folder with corpus.jsonl in it", source)
    name = _format_name(path) if format == "auto" else format
    if name is None:
        message = f"the file's name does not tell its format: {_READABLE}, or give the format"
        raise BadInputError(message, source)
    return [_file_part(name, path, Path(path.name) if name == _TEXT else path)]


def _folder_parts(folder: Path, format: str) -> list[CorpusPart]:
    if format in ("auto", "beir", "jsonl") and (corpus_files := beir_files(folder, "corpus")):
        return [_file_part("jsonl", path, path) for path in corpus_files]
    if format == "beir":
        raise BadInputError("the folder has no corpus*.jsonl, plain, .gz or .zst", folder)
    if beir_files(folder, "queries") and (folder / "qrels").is_dir():
        message = "a BEIR folder of queries and qrels, but no corpus*.jsonl to index: add it, or name another"
        raise BadInputError(message, folder)
    formats = {path: _format_name(path) for path in _visible_files(folder)}
    suffix_format = _LINES if format == _TEXT else format  # both are .txt
    files = without_copies(path for path, name in formats.items() if name and suffix_format in ("auto", name))
    if not files:
        examples = ", ".join(str(path.relative_to(folder)) for path in list(formats)[:3]) or "nothing"
        raise BadInputError(f"the folder holds no file to read: {_READABLE}, got {examples}", folder)
    return [_part_in_folder(formats[path] or format, format, path, folder) for path in files]


def _part_in_folder(name: str, format: str, path: Path, folder: Path) -> CorpusPart:
    """Return the part for a file in a folder, where a file of plain text is one passage unless lines are requested."""
    relative = path.relative_to(folder)
    if name != _LINES or format == _LINES:
        return _file_part(name, path, relative)
    return _file_part(_TEXT, path, relative, Path(folder.resolve().name))


def _format_name(path: Path) -> str | None:
    line_format = format_of(path)
    return None if line_format is None else line_format.name


def _visible_files(folder: Path) -> list[Path]:
    files = (
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(name.startswith(".") for name in path.relative_to(folder).parts)
    )
    return sorted(files, key=natural_order)


def _file_part(format: str, path: Path, name: Path, folder: Path = Path()) -> CorpusPart:
    """Return the part for a file; `name` is the path that ids of plain text are made from, in its `folder`."""
    if format == _TEXT:
        name = name.with_suffix("") if compression_of(name) else name
        prefix, long_prefix = name.as_posix(), (folder / name).as_posix()
    else:
        long_prefix = bare_name(name)
        prefix = Path(long_prefix).name
    return CorpusPart(format=format, path=str(path), prefix=id_of_name(prefix), long_prefix=id_of_name(long_prefix))


def _files(n_files: int) -> str:
    return "1 file of plain text" if n_files == 1 else f"{n_files:,} files of plain text"
