"""Corpora: passages streamed from files, folders and ir_datasets, as often as needed."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from elasticdenser.datasets.documents import LeftOut, document_records
from elasticdenser.datasets.fields import PassageReader
from elasticdenser.datasets.files import bare_name
from elasticdenser.datasets.formats import LINE_FORMATS, RECORD_FORMATS
from elasticdenser.datasets.irds import load_irds
from elasticdenser.datasets.metadata import AnySelection, MetadataSelection
from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import BadLine, Record, checked_id, checked_passage
from elasticdenser.datasets.schema import PASSAGES, FieldNames, FieldsFound
from elasticdenser.datasets.sections import DOCUMENT_FIELDS
from elasticdenser.datasets.skipped import SkippedLines
from elasticdenser.datasets.sources import IRDS, SQLITE, CorpusPart, resolve_sources
from elasticdenser.datasets.sqlite import split_sqlite_source, sqlite_records
from elasticdenser.errors import BadInputError

logger = logging.getLogger(__name__)


class LocatedPassage(NamedTuple):
    """Passage with its place.

    Attributes:
        path: The file; the name of the corpus or data set if it has no file.
        line: Line number, or position, from 1.
        passage: The passage.
    """

    path: str
    line: int
    passage: Passage


Row = tuple[str, int, Passage | BadLine]
"""File, line number, and the passage of the line or its fault."""

Reader = Callable[[PassageReader], Iterator[Row]]
"""Streams the rows of one source from the beginning; records become passages by the reader given."""

Remark = Callable[[str], None]
"""Takes a sentence for the user: what a corpus was read as, and what was not read of it."""


class Corpus:
    """Passages that can be streamed again and again; memory does not grow with their number.

    Args:
        name: Name for messages.
        readers: One for each source, in order.
        skip_bad: Count lines that hold no passage and continue, instead of raising an error.
        fields: Names of the fields of records, where they are not the usual ones.
        metadata: Fields that are kept as metadata.
        remark: Called at the end of the first complete pass with what was not read; by default, it is logged.
        download: Whether ir_datasets may download missing files.

    Attributes:
        skipped: Lines skipped by the last pass.
        fields: Fields of records that the last pass has met.
        parts: Its files and data sets, which can be read apart; empty for a corpus in memory.
    """

    def __init__(
        self,
        name: str,
        readers: Sequence[Reader],
        *,
        skip_bad: bool = False,
        fields: FieldNames | None = None,
        metadata: MetadataSelection | None = None,
        remark: Remark = logger.info,
        download: bool = False,
    ) -> None:
        self.name, self.download = name, download
        self.parts: tuple[CorpusPart, ...] = ()
        self.skip_bad = skip_bad
        self.skipped, self.fields = SkippedLines(), FieldsFound()
        self._readers = tuple(readers)
        self._schema = replace(PASSAGES.with_names(fields or FieldNames()), metadata=metadata or MetadataSelection())
        self._remark: Remark | None = remark
        self._is_whole = True

    def __repr__(self) -> str:
        return f"<Corpus {self.name!r}>"

    @property
    def metadata(self) -> MetadataSelection:
        """The fields that are kept as metadata; if none are selected, passages that bring metadata keep all of it."""
        return self._schema.metadata

    def with_metadata(self, selection: MetadataSelection) -> Corpus:
        """Return the same corpus with other fields as metadata."""
        corpus = copy.copy(self)
        corpus._schema, corpus.skipped = replace(self._schema, metadata=selection), SkippedLines()
        return corpus

    def of_parts(self, parts: Sequence[CorpusPart], *, is_whole: bool = False) -> Corpus:
        """Return the corpus of these files and data sets, read in the same way; it can be sent to other processes.

        Args:
            parts: The files and data sets.
            is_whole: Whether each field that was named has to be in a record, and remarks are made.
        """
        corpus = copy.copy(self)
        corpus.parts, corpus._readers = tuple(parts), tuple(_reader_of(part, self.download) for part in parts)
        corpus.skipped, corpus._is_whole = SkippedLines(), is_whole
        corpus._remark = self._remark if is_whole else None
        return corpus

    @classmethod
    def from_passages(
        cls, name: str, make_passages: Callable[[], Iterable[Passage]], *, skip_bad: bool = False
    ) -> Corpus:
        """Return a corpus of passages that a function supplies.

        Args:
            name: Name for messages.
            make_passages: Returns all passages, every time it is called.
            skip_bad: As for the class.
        """
        return cls(name, [partial(_read_passages, name, make_passages)], skip_bad=skip_bad)

    def __iter__(self) -> Iterator[Passage]:
        """Stream the passages.

        Raises:
            BadInputError: A line holds none (unless such lines are skipped), or a file cannot be read.
        """
        for located in self.with_locations():
            yield located.passage

    def with_locations(self) -> Iterator[LocatedPassage]:
        """Stream the passages with their places, and reset `skipped`.

        Raises:
            BadInputError: As in iteration.
        """
        skipped = self.skipped = SkippedLines()
        passage_reader = PassageReader(self._schema)
        for reader in self._readers:
            for path, line, row in reader(passage_reader):
                if isinstance(row, Passage):
                    yield LocatedPassage(path, line, row)
                elif self.skip_bad or isinstance(row, LeftOut):
                    skipped.add(row.reason, f"{path}:{line}: {row.message}")
                    if isinstance(row, LeftOut):
                        skipped.add_left_out(path, row)
                else:
                    raise BadInputError(row.message, path, line)
        self.fields = passage_reader.fields
        if self._is_whole:
            self.fields.check(self.name)
        if self._remark is not None:
            for remark in [*skipped.remarks(), *passage_reader.remarks()]:
                self._remark(remark)
            self._remark = None


def open_corpus(
    sources: str | Path | Sequence[str | Path],
    *,
    format: str = "auto",
    skip_bad: bool = False,
    download: bool = False,
    fields: FieldNames | None = None,
    metadata: AnySelection = None,
    remark: Remark = logger.info,
) -> Corpus:
    """Open one or several sources as one corpus, in the order given.

    Args:
        sources: BEIR folders; files of JSON (an object a line, or an array), TSV, CSV, plain text, Markdown and HTML
            (also .gz and .zst), Parquet and PDF; folders of such files; SQLite databases, as a file with one table or
            as `sqlite:PATH?query=SELECT ...`; ids of ir_datasets. A file of plain text is a passage a line; in a
            folder, a passage a file.
        format: `auto`, or the format of all sources: `beir`, `jsonl` (also arrays), `tsv`, `csv`, `parquet`, `lines`
            (a passage a line), `text` (a passage a file), `markdown`, `html` (a passage a section), `pdf` (a passage a
            page), `documents` (the files of a folder in the last four formats), `sqlite` or `irds`.
        skip_bad: Count lines that hold no passage and continue, instead of raising an error. Documents in a folder that
            cannot be read are skipped and counted in any case.
        download: Let ir_datasets download missing files.
        fields: Names of the fields that hold id, text and title, where they are not the usual ones.
        metadata: Fields that are kept as metadata, such as `section,date:date`, as `MetadataSelection.parse` takes
            them; `all` keeps all, None none.
        remark: Called with sentences for the user: what a corpus was read as, and at the end of the first complete
            pass, which fields were not read. By default, they are logged at level INFO.

    Raises:
        BadInputError: A source does not exist, is of no known format, or has no fields although some are named; or
            there is no such type of metadata.
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    elif not isinstance(sources, Sequence | None):
        raise BadInputError(f"got the corpus {sources!r}, expected files, folders or ids of ir_datasets")
    fields, selection = fields or FieldNames(), MetadataSelection.parse(metadata)
    parts = resolve_sources(sources, format, remark)
    _refuse_fields_of_text(parts, [*fields.options, *(["--metadata"] if selection.types else [])])
    name = "+".join(dict.fromkeys(_name_of(source) for source in sources))
    corpus = Corpus(name, (), skip_bad=skip_bad, fields=fields, metadata=selection, remark=remark, download=download)
    return corpus.of_parts(parts, is_whole=True)


