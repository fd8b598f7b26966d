"""Metadata of an index that is changed: kept, shown, filtered, and used to delete."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from hashing import GivenVectors, HashingEncoder, make_passages, unit_vectors

from elasticdenser.datasets import Corpus, Passage, open_corpus
from elasticdenser.encoders import PassageEncoder
from elasticdenser.errors import BadInputError, BuildError, IndexFormatError, QueryError
from elasticdenser.index import PassageIndex, changes, filtered_search, segment_search
from elasticdenser.index.changes import add_passages, delete_passages
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.exchange import export_index
from elasticdenser.index.layout import METADATA, METADATA_OFFSETS, METADATA_TABLE

QUERIES = HashingEncoder().encode(["a", "b", "c"])
FILTERS = ("number < 20", "number >= 20 and not tags = 't1'", "day is null", "tags in ('t0', 'new')", "number = 1000")


def note(doc_id, text="text", **metadata):
    return Passage(doc_id, text, metadata=metadata or None)


def assert_equal(index, fresh):
    """Check that two indexes hold the same passages, and find the same by every filter, to the bit."""
    assert [index.passage_at(n) for n in range(len(index))] == [fresh.passage_at(n) for n in range(len(fresh))]
    assert index.fields == fresh.fields
    for filter in FILTERS:
        assert np.array_equal(index.matches(filter).mask, fresh.matches(filter).mask), filter
        for options in ({}, {"exact": True}, {"within": range(0, len(fresh), 2)}):
            found, expected = (each.search(QUERIES, 7, filter=filter, **options) for each in (index, fresh))
            assert all(map(np.array_equal, found, expected)), (filter, options)


@pytest.fixture
def index(tmp_path, hashing):
    index = PassageIndex.build(make_passages(60, metadata=True), tmp_path / "index", hashing)
    hashing.n_encoded = 0
    return index


@pytest.fixture
def changed(index, hashing):
    """Index of three segments, with deleted passages in two of them."""
    index = index.add(
        [note("a", number=5, tags=["new"]), note("b", day="2026-05-01"), note("d7é", number=1000)], encoder=hashing
    )
    index = index.delete(["d1é", "d20é", "d33é", "b"])
    return index.add([note("c", number=21, tags="t0"), note("e")], encoder=hashing, compact=False)


def fresh_of(index, path):
    passages = [index.passage_at(position) for position in range(len(index))]
    types = {name: str(kind) for name, kind in index.fields.items()}
    return PassageIndex.build(passages, path, HashingEncoder(), metadata=types)


def test_a_changed_index_filters_like_a_fresh_one(changed, tmp_path):
    assert len(changed.contents.segments) == 3
    assert changed.metadata_of("a") == {"number": 5, "tags": ["new"]}
    assert changed.passage("d7é") == note("d7é", number=1000) and changed.metadata_of("e") == {}
    fresh = fresh_of(changed, tmp_path / "fresh")
    assert_equal(changed, fresh)
    assert_equal(changed.delete(["d2é"]), fresh.delete(["d2é"]))


def test_compaction_writes_the_files_of_a_fresh_index(changed, tmp_path):
    fresh, compacted = fresh_of(changed, tmp_path / "fresh"), changed.compact()
    assert_equal(compacted, fresh)
    folder = compacted.path / compacted.contents.segments[0].path
    for name in (METADATA, METADATA_OFFSETS, METADATA_TABLE, "ids.txt", "passages.jsonl", "vectors.f32"):
        assert (folder / name).read_bytes() == (fresh.path / name).read_bytes(), name


def test_deleted_passages_meet_no_filter(index):
    deleted = index.delete(["d1é", "d59é"])
    assert deleted.matches("number >= 0").n == index.matches("number >= 0").n - 2
    assert deleted.matches("number = 1 or number = 59").n == 0
    assert deleted.search(QUERIES, 3, filter="number = 1")[1].shape == (3, 0)


def test_passages_whose_metadata_has_changed_are_replaced(index, hashing):
    passages = make_passages(60, metadata=True)
    assert add_passages(index.path, open_of(passages), hashing).unchanged == 60
    other = Passage(passages[1].doc_id, passages[1].text, passages[1].title, metadata={"number": 100})
    change = add_passages(index.path, open_of([passages[0], other, *passages[2:]]), hashing)
    assert (change.replaced, change.unchanged) == (1, 59)
    assert index.refresh().metadata_of("d1é") == {"number": 100}


def open_of(passages):
    return Corpus.from_passages("passages", lambda: passages)


def test_values_of_another_type_are_refused_before_anything_is_encoded(index, hashing):
    fault = "got the text 'many', expected a number; correct it: the index has it as number"
    with pytest.raises(BadInputError, match=f"record 'x', field 'number': {fault}"):
        index.add([note("x", number="many")], encoder=hashing)
    assert hashing.n_encoded == 0 and index.refresh() is index
    assert index.add([note("x", number="12.5")], encoder=hashing).metadata_of("x") == {"number": 12.5}


def test_fields_of_the_index_are_read_from_records_without_being_named(index, tmp_path, hashing):
    record = '{"_id": "x", "text": "t", "number": 3, "color": "red", "metadata": {"day": "2026-01-05"}}\n'
    (tmp_path / "more.jsonl").write_text(record + '{"_id": "y", "text": "t", "number": "x"}\n')
    with pytest.raises(BadInputError, match="record 'y', field 'number'"):
        index.add(tmp_path / "more.jsonl", encoder=hashing)
    change = add_passages(index.path, open_corpus(tmp_path / "more.jsonl", skip_bad=True), hashing)
    assert (change.added, change.skipped) == (1, {"bad metadata": 1})
    assert index.refresh().metadata_of("x") == {"number": 3, "day": "2026-01-05"}
    index = index.refresh().add([{"_id": "z", "text": "t", "number": 4, "color": "red"}], encoder=hashing)
    assert index.metadata_of("z") == {"number": 4} and "color" not in index.fields


def test_further_fields_can_be_named(index, tmp_path, hashing):
    records = [{"_id": "x", "text": "t", "number": 3, "color": "red", "size": 1}]
    index = index.add(records, encoder=hashing, metadata="color,number")
    assert index.metadata_of("x") == {"number": 3, "color": "red"}
    assert list(index.fields) == ["number", "tags", "day", "color"]
    assert index.matches("color is null").n == 60 and index.matches("color = 'red'").positions.tolist() == [60]
    (segment,) = index.compact().contents.segments
    assert list(segment.manifest.metadata) == list(index.fields)
    index = index.refresh().delete(["x"])
    assert "color" in index.fields and index.matches("color = 'red'").n == 0
    with pytest.raises(BadInputError, match=r"got the metadata field 'color' as number, expected text, which it is in"):
        index.add(records, encoder=hashing, metadata="color:number")


def test_an_index_without_metadata_gets_fields_and_keeps_them(tmp_path, hashing):
    index = PassageIndex.build(make_passages(5), tmp_path / "index", hashing)
    with pytest.raises(BadInputError, match=r"got the metadata 'price', which the index does not have \(it has none\)"):
        index.add([note("x", price=3)], encoder=hashing)
    index = index.add([note("x", price=3)], encoder=hashing, metadata="price")
    assert index.matches("price is null").n == 5 and index.matches("price > 2").positions.tolist() == [5]
    index = index.add([note("y")], encoder=hashing).compact()
    assert [index.metadata_at(n) for n in range(7)] == [{}, {}, {}, {}, {}, {"price": 3}, {}]
    assert PassageIndex.open(index.path, check="all").matches("not price > 2").n == 6
    empty = index.delete(list(index.doc_ids))
    assert list(empty.fields) == ["price"] and empty.matches("price > 2").n == 0
    assert empty.search(QUERIES, 3, filter="price > 2")[1].shape == (3, 0)


@pytest.mark.parametrize("form", [list, open_of])
def test_a_passage_brings_only_fields_of_the_index_unless_they_are_named(index, hashing, form):
    passages = form([note("x", number=1), note("y", number=2, nubmer=3, size=4, none=None)])
    with pytest.raises(
        BadInputError, match=r"record 'y': got the metadata 'nubmer', 'size', which .* \(it has 'number',"
    ):
        index.add(passages, encoder=hashing)
    assert hashing.n_encoded == 0 and index.refresh() is index
    assert index.add(passages, encoder=hashing, metadata="size").metadata_of("y") == {"number": 2, "size": 4}
    index = index.refresh().add(passages, encoder=hashing, metadata="all")
    assert index.metadata_of("y") == {"number": 2, "nubmer": 3, "size": 4}


def test_passages_are_deleted_by_filter(index):
    expected = index.matches("number < 20 and tags = 't1'").n
    change = delete_passages(index.path, filter="number < 20 and tags = 't1'", dry_run=True)
    assert (change.deleted, index.refresh()) == (expected, index)
    left = index.delete(filter="number < 20 and tags = 't1'")
    assert len(left) == 60 - expected and left.matches("number < 20 and tags = 't1'").n == 0
    assert left.delete(filter="number < 20 and tags = 't1'").generation == left.generation
    assert len(left.delete(filter={"must": [{"field": "number", "operator": ">=", "value": 20}]})) < 35
    with pytest.raises(QueryError, match="got the field 'nowhere', expected one of number"):
        left.delete(filter="nowhere = 1")
    with pytest.raises(QueryError, match="got 1 ids and a filter, expected ids or a filter"):
        left.delete(["d3é"], filter="number = 3")


def test_all_passages_can_be_deleted_by_filter(index):
    assert len(index.delete(filter="number is null or number is not null")) == 0


def test_documents_of_chunks_are_deleted_by_filter(tmp_path, tiny_model):
    encoder = PassageEncoder.from_pretrained(str(tiny_model), device="cpu")
    text = " ".join(f"Sentence number {n} is here." for n in range(8))
    documents = [Passage(f"d{n}", text, metadata={"n": n}) for n in range(6)]
    index = PassageIndex.build(documents, tmp_path / "index", encoder, chunk="24")
    assert len(index) > 12
    assert delete_passages(index.path, filter="n in (1, 4)").deleted == 2
    index = index.refresh().add([note("d9", text, n=9), note("d2", text, n=1)], encoder=encoder)
    assert {index.document_of(doc_id) for doc_id in index.doc_ids} == {"d0", "d2", "d3", "d5", "d9"}
    assert index.manifest.n_documents == 5
    assert [index.metadata_at(int(n)) for n in index.matches("n = 1").positions] == [{"n": 1}] * (len(index) // 5)


def test_readers_filter_files_that_a_change_has_removed(index, hashing):
    reader = PassageIndex.open(index.path)
    index.add([note("x", number=3)], encoder=hashing).delete(["d3é"]).compact()
    assert not (index.path / METADATA_TABLE).exists()
    assert reader.matches("number = 3").positions.tolist() == [3]
    assert reader.metadata_of("d3é")["number"] == 3
    old = index.refresh()
    old.delete(filter="number is not null").compact()
    assert old.matches("number = 3").n == 1


def test_many_threads_filter_at_once(changed):
    expected = {filter: changed.matches(filter).mask.tolist() for filter in FILTERS}
    reopened, wrong = PassageIndex.open(changed.path), []

    def check():
        wrong.extend(filter for filter in FILTERS if reopened.matches(filter).mask.tolist() != expected[filter])

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_matches_are_kept_within_a_generation(changed, monkeypatch):
    first = changed.matches("number < 20")
    assert changed.matches("number < 20") is first
    assert changed.delete(["a"]).matches("number < 20").n == first.n - 1


def test_a_snapshot_has_the_metadata(changed, tmp_path):
    snapshot = changed.snapshot(tmp_path / "snapshot")
    changed.delete(filter="number is not null").compact()
    assert snapshot.metadata_of("a") == {"number": 5, "tags": ["new"]}
    assert PassageIndex.open(tmp_path / "snapshot", check="all").matches("number = 5").n == 1


def test_damaged_metadata_of_a_segment_is_found(changed):
    path = changed.path / changed.contents.segments[1].path / METADATA_TABLE
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(IndexFormatError, match=r"segments/\d+/metadata.sqlite was altered"):
        PassageIndex.open(changed.path)


def test_types_that_another_process_adds_meanwhile_are_not_mixed(index, hashing, monkeypatch):
    build = changes.build_index

    def slow(*arguments, **options):
        build(*arguments, **options)
        monkeypatch.setattr(changes, "build_index", build)
        index.add([note("y", size="large")], encoder=hashing, metadata="size")

    monkeypatch.setattr(changes, "build_index", slow)
    with pytest.raises(BuildError, match="has got other words or fields of metadata while passages were encoded"):
        index.add([note("x", size=3)], encoder=hashing, metadata="size")
    assert str(index.refresh().fields["size"]) == "text"
    with pytest.raises(BadInputError, match="got true, expected text; correct it: the index has it as text"):
        index.add([note("x", size=True)], encoder=hashing)


def test_a_segment_with_fields_of_another_type_is_refused(changed):
    generation = IndexContents.read(changed.path).generation
    replace(generation, metadata={**generation.metadata, "number": "text"}).write(changed.path)
    with pytest.raises(IndexFormatError, match="fields of metadata differ"):
        PassageIndex.open(changed.path)


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["Flat", "IVF16,PQ16x4fs", "HNSW16"])
def test_k_hits_by_filter_beside_deleted_passages_in_several_segments(tmp_path, factory, monkeypatch):
    monkeypatch.setattr(segment_search, "SCANNED_TOGETHER_UP_TO", 100)
    vectors = unit_vectors(1500, 32, 7)
    passages = [Passage(f"d{n}", f"number {n}", metadata={"n": n, "m": n % 10}) for n in range(1500)]
    encoder = GivenVectors(vectors)
    index = PassageIndex.build(passages[:1200], tmp_path / "index", encoder, factory=factory, texts=False)
    for start, stop in ((1200, 1230), (1230, 1500)):
        index = index.add(passages[start:stop], vectors=vectors[start:stop], compact=False)
    gone = np.random.default_rng(3).choice(1500, 200, replace=False)
    index = index.delete([f"d{n}" for n in gone], compact=False)
    left = np.setdiff1d(np.arange(1500), gone)
    queries = unit_vectors(8, 32, 9)
    met = {"m < 5": left % 10 < 5, "n < 40": left < 40, "m = 3 or n > 1400": (left % 10 == 3) | (left > 1400)}
    for planner in (filtered_search.is_exact_faster, lambda chosen, k: False):
        monkeypatch.setattr(filtered_search, "is_exact_faster", planner)
        for filter, meets in met.items():
            matching = np.flatnonzero(meets)
            assert index.matches(filter).positions.tolist() == matching.tolist()
            scores = queries.astype(np.float64) @ vectors[left[matching]].T.astype(np.float64)
            best = matching[np.argsort(-scores, axis=1, kind="stable")]
            for k in (1, 10, 2000):
                found = index.search(queries, k, filter=filter)[1]
                assert found.shape == (8, min(k, len(matching))) and meets[found].all()
                assert index.search(queries, k, filter=filter, exact=True)[1].tolist() == best[:, :k].tolist()
                common = [len(set(a) & set(b)) for a, b in zip(found.tolist(), best[:, :k].tolist(), strict=True)]
                assert np.mean(common) >= 0.9 * found.shape[1]


def test_a_changed_index_with_metadata_is_exported(changed, tmp_path):
    export_index(changed, tmp_path / "exported")
    assert (tmp_path / "exported" / "docid").read_text().split() == list(changed.doc_ids)
