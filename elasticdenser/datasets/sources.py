"""Sources of a corpus: the files it consists of, and the format of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elasticdenser.datasets.beir import beir_files
from elasticdenser.datasets.files import bare_name, compression_of, natural_order, text_suffix, without_copies
from elasticdenser.datasets.formats import LINE_FORMATS, format_of
from elasticdenser.errors import BadInputError

IRDS = "irds"
"""Spelling of the format of an id of ir_datasets."""

FORMATS = ("auto", "beir", *LINE_FORMATS, IRDS)

DPR_SUFFIX = ".csv"
"""Suffix of DPR's question files, which hold queries but no corpus."""

_READABLE = "expected .jsonl, .tsv or .txt (each also .gz or .zst)"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusPart:
    """A file or data set that is read as part of a corpus.

    Attributes:
        format: `jsonl`, `tsv`, `lines` or `irds`.
        path: The file, or the id of a data set of ir_datasets.
        prefix: Start of the ids of plain lines.
        long_prefix: The same where another file has the same prefix.
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
    prefixes = Counter(part.prefix for part in parts if part.format == "lines")
    return [replace(part, prefix=part.long_prefix) if prefixes[part.prefix] > 1 else part for part in parts]


def is_dataset_id(source: str | Path) -> bool:
    """Tell an ir_datasets id from a path, whether or not such a path exists."""
    source = str(source)
    if Path(source).exists():
        return False
    looks_like_file = compression_of(source) or format_of(source) or text_suffix(source) == DPR_SUFFIX
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
    return [_file_part(name, path, path)]


def _folder_parts(folder: Path, format: str) -> list[CorpusPart]:
    if format in ("auto", "beir", "jsonl") and (corpus_files := beir_files(folder, "corpus")):
        return [_file_part("jsonl", path, path) for path in corpus_files]
    if format == "beir":
        raise BadInputError("the folder has no corpus*.jsonl, plain, .gz or .zst", folder)
    if beir_files(folder, "queries") and (folder / "qrels").is_dir():
        message = "a BEIR folder of queries and qrels, but no corpus*.jsonl to index: add it, or name another"
        raise BadInputError(message, folder)
    formats = {path: _format_name(path) for path in _visible_files(folder)}
    files = without_copies(path for path, name in formats.items() if name and format in ("auto", name))
    if not files:
        examples = ", ".join(str(path.relative_to(folder)) for path in list(formats)[:3]) or "nothing"
        raise BadInputError(f"the folder holds no file to read: {_READABLE}, got {examples}", folder)
    return [_file_part(formats[path] or format, path, path.relative_to(folder)) for path in files]


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


def _file_part(format: str, path: Path, shown: Path) -> CorpusPart:
    long_prefix = bare_name(shown)
    return CorpusPart(format=format, path=str(path), prefix=Path(long_prefix).name, long_prefix=long_prefix)