def _refuse_fields_of_text(parts: Sequence[CorpusPart], options: Sequence[str]) -> None:
    for part in parts:
        if part.is_document and "--id" in options:
            raise BadInputError("the ids of documents are made of their paths: leave out --id", part.path)
        if options and part.format in RECORD_FORMATS and not RECORD_FORMATS[part.format].has_fields:
            raise BadInputError(f"plain text has no fields: leave out {', '.join(options)}", part.path)


def _name_of(source: str | Path) -> str:
    path = Path(split_sqlite_source(str(source))[0])
    if path.is_file():
        return Path(bare_name(path)).name
    return path.resolve().name if path.is_dir() else str(source)


def _reader_of(part: CorpusPart, download: bool) -> Reader:
    if part.format == SQLITE:
        return partial(_read_database, part)
    if part.format != IRDS:
        return partial(_read_file, part)
    if not load_irds(part.path, download=download).has_docs():
        raise BadInputError(f"the ir_datasets id {part.path!r} has no documents: choose one that has")
    return partial(_read_documents, part, download)


def _read_file(part: CorpusPart, reader: PassageReader) -> Iterator[Row]:
    if part.within is None:
        records = RECORD_FORMATS[part.format].records(part.path, part.prefix, reader.schema)
    else:
        records = LINE_FORMATS[part.format].records(part.path, part.prefix, reader.schema, part.within)
    if part.is_document:
        reader.expect(DOCUMENT_FIELDS)
        records = document_records(records, part.path, part.name, may_be_left_out=part.in_folder)
    return _rows(part.path, records, reader)


