"""Segments of an index that is changed: merging them, and searching several of them."""

import numpy as np
import pytest
from hashing import make_corpus, make_passages, unit_vectors
from living_indexes import QUERIES, assert_holds, assert_tidy, passage

from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex, compaction, rebuild, segment_search
from elasticdenser.index.locking import exclusive_lock


@pytest.fixture
def index(small_index):
    return PassageIndex.open(small_index)


@pytest.mark.slow
def test_compaction_changes_no_position_and_no_score(index, hashing):
    changed = index.delete([f"d{number}é" for number in range(0, 60, 3)])
    for number in range(4):
        changed = changed.add([passage(f"n{number}"), passage("d1é", f"text {number}")], encoder=hashing)
    expected = [changed.passage_at(position) for position in range(len(changed))]
    before = changed.search(QUERIES, 30)
    hashing.n_encoded = 0
    compacted = changed.compact()
    assert hashing.n_encoded == 0
    assert all(np.array_equal(*pair) for pair in zip(before, compacted.search(QUERIES, 30), strict=True))
    assert_holds(compacted, expected)
    assert len(compacted.contents.segments) == 1
    assert_tidy(index.path)


@pytest.mark.slow
def test_segments_are_merged_when_there_are_many(index, hashing):
    changed = index
    for number in range(12):
        changed = changed.add([passage(f"n{number}", f"text {number}")], encoder=hashing)
        assert len(changed.contents.segments) <= compaction.MAX_SEGMENTS
    assert_holds(changed, [*make_passages(60), *(passage(f"n{n}", f"text {n}") for n in range(12))])
    assert_tidy(index.path)


def test_the_cheapest_neighbours_are_merged():
    choose = compaction.choose_segments
    assert choose([100] * 9, [100] * 9) is None
    assert choose([191_000, *[10] * 9], [191_000, *[10] * 9]) == slice(1, 10)
    assert choose([191_000, 9_000, *[10] * 8], [191_000, 9_000, *[10] * 8]) == slice(2, 10)
    assert choose([79_000, 50], [100_000, 50]) == slice(0, 2)
    assert choose([81_000, 50], [100_000, 50]) is None
    assert choose([10, 79_000, 90_000], [1000, 100_000, 90_000]) == slice(1, 2)


@pytest.mark.slow
def test_passages_deleted_while_segments_are_merged_do_not_come_back(index, hashing, monkeypatch):
    changed = index.add([passage("new"), passage("newer")], encoder=hashing).delete(["d1é"])
    write = compaction.write_merged

    def slow(*arguments):
        write(*arguments)
        index.refresh().delete(["d7é", "newer"], compact=False)
        index.refresh().add([passage("newest"), passage("d8é", "other")], encoder=hashing, compact=False)

    monkeypatch.setattr(compaction, "write_merged", slow)
    compacted = changed.compact()
    gone = ("d1é", "d7é", "d8é")
    expected = [*(p for p in make_passages(60) if p.doc_id not in gone), passage("new")]
    assert_holds(compacted, [*expected, passage("newest"), passage("d8é", "other")])
    assert_tidy(index.path)


def test_all_passages_deleted_while_segments_are_merged(index, monkeypatch):
    changed = index.delete(["d1é"])
    write = compaction.write_merged

    def slow(*arguments):
        write(*arguments)
        changed.delete(list(changed.doc_ids), compact=False)

    monkeypatch.setattr(compaction, "write_merged", slow)
    assert_holds(changed.compact(), [])
    assert_tidy(index.path)


@pytest.mark.slow
def test_a_segment_that_is_emptied_while_it_is_merged(index, hashing, monkeypatch):
    changed = index.add([passage("new")], encoder=hashing)
    write = compaction.write_merged

    def slow(*arguments):
        write(*arguments)
        changed.delete(["new"], compact=False)

    monkeypatch.setattr(compaction, "write_merged", slow)
    assert_holds(changed.compact(), make_passages(60))
    assert_tidy(index.path)


