"""Corpora of passages in memory, beside those of files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.datasets.corpora import Corpus, open_corpus
from elasticdenser.datasets.fields import PassageReader
from elasticdenser.datasets.metadata import AnySelection, FieldType, MetadataSelection
from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import BadLine, has_surrogate, lone_surrogate
from elasticdenser.datasets.schema import PASSAGES
from elasticdenser.errors import BadInputError

logger = logging.getLogger(__name__)

AnyCorpus = Corpus | str | Path | Iterable[str | Path | Passage | Mapping[str, Any]]
"""Forms of a corpus that `as_corpus` takes."""

_EXPECTED = "expected a Passage, a mapping such as {'_id': 'p1', 'text': '...'}, or a record with doc_id and text"


def as_corpus(
    value: AnyCorpus, *, metadata: AnySelection = None, known: Mapping[str, FieldType] | None = None
) -> Corpus:
    """Return a corpus in any of its forms as a `Corpus`.

    Args:
        value: A corpus; one or several sources as `open_corpus` takes them; or passages: an iterable of `Passage`, of
            mappings with the keys of JSONL corpora, or of records with `doc_id` and `text`, such as those of
            ir_datasets. The passages of an iterator are read into memory.
        metadata: Fields that are kept as metadata, as `open_corpus` takes them. None keeps what a corpus or a `Passage`
            brings, and no further fields.
        known: Fields of the index that the passages are added to, with their types; they are kept, too. A `Passage`
            then brings no others unless `metadata` says so. None if they are added to none.

    Raises:
        BadInputError: It is none of these, a passage has no id or text, or a field is declared with another type than
            is known.
    """
    selection = MetadataSelection.parse(metadata)
    if known is not None:
        selection = selection.with_known(known)
    if isinstance(value, Corpus):
        if selection.is_chosen or known is None:
            return value.with_metadata(selection) if selection.is_chosen else value
        return value.with_metadata(value.metadata.with_known(known))
    if isinstance(value, str | Path):
        return open_corpus([value], metadata=selection)
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        got = f"got a corpus of type {type(value).__name__}"
        raise BadInputError(f"{got}, expected files or folders, or a list of passages: {_EXPECTED}")
    items: Sequence[Any] = value if isinstance(value, Sequence) else list(value)
    if not items:
        raise BadInputError("got an empty corpus, expected at least one passage, file or folder")
    if all(isinstance(item, str | Path) for item in items):
        return open_corpus(items, metadata=selection)
    reader = PassageReader(replace(PASSAGES, metadata=selection))
    passages = [_passage(reader, number, item) for number, item in enumerate(items)]
    for remark in reader.remarks():
        logger.info(remark)
    corpus = Corpus.from_passages("passages in memory", lambda: passages)
    return corpus.with_metadata(selection)


def _passage(reader: PassageReader, number: int, item: Any) -> Passage:
    """Return a passage, given in one of several forms.

    Raises:
        BadInputError: It is of none of them.
    """
    given = None
    if isinstance(item, Mapping):
        record = dict(item)
    elif isinstance(item, Passage):
        record, given = {"_id": item.doc_id, "text": item.text, "title": item.title}, item.metadata
    elif hasattr(item, "doc_id") and (hasattr(item, "text") or hasattr(item, "default_text")):
        text = item.text if hasattr(item, "text") else item.default_text()
        record = {"_id": item.doc_id, "text": text, "title": getattr(item, "title", None)}
        if reader.schema.metadata and hasattr(item, "_asdict"):
            record = item._asdict() | record
    else:
        raise BadInputError(f"passage number {number + 1} is of type {type(item).__name__}; {_EXPECTED}")
    record = {name: int(value) if isinstance(value, np.integer) else value for name, value in record.items()}
    try:
        passage = reader.passage(record)
        if any(map(has_surrogate, (passage.doc_id, passage.title, passage.text))):
            raise lone_surrogate()
        return passage if not given else replace(passage, metadata=given)
    except BadLine as error:
        raise BadInputError(f"passage number {number + 1}: {error}") from None
