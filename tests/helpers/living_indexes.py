"""Checks of indexes that are changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hashing import HashingEncoder

from elasticdenser.datasets import Passage
from elasticdenser.index.contents import IndexContents

QUERIES = HashingEncoder().encode(["a", "b", "c"])


def passage(doc_id, text="text"):
    return Passage(doc_id=doc_id, text=text)


def assert_holds(index, expected):
    """Check that an index holds these passages in this order, and that searches find what a fresh index would."""
    assert [index.passage_at(position) for position in range(len(index))] == expected
    ids = [p.doc_id for p in expected]
    assert list(index.doc_ids) == ids
    assert index.doc_ids.take(np.arange(len(ids))) == ids
    assert index.positions(ids).tolist() == list(range(len(ids)))
    vectors = HashingEncoder().encode([p.content for p in expected])
    assert np.array_equal(np.asarray(index.vectors), vectors)
    assert index.manifest.n_passages == len(index) == len(expected)
    for k in (1, 3, len(expected) + 5):
        for options in ({}, {"exact": True}, {"within": range(len(ids))}):
            scores, positions = index.search(QUERIES, k, **options)
            exact = (QUERIES.astype(np.float64) @ vectors.T.astype(np.float64)) if ids else np.empty((3, 0))
            order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
            assert positions.tolist() == order.tolist()
            assert np.allclose(scores, np.take_along_axis(exact, order, 1), atol=1e-6)


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".checked.json"}


def assert_tidy(folder):
    """Check that there is no file that the newest generation does not name."""
    contents = IndexContents.read(folder)
    manifests = {str(Path(segment.path, name)) for segment in contents.segments for name in ("manifest.json",)}
    found = {name for name in files_of(folder) if not name.endswith("/.checked.json")}
    assert found == {*contents.manifest.files, *manifests, "manifest.json"}
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(f"{folder.name}.")] == []
