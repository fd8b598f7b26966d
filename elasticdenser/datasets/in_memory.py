"""Corpora of passages in memory, beside those of files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.datasets.corpora import Corpus, open_corpus
from elasticdenser.datasets.fields import PassageReader
from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import BadLine
from elasticdenser.datasets.schema import PASSAGES
from elasticdenser.errors import BadInputError

logger = logging.getLogger(__name__)

AnyCorpus = Corpus | str | Path | Iterable[str | Path | Passage | Mapping[str, Any]]
"""Forms of a corpus that `as_corpus` takes."""

_EXPECTED = "expected a Passage, a mapping such as {'_id': 'p1', 'text': '...'}, or a record with doc_id and text"


def as_corpus(value: AnyCorpus) -> Corpus:
    """Return a corpus in any of its forms as a `Corpus`.

    Args:
        value: A corpus; one or several sources as `open_corpus` takes them; or passages: an iterable of `Passage`, of
            mappings with the keys of JSONL corpora, or of records with `doc_id` and `text`, such as those of
            ir_datasets. The passages of an iterator are read into memory.

    Raises:
        BadInputError: It is none of these, or a passage has no id or text.
    """
    if isinstance(value, Corpus):
        return value
    if isinstance(value, str | Path):
        return open_corpus([value])
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        got = f"got a corpus of type {type(value).__name__}"
        raise BadInputError(f"{got}, expected files or folders, or a list of passages: {_EXPECTED}")
    items: Sequence[Any] = value if isinstance(value, Sequence) else list(value)
    if not items:
        raise BadInputError("got an empty corpus, expected at least one passage, file or folder")
    if all(isinstance(item, str | Path) for item in items):
        return open_corpus(items)
    reader = PassageReader(PASSAGES)
    passages = [_passage(reader, number, item) for number, item in enumerate(items)]
    for remark in reader.remarks():
        logger.info(remark)
    return Corpus.from_passages("passages in memory", lambda: passages)


def _passage(reader: PassageReader, number: int, item: Any) -> Passage:
    """Return a passage, given in one of several forms.

    Raises:
        BadInputError: It is of none of them.
    """
    if isinstance(item, Mapping):
        record = dict(item)
    elif hasattr(item, "doc_id") and (hasattr(item, "text") or hasattr(item, "default_text")):
        text = item.text if hasattr(item, "text") else item.default_text()
        record = {"_id": item.doc_id, "text": text, "title": getattr(item, "title", None)}
    else:
        raise BadInputError(f"passage number {number + 1} is of type {type(item).__name__}; {_EXPECTED}")
    record = {name: int(value) if isinstance(value, np.integer) else value for name, value in record.items()}
    try:
        return reader.passage(record)
    except BadLine as error:
        raise BadInputError(f"passage number {number + 1}: {error}") from None