@pytest.mark.slow
def test_the_structure_is_kept_and_can_be_rebuilt(tmp_path, hashing):
    index = PassageIndex.build(make_corpus(60), tmp_path / "index", hashing, factory="HNSW4")
    compacted = index.add([passage("new")], encoder=hashing).delete(["d1é"]).compact()
    assert compacted.manifest.structure.factory == "HNSW4"
    next(index.path.rglob("*.faiss")).unlink()
    with pytest.raises(IndexFormatError, match=r"HNSW4.faiss is missing.*elasticdenser rebuild"):
        PassageIndex.open(index.path)
    rebuilt = rebuild(index.path, "HNSW8")
    assert rebuilt.manifest.structure.factory == "HNSW8"
    expected = [*(p for p in make_passages(60) if p.doc_id != "d1é"), passage("new")]
    assert [rebuilt.passage_at(position) for position in range(len(rebuilt))] == expected
    assert_tidy(index.path)


@pytest.mark.slow
def test_k_hits_wherever_the_deleted_passages_are(index_of):
    """The best passages of a query are deleted, and inverted lists reach few others."""
    vectors = unit_vectors(2000, 8)
    for factory in ("IVF64,Flat", "HNSW8", "PQ4x4fs"):
        index = index_of(vectors, factory, factory.replace(",", "-"))
        best = index.search(vectors[:1], 1200, exact=True)[1][0]
        changed = index.delete(index.doc_ids.take(best), compact=False)
        assert len(changed) == 800
        for k in (10, 700, 800):
            scores, positions = changed.search(vectors[:1], k, recall=0.8)
            assert positions.min() >= 0 and len(set(positions[0].tolist())) == k
            exact = np.einsum("d,kd->k", vectors[0], changed.vectors[positions[0]])
            assert np.allclose(scores[0], exact, atol=1e-6) and (np.diff(scores[0]) <= 0).all()
        assert np.array_equal(changed.search(vectors[:1], 800)[1], changed.search(vectors[:1], 800, exact=True)[1])


@pytest.mark.slow
def test_equal_passages_in_several_segments_come_in_the_order_of_the_index(index_of):
    vector = unit_vectors(1, 8)
    index = index_of(np.repeat(vector, 40, axis=0)).delete(["d0é", "d7é"])
    for number in range(3):
        index = index.add([Passage(doc_id=f"n{number}-{n}", text="x") for n in range(20)], vectors=vector.repeat(20, 0))
    for k in (1, 37, 39, 70, 98):
        scores, positions = index.search(vector, k)
        assert positions.tolist() == [list(range(k))]
        assert len(set(scores[0].tolist())) == 1


@pytest.mark.slow
def test_a_change_succeeds_if_segments_cannot_be_merged_after_it(index, hashing, monkeypatch, caplog):
    changed = index
    for number in range(compaction.MAX_SEGMENTS - 1):
        changed = changed.add([passage(f"n{number}")], encoder=hashing)
    with exclusive_lock(index.path / "segments" / "merging"):
        changed = changed.add([passage("last")], encoder=hashing)
    assert len(changed.contents.segments) == compaction.MAX_SEGMENTS + 1

    def refuse(*_):
        raise BuildError("the disk is full")

    monkeypatch.setattr(compaction, "write_merged", refuse)
    assert len(changed.delete(["d1é"])) == 68
    assert "its segments could not be merged: the disk is full" in caplog.text
    monkeypatch.undo()
    assert len(index.refresh().delete(["d2é"]).contents.segments) <= compaction.MAX_SEGMENTS
    assert_tidy(index.path)


@pytest.mark.slow
def test_small_segments_are_scanned_together_beside_those_with_a_structure(index_of, monkeypatch):
    monkeypatch.setattr(segment_search, "SCANNED_TOGETHER_UP_TO", 50)
    vectors = unit_vectors(120, 8)
    index = index_of(vectors[:10], "HNSW4")
    for start, stop in ((10, 20), (20, 100), (100, 120)):
        new = [passage(f"n{number}") for number in range(start, stop)]
        index = index.add(new, vectors=vectors[start:stop])
    assert [len(part) for part in index._search._parts] == [10, 80, 30]
    _, positions = index.search(vectors[:5], 120)
    expected = np.argsort(-(vectors[:5].astype(np.float64) @ vectors.T.astype(np.float64)), axis=1, kind="stable")
    assert positions.tolist() == expected.tolist()
    within = [[position for position in row if 15 <= position < 105][:7] for row in expected.tolist()]
    assert index.search(vectors[:5], 7, within=range(15, 105))[1].tolist() == within
