"""Folders as sources of a corpus: which of their files are read, and what is said of the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from elasticdenser.datasets.beir import beir_files
from elasticdenser.datasets.files import natural_order, text_suffix, without_copies
from elasticdenser.datasets.formats import RECORD_FORMATS, format_of
from elasticdenser.datasets.formats.pdf import EXTRA as PDF_EXTRA
from elasticdenser.datasets.formats.pdf import MODULE as PDF_MODULE
from elasticdenser.errors import BadInputError, MissingExtraError
from elasticdenser.lazy_imports import is_installed

DOCUMENTS = "documents"
"""Spelling of the format of folders of which only documents are read: Markdown, HTML, PDF and plain text."""

_LINES, _TEXT, _PDF = "lines", "text", "pdf"
_MAX_KINDS_SHOWN = 5

READABLE = "expected .jsonl, .json, .tsv, .csv, .txt, .md or .html (each also .gz or .zst), .parquet or .pdf"


def files_of_folder(folder: Path, format: str, remark: Callable[[str], None]) -> list[tuple[Path, str]]:
    """Return the files of a folder to read, in natural order, each with the name of its format.

    Hidden files and folders are passed over. Where there are files of records, documents beside them, such as a README,
    are left out, unless their format is requested.

    Args:
        folder: The folder.
        format: Format of the source; see `sources.FORMATS`.
        remark: Called with what is left out.

    Raises:
        BadInputError: There is none.
    """
    if format in ("auto", "beir", "jsonl") and (corpus_files := beir_files(folder, "corpus")):
        return [(path, "jsonl") for path in corpus_files]
    if format == "beir":
        raise BadInputError("the folder has no corpus*.jsonl, plain, .gz or .zst", folder)
    if beir_files(folder, "queries") and (folder / "qrels").is_dir():
        message = "a BEIR folder of queries and qrels, but no corpus*.jsonl to index: add it, or name another"
        raise BadInputError(message, folder)
    paths = _visible_files(folder)
    formats = {path: name for path in paths if (name := _format_in_folder(path, format)) is not None}
    if format == "auto":
        formats = _without_documents_beside_records(formats, remark)
    if format in ("auto", DOCUMENTS):
        formats = _without_unreadable_pdf(formats, remark)
        _remark_other_kinds(paths, remark)
    if not formats:
        examples = ", ".join(str(path.relative_to(folder)) for path in paths[:3]) or "nothing"
        raise BadInputError(f"the folder holds no file to read: {READABLE}, got {examples}", folder)
    return [(path, formats[path]) for path in without_copies(formats)]


def _format_in_folder(path: Path, format: str) -> str | None:
    """Return the format that a file is read in, or None if it is not; a plain text is one passage, unless in lines."""
    record_format = format_of(path)
    if record_format is None:
        return None
    name = _TEXT if record_format.name == _LINES and format != _LINES else record_format.name
    if format == DOCUMENTS:
        return name if RECORD_FORMATS[name].is_document else None
    return name if format in ("auto", name) else None


def _without_documents_beside_records(formats: dict[Path, str], remark: Callable[[str], None]) -> dict[Path, str]:
    documents = [path for path, name in formats.items() if RECORD_FORMATS[name].is_document and name != _TEXT]
    if not documents or all(RECORD_FORMATS[name].is_document for name in formats.values()):
        return formats
    remark(
        f"not read: {_kinds(documents)}, because there are files of records beside them (--format {DOCUMENTS} reads "
        "them instead)"
    )
    left_out = set(documents)
    return {path: name for path, name in formats.items() if path not in left_out}


def _without_unreadable_pdf(formats: dict[Path, str], remark: Callable[[str], None]) -> dict[Path, str]:
    if _PDF not in formats.values() or is_installed(PDF_MODULE):
        return formats
    others = {path: name for path, name in formats.items() if name != _PDF}
    missing = MissingExtraError("reading PDF files", PDF_EXTRA)
    if not others:
        raise missing
    remark(f"not read: {_kinds([path for path in formats if path not in others])}: {missing}")
    return others


def _remark_other_kinds(paths: Iterable[Path], remark: Callable[[str], None]) -> None:
    others = [path for path in paths if format_of(path) is None]
    if others:
        remark(f"not read: {_kinds(others)}, which are of other kinds")


def _kinds(paths: Iterable[Path]) -> str:
    """Return a description of files: `5 files (3 .png, 1 .zip, 1 without a suffix)`."""
    kinds = Counter(text_suffix(path) or "without a suffix" for path in paths)
    shown = [f"{count:,} {kind}" for kind, count in kinds.most_common(_MAX_KINDS_SHOWN)]
    more = ["..."] if len(kinds) > _MAX_KINDS_SHOWN else []
    n_files = kinds.total()
    return f"{n_files:,} file{'' if n_files == 1 else 's'} ({', '.join(shown + more)})"


def _visible_files(folder: Path) -> list[Path]:
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted((path for path in files if path.is_file()), key=natural_order)