def _read_database(part: CorpusPart, reader: PassageReader) -> Iterator[Row]:
    return _rows(part.path, sqlite_records(part.path, part.query, reader.schema), reader)


def _rows(path: str, records: Iterable[tuple[int, Record | BadLine]], reader: PassageReader) -> Iterator[Row]:
    for number, record in records:
        row: Passage | BadLine
        try:
            row = record if isinstance(record, BadLine) else reader.passage(record)
        except BadLine as error:
            row = error
        yield path, number, row


def _read_documents(part: CorpusPart, download: bool, reader: PassageReader) -> Iterator[Row]:
    documents = load_irds(part.path, download=download).docs_iter(part.within)
    for number, document in enumerate(documents, start=1 if part.within is None else part.within.first):
        try:
            yield part.path, number, _passage_of(document, reader)
        except BadLine as error:
            yield part.path, number, error


def _passage_of(document: Any, reader: PassageReader) -> Passage:
    """Return the passage of a document of ir_datasets."""
    if any(role.chosen for role in reader.schema.roles):
        record = document._asdict()
        return reader.passage(record if "_id" in record else {"_id": str(document.doc_id), **record})
    doc_id = checked_id(str(document.doc_id))
    metadata = reader.metadata_of(doc_id, document._asdict()) if reader.schema.metadata else None
    if isinstance(text := getattr(document, "text", None), str):
        return checked_passage(doc_id, text, getattr(document, "title", None) or "", metadata)
    if not hasattr(document, "default_text"):
        message = f"{type(document).__name__} has neither text nor default_text(): choose another data set"
        raise BadLine("no text", message)
    return checked_passage(doc_id, document.default_text() or "", "", metadata)


def _read_passages(name: str, make_passages: Callable[[], Iterable[Passage]], reader: PassageReader) -> Iterator[Row]:
    for number, passage in enumerate(make_passages(), start=1):
        try:
            doc_id, metadata = checked_id(passage.doc_id), passage.metadata
            if metadata:
                metadata = reader.checked_metadata(doc_id, metadata)
            yield name, number, checked_passage(passage.doc_id, passage.text, passage.title, metadata or None)
        except BadLine as error:
            yield name, number, error
