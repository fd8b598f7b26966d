"""Rows of the passages that are deleted, by the ids or by the metadata of their documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elasticdenser.arrays import Positions
from elasticdenser.index.filters import Filter
from elasticdenser.index.segment import Segment


def rows_of_documents(segments: Sequence[Segment], ids: Sequence[str]) -> tuple[dict[str, Positions], list[str]]:
    """Return the rows of all deleted passages of the segments that lose some, by name; and the ids not found."""
    deleted: dict[str, list[Positions]] = {}
    unknown = []
    by_name = {segment.contents.name: segment for segment in segments}
    for doc_id in ids:
        found = ((name, segment.rows_of_document(doc_id)) for name, segment in by_name.items())
        name, rows = next(((name, rows) for name, rows in found if len(rows)), ("", None))
        if rows is None:
            unknown.append(doc_id)
        else:
            deleted.setdefault(name, [by_name[name].deleted]).append(rows)
    return {name: np.unique(np.concatenate(parts)) for name, parts in deleted.items()}, unknown


def rows_of_matches(segments: Sequence[Segment], filter: Filter) -> tuple[dict[str, Positions], int]:
    """Return the rows of all deleted passages of the segments that lose some, by name; and the number of documents."""
    deleted, n_documents = {}, 0
    for segment in segments:
        rows = np.flatnonzero(segment.files.metadata.mask(filter) & segment.is_left)
        if len(rows):  # all chunks of a document have its metadata
            deleted[segment.contents.name] = np.union1d(segment.deleted, rows)
            n_documents += segment.n_documents_at(rows)
    return deleted, n_documents
