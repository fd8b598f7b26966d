"""Sources of a corpus: the files it consists of, and the format of each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elasticdenser.datasets.files import bare_name, compression_of, text_suffix
from elasticdenser.datasets.folders import DOCUMENTS, READABLE, files_of_folder
from elasticdenser.datasets.formats import RECORD_FORMATS, format_of
from elasticdenser.datasets.part_range import PartRange
from elasticdenser.datasets.records import id_of_name
from elasticdenser.datasets.sqlite import is_sqlite_source, split_sqlite_source
from elasticdenser.errors import BadInputError

logger = logging.getLogger(__name__)

IRDS, SQLITE = "irds", "sqlite"
"""Spellings of the formats of an id of ir_datasets, and of an SQLite database."""

FORMATS = ("auto", "beir", DOCUMENTS, *RECORD_FORMATS, SQLITE, IRDS)

QUERY_SUFFIXES = (".xml", ".topics")
"""Suffixes of TREC topics, which hold queries but no corpus."""

_LINES, _TEXT = "lines", "text"
_SECTIONS, _PAGES = ("markdown", "html"), ("pdf",)


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusPart:
    """A file or data set that is read as part of a corpus.

    Attributes:
        format: Name of a format of records, `sqlite` or `irds`.
        path: The file, or the id of a data set of ir_datasets.
        name: Path of the file in its folder.
        prefix: Start of the ids of plain lines; the id of a document.
        long_prefix: Prefix to use instead if another file has the same prefix.
        in_folder: Whether the file was found in a folder: a document that cannot be used is then left out.
        query: Query to an SQLite database.
        within: Range that is read; None reads everything.
    """

    format: str
    path: str
    name: str = ""
    prefix: str = ""
    long_prefix: str = ""
    in_folder: bool = False
    query: str = ""
    within: PartRange | None = None

    @property
    def is_document(self) -> bool:
        """Whether it is a document, whose records are its parts."""
        return self.format in RECORD_FORMATS and RECORD_FORMATS[self.format].is_document


def resolve_sources(
    sources: Sequence[str | Path], format: str, remark: Callable[[str], None] = logger.info
) -> list[CorpusPart]:
    """Return the files and data sets of all sources, in order.

    Args:
        sources: The sources.
        format: One of `FORMATS`.
        remark: Called with what is read of folders, and what is left out.

    Raises:
        BadInputError: A source does not exist, or is of no known format.
    """
    if format not in FORMATS:
        raise BadInputError(f"format {format!r} is unknown: expected one of {', '.join(FORMATS)}")
    if not sources or not all(map(str, sources)):
        raise BadInputError("no corpus was given: name a file, a folder or an ir_datasets id")
    parts = [part for source in sources for part in _parts_of(source, format, remark)]
    prefixes = Counter((part.format, part.prefix) for part in parts if part.format == _LINES or part.is_document)
    if texts := _texts_remark(parts):
        remark(texts)
    return [
        replace(part, prefix=part.long_prefix) if prefixes[part.format, part.prefix] > 1 else part for part in parts
    ]


def _texts_remark(parts: Sequence[CorpusPart]) -> str:
    """Return what became one passage of texts without records: each line, file, section or page; empty if none did."""
    passages = [
        ((_TEXT,), "plain text", "each is one passage (--format lines: each line is one)"),
        ((_LINES,), "plain text", "each line is one passage (--format text: each file is one)"),
        (_SECTIONS, "Markdown or HTML", "each section below a heading is one passage"),
        (_PAGES, "PDF", "each page is one passage"),
    ]
    counts = Counter(part.format for part in parts)
    numbers = ((sum(counts[name] for name in names), kind, rule) for names, kind, rule in passages)
    return "; ".join(f"{_files(n_files, kind)}: {rule}" for n_files, kind, rule in numbers if n_files)


def is_dataset_id(source: str | Path) -> bool:
    """Return whether a source is an ir_datasets id; a name that looks like a path is none, even if nothing is there."""
    source = str(source)
    if Path(source).exists() or is_sqlite_source(source):
        return False
    looks_like_file = compression_of(source) or format_of(source) or text_suffix(source) in QUERY_SUFFIXES
    return not looks_like_file and not source.startswith(("/", ".", "~")) and not source.endswith("/")


def _parts_of(source: str | Path, format: str, remark: Callable[[str], None]) -> list[CorpusPart]:
    if format == SQLITE or (format == "auto" and is_sqlite_source(source)):
        return [_sqlite_part(str(source))]
    if format == IRDS or (format == "auto" and is_dataset_id(source)):
        return [CorpusPart(format=IRDS, path=str(source))]
    path = Path(source)
    if not path.exists():
        raise BadInputError("no such file or folder: check the path", source)
    if path.is_dir():
        return _folder_parts(path, format, remark)
    if not path.is_file():
        raise BadInputError("this is a pipe or device, but a corpus is read twice: save it to a file", source)
    if format in ("beir", DOCUMENTS):
        expected = "corpus.jsonl" if format == "beir" else "documents"
        raise BadInputError(f"this is a file, but the format {format} is a folder with {expected} in it", source)
    name = _format_name(path) if format == "auto" else format
    if name is None:
        message = f"the file's name does not tell its format: {READABLE}, or give the format"
        raise BadInputError(message, source)
    return [_file_part(name, path, Path(path.name) if RECORD_FORMATS[name].is_document else path)]


def _folder_parts(folder: Path, format: str, remark: Callable[[str], None]) -> list[CorpusPart]:
    return [
        replace(_file_part(name, path, path.relative_to(folder), Path(folder.resolve().name)), in_folder=True)
        for path, name in files_of_folder(folder, format, remark)
    ]


def _sqlite_part(source: str) -> CorpusPart:
    path, query = split_sqlite_source(source)
    if not Path(path).is_file():
        raise BadInputError("no such file: check the path, expected sqlite:PATH?query=SELECT ...", path)
    return CorpusPart(format=SQLITE, path=path, query=query)


def _format_name(path: Path) -> str | None:
    line_format = format_of(path)
    return None if line_format is None else line_format.name


def _file_part(format: str, path: Path, name: Path, folder: Path = Path()) -> CorpusPart:
    """Return the part for a file; `name` is the path that ids of texts are made from, in its `folder`."""
    if RECORD_FORMATS[format].is_document:
        name = name.with_suffix("") if compression_of(name) else name
        prefix, long_prefix = name.as_posix(), (folder / name).as_posix()
    else:
        long_prefix = bare_name(name)
        prefix = Path(long_prefix).name
    return CorpusPart(
        format=format,
        path=str(path),
        name=name.as_posix(),
        prefix=id_of_name(prefix),
        long_prefix=id_of_name(long_prefix),
    )


def _files(n_files: int, kind: str) -> str:
    return f"1 file of {kind}" if n_files == 1 else f"{n_files:,} files of {kind}"
