"""An index that is changed: additions, replacements, deletions, compaction, snapshots."""

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hashing import HashingEncoder, make_corpus, make_passages, unit_vectors, write_jsonl

from elasticdenser.datasets import Passage, open_corpus
from elasticdenser.errors import BadInputError, BuildError, EncoderMismatchError, IndexFormatError, QueryError
from elasticdenser.index import PassageIndex, compaction, contents, rebuild, segment_search
from elasticdenser.index.changes import add_passages
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.exchange import export_index
from elasticdenser.index.generation import Generation
from elasticdenser.index.locking import exclusive_lock

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


@pytest.fixture
def index(small_index):
    return PassageIndex.open(small_index)


def test_added_passages_come_last_and_are_found(index, hashing):
    changed = index.add([passage("new", "some text"), {"_id": "7", "text": "seven"}], encoder=hashing)
    assert_holds(changed, [*make_passages(60), passage("new", "some text"), passage("7", "seven")])
    assert (changed.generation, hashing.n_encoded) == (2, 2)
    assert changed.passage(7).text == "seven"
    assert_tidy(index.path)


def test_a_replaced_passage_has_only_its_new_text(index, hashing):
    changed = index.upsert([passage("d5é", "other")], encoder=hashing)
    expected = [p for p in make_passages(60) if p.doc_id != "d5é"]
    assert_holds(changed, [*expected, passage("d5é", "other")])
    again = changed.add([passage("d5é", "third"), passage("d0é", "fourth")], encoder=hashing)
    assert_holds(again, [*expected[1:], passage("d5é", "third"), passage("d0é", "fourth")])
    assert_tidy(index.path)


def test_passages_with_the_same_text_are_not_encoded_again(index, hashing):
    changed = index.add([*make_passages(60), passage("new")], encoder=hashing)
    assert hashing.n_encoded == 1
    assert_holds(changed, [*make_passages(60), passage("new")])
    change = add_passages(index.path, make_corpus(60), hashing)
    assert (change.unchanged, change.added, change.replaced, change.generation) == (60, 0, 0, changed.generation)


def test_only_new_passages_are_added(index, hashing):
    changed = index.add([passage("d5é", "other"), passage("new")], encoder=hashing, only_new=True)
    assert_holds(changed, [*make_passages(60), passage("new")])


def test_deleted_passages_are_gone(index):
    changed = index.delete(["d3é", "d59é", "d0é"])
    expected = [p for p in make_passages(60) if p.doc_id not in ("d3é", "d59é", "d0é")]
    assert_holds(changed, expected)
    assert changed.doc_ids.find("d3é") == -1
    with pytest.raises(QueryError, match="1 of 1 document ids are not in the index"):
        changed.passage("d3é")
    with pytest.raises(KeyError):
        changed.text("d3é")
    assert_tidy(index.path)


def test_unknown_ids_are_refused_or_reported(index):
    with pytest.raises(QueryError, match=r"2 of 3 document ids are not in .*: 'x', 'y': leave them out"):
        index.delete(["d3é", "x", "y"])
    assert len(index.refresh()) == 60
    assert len(index.delete(["d3é", "x"], missing_ok=True)) == 59
    with pytest.raises(QueryError, match="expected a collection"):
        index.delete("d4é")


def test_an_emptied_index_takes_additions(index, hashing):
    empty = index.delete(list(index.doc_ids))
    assert_holds(empty, [])
    assert empty.compact().generation == empty.generation
    assert_holds(empty.add([passage("a")], encoder=hashing), [passage("a")])
    assert_tidy(index.path)


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


def test_opened_generations_stay_as_they_are(index, hashing):
    generations = [index]
    for number in range(5):
        generations.append(generations[-1].add([passage(f"n{number}")], encoder=hashing, compact=False))
    generations.append(generations[-1].compact())
    for number, generation in enumerate(generations[:-1]):
        assert len(generation) == 60 + number
        assert_holds(generation, [*make_passages(60), *(passage(f"n{n}") for n in range(number))])
    assert index.refresh().generation == generations[-1].generation
    assert generations[-1].refresh() is generations[-1]


def test_an_unpickled_index_is_the_newest_generation(index, hashing):
    changed = index.add([passage("new")], encoder=hashing)
    assert pickle.loads(pickle.dumps(index)).generation == changed.generation


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


def test_passages_deleted_while_segments_are_merged_do_not_come_back(index, hashing, monkeypatch):
    changed = index.add([passage("new"), passage("newer")], encoder=hashing).delete(["d1é"])
    write = compaction._write_merged

    def slow(*arguments):
        write(*arguments)
        index.refresh().delete(["d7é", "newer"], compact=False)
        index.refresh().add([passage("newest"), passage("d8é", "other")], encoder=hashing, compact=False)

    monkeypatch.setattr(compaction, "_write_merged", slow)
    compacted = changed.compact()
    gone = ("d1é", "d7é", "d8é")
    expected = [*(p for p in make_passages(60) if p.doc_id not in gone), passage("new")]
    assert_holds(compacted, [*expected, passage("newest"), passage("d8é", "other")])
    assert_tidy(index.path)


def test_all_passages_deleted_while_segments_are_merged(index, monkeypatch):
    changed = index.delete(["d1é"])
    write = compaction._write_merged

    def slow(*arguments):
        write(*arguments)
        changed.delete(list(changed.doc_ids), compact=False)

    monkeypatch.setattr(compaction, "_write_merged", slow)
    assert_holds(changed.compact(), [])
    assert_tidy(index.path)


def test_a_segment_that_is_emptied_while_it_is_merged(index, hashing, monkeypatch):
    changed = index.add([passage("new")], encoder=hashing)
    write = compaction._write_merged

    def slow(*arguments):
        write(*arguments)
        changed.delete(["new"], compact=False)

    monkeypatch.setattr(compaction, "_write_merged", slow)
    assert_holds(changed.compact(), make_passages(60))
    assert_tidy(index.path)


def test_given_vectors_are_stored_as_they_are(index, hashing):
    vectors = unit_vectors(3, 16)
    changed = index.add([passage("a"), passage("b"), passage("d0é", "other")], vectors=vectors)
    assert hashing.n_encoded == 0
    assert np.array_equal(changed.vectors[changed.positions(["a", "b", "d0é"])], vectors)
    for wrong, what in [
        (vectors[:2], r"shape \(2, 16\), expected \(3, 16\)"),
        (vectors[:, :8], r"shape \(3, 8\)"),
        (2 * vectors, "other lengths than 1"),
        (np.where(vectors > 0.1, np.nan, vectors), "not finite"),
    ]:
        with pytest.raises(BadInputError, match=what):
            index.add([passage("a"), passage("b"), passage("c")], vectors=wrong)


def test_another_encoder_is_refused(index):
    with pytest.raises(EncoderMismatchError, match="was made by another encoder"):
        index.add([passage("new")], encoder=HashingEncoder(weights="1" * 64))
    assert index.refresh() is index


class TurningOutInt8(HashingEncoder):
    """Encoder that turns out to compute in 8 bits once it is used, as `auto` does without torch."""

    n_asked = 0

    @property
    def fingerprint(self):
        self.n_asked += 1
        return replace(super().fingerprint, dtype="float32" if self.n_asked == 1 else "int8")


def test_vectors_in_8_bits_are_not_mixed_with_others(index):
    with pytest.raises(EncoderMismatchError, match=r"dtype: 'float32' against 'int8'.*in float32"):
        index.add([passage("new")], encoder=TurningOutInt8())
    assert_holds(index.refresh(), make_passages(60))


def test_an_interruption_after_the_new_manifest_keeps_the_new_segment(index, hashing, monkeypatch):
    write = Generation.write

    def interrupted(self, folder):
        write(self, folder)
        if self.generation == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Generation, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.add([passage("new")], encoder=hashing)
    assert_holds(PassageIndex.open(index.path, check="all"), [*make_passages(60), passage("new")])


def test_a_repeated_id_is_refused(index, hashing):
    with pytest.raises(BadInputError, match="id 'a' is already that of"):
        index.add([passage("a"), passage("a")], encoder=hashing)
    assert_holds(index.refresh(), make_passages(60))


def test_an_interrupted_addition_goes_on(index, hashing, tmp_path):
    corpus = write_jsonl(tmp_path / "more.jsonl", make_passages(60, "other"))

    def interrupt(step, done, of):
        if step == "encoding" and done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_passages(index.path, open_corpus(corpus), hashing, progress=interrupt)
    assert hashing.n_encoded == 30
    assert_holds(index.refresh(), make_passages(60))
    assert_holds(index.add(corpus, encoder=hashing), make_passages(60, "other"))
    assert hashing.n_encoded == 60
    assert_tidy(index.path)


def test_leftovers_are_removed_but_not_the_work_of_others(index, hashing):
    segments = index.delete(["d1é"]).path / "segments"
    for name in ("77", "adding-dead.building", "adding-alive.building"):
        (segments / name).mkdir()
        (segments / name / "file").write_text("x")
    (segments / "1.deleted-99").write_bytes(b"x")
    (segments / "adding-gone.lock").write_bytes(b"")
    with exclusive_lock(segments / "adding-alive"):
        index.refresh().delete(["d2é"])
        assert {path.name for path in segments.iterdir()} == {
            *("1", "1.deleted-3", "adding-alive.building", "adding-alive.lock")
        }
    index.refresh().delete(["d3é"])
    assert_tidy(index.path)


def test_the_second_writer_waits_or_is_told(index):
    from elasticdenser.index import writing

    refused = pytest.raises(BuildError, match=r"another process is writing to .*: wait")
    with exclusive_lock(index.path), refused, writing.writing(index.path, 0.1):
        pass
    assert len(index.delete(["d1é"])) == 59


def test_a_snapshot_does_not_change(index, hashing, tmp_path):
    generation = index
    for number in range(2):
        generation = generation.delete(["d1é"]) if number else generation
        target = tmp_path / f"snapshot-{number}"
        snapshot = generation.snapshot(target)
        assert snapshot.generation == generation.generation
        linked = next(target.rglob("vectors.f32"))
        assert os.stat(linked).st_nlink == 2 + number  # the second shares the file with the first
        with pytest.raises(BuildError, match="exists: choose another place"):
            index.refresh().snapshot(target)
    expected = [p for p in make_passages(60) if p.doc_id != "d1é"]
    index.refresh().add([passage("new")], encoder=hashing).compact()
    shutil.rmtree(index.path)
    assert_holds(PassageIndex.open(tmp_path / "snapshot-0", check="all"), make_passages(60))
    assert_holds(PassageIndex.open(tmp_path / "snapshot-1", check="all"), expected)
    changed = PassageIndex.open(tmp_path / "snapshot-1").add([passage("new")], encoder=hashing)
    assert_holds(changed, [*expected, passage("new")])


def test_files_are_copied_where_links_are_not_possible(index, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    changed = index.delete(["d1é"])
    changed.snapshot(tmp_path / "snapshot")
    expected = [p for p in make_passages(60) if p.doc_id != "d1é"]
    assert_holds(PassageIndex.open(tmp_path / "snapshot", check="all"), expected)
    assert_holds(PassageIndex.open(index.path, check="all"), expected)


def test_files_are_not_read_again_after_a_change(index, hashing, tmp_path, monkeypatch):
    from elasticdenser.index import integrity

    index.add([passage("new")], encoder=hashing).delete(["d1é"]).snapshot(tmp_path / "snapshot")
    monkeypatch.setattr(integrity, "sha256_of", lambda path: pytest.fail(f"{path} was read"))
    PassageIndex.open(index.path)
    PassageIndex.open(tmp_path / "snapshot")


@pytest.mark.parametrize("name", ["segments/1/vectors.f32", "segments/2/ids.txt", "segments/1.deleted-3"])
def test_damage_in_any_segment_is_found(index, hashing, name):
    index.add([passage("new")], encoder=hashing).delete(["d1é"])
    content = bytearray((index.path / name).read_bytes())
    content[0] ^= 1
    (index.path / name).write_bytes(content)
    with pytest.raises(IndexFormatError, match=rf"{name} was altered.*restore these files"):
        PassageIndex.open(index.path, check="all")
    (index.path / name).unlink()
    with pytest.raises(IndexFormatError, match=rf"{name} is missing"):
        PassageIndex.open(index.path)


def test_a_manifest_of_another_segment_is_refused(index, hashing):
    index.add([passage("new")], encoder=hashing)
    segments = index.path / "segments"
    (segments / "1" / "manifest.json").write_bytes((segments / "2" / "manifest.json").read_bytes())
    with pytest.raises(IndexFormatError, match=r"manifest.json is damaged.*not the one in the manifest of the index"):
        PassageIndex.open(index.path)


def test_an_altered_generation_is_refused(index):
    index.delete(["d1é"])
    file = index.path / "manifest.json"
    value = json.loads(file.read_text())
    for changes, what in [
        ({"generation": 9}, "altered"),
        ({"novelty": 1, "sha256": None}, "unknown key 'novelty'"),
        ({"segments": [value["segments"][0]] * 2, "sha256": None}, "names a segment twice"),
        ({"segments": [{**value["segments"][0], "name": "../1"}], "sha256": None}, "outside of its folder"),
        ({"version": 7}, "format version 7, this elasticdenser reads up to 6"),
    ]:
        file.write_text(json.dumps({**value, **changes}))
        with pytest.raises(IndexFormatError, match=what):
            PassageIndex.open(index.path)


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


def test_equal_passages_in_several_segments_come_in_the_order_of_the_index(index_of):
    vector = unit_vectors(1, 8)
    index = index_of(np.repeat(vector, 40, axis=0)).delete(["d0é", "d7é"])
    for number in range(3):
        index = index.add([Passage(doc_id=f"n{number}-{n}", text="x") for n in range(20)], vectors=vector.repeat(20, 0))
    for k in (1, 37, 39, 70, 98):
        scores, positions = index.search(vector, k)
        assert positions.tolist() == [list(range(k))]
        assert len(set(scores[0].tolist())) == 1


def test_vectors_are_indexed_like_an_array(index, hashing):
    changed = index.add([passage("new")], encoder=hashing).delete(["d1é"])
    vectors = np.asarray(changed.vectors)
    assert changed.vectors.shape == vectors.shape == (60, 16)
    for key in (0, -1, slice(3, 50, 7), [5, 59, 0, 5], np.array([[1, 2], [58, 59]]), vectors[:, 0] > 0, (slice(2), 3)):
        assert np.array_equal(changed.vectors[key], vectors[key])
    for key in (60, [0, -61], 1.5):
        with pytest.raises(IndexError):
            changed.vectors[key]
    for wrong in (60, -61):
        with pytest.raises(IndexError):
            changed.doc_ids[wrong]
    assert changed.doc_ids[-1] == "new"


def test_an_index_that_was_changed_is_exported(index, hashing, tmp_path):
    import faiss

    changed = index.add([passage("new")], encoder=hashing).delete(["d1é"])
    export_index(changed, tmp_path / "out")
    assert (tmp_path / "out" / "docid").read_text().split("\n")[:-1] == list(changed.doc_ids)
    exported = faiss.read_index(str(tmp_path / "out" / "index"))
    assert np.array_equal(exported.reconstruct_n(0, 60), np.asarray(changed.vectors))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index", "docid"}


def test_an_index_that_was_changed_is_replaced_only_if_asked(index, hashing):
    index.delete(["d1é"])
    with pytest.raises(BuildError, match="already an index of something else"):
        PassageIndex.build(make_corpus(60), index.path, hashing)
    assert_holds(PassageIndex.build(make_corpus(5, "x"), index.path, hashing, overwrite=True), make_passages(5, "x"))
    assert_tidy(index.path)


def test_an_index_without_texts_is_changed(tmp_path, hashing):
    index = PassageIndex.build(make_corpus(20), tmp_path / "index", hashing, texts=False)
    changed = index.add([passage("d1é", "other"), passage("new")], encoder=hashing).compact()
    assert not changed.has_texts
    assert list(changed.doc_ids) == [*(f"d{n}é" for n in range(20) if n != 1), "d1é", "new"]
    assert_tidy(index.path)


def test_what_the_manifest_says_of_several_segments(index, hashing):
    changed = index.add([passage("new"), passage("d1é")], encoder=hashing)
    manifest = changed.manifest
    assert manifest.corpus["sources"] == "60 passages + passages in memory"
    assert manifest.vectors_sha256 not in (
        index.manifest.vectors_sha256,
        changed.delete(["d2é"]).manifest.vectors_sha256,
    )
    for number in range(6):
        changed = changed.refresh().add([passage(f"n{number}")], encoder=hashing)
    assert changed.compact().manifest.corpus["sources"] == "60 passages + passages in memory"


def test_readers_that_open_during_a_change_try_again(index, hashing, monkeypatch):
    from elasticdenser.index import tables

    changed = index.delete(["d1é"])
    open_segment = tables.Segment.open
    n_opened = 0

    def slow(*arguments, **options):
        nonlocal n_opened
        n_opened += 1
        if n_opened == 1:
            monkeypatch.setattr(tables.Segment, "open", open_segment)
            changed.compact()
        return open_segment(*arguments, **options)

    monkeypatch.setattr(tables.Segment, "open", slow)
    assert PassageIndex.open(index.path).generation == 3


def test_an_id_in_two_segments_is_found(index, hashing):
    index.add([passage("d1é", "other")], encoder=hashing)
    contents = IndexContents.read(index.path)
    segments = [replace(entry, deleted=None) for entry in contents.generation.segments]
    replace(contents.generation, segments=tuple(segments)).write(index.path)
    with pytest.raises(IndexFormatError, match="1 ids are in two parts of it, such as 'd1é'"):
        PassageIndex.open(index.path, check="all")


def test_a_change_succeeds_if_segments_cannot_be_merged_after_it(index, hashing, monkeypatch, caplog):
    changed = index
    for number in range(compaction.MAX_SEGMENTS - 1):
        changed = changed.add([passage(f"n{number}")], encoder=hashing)
    with exclusive_lock(index.path / "segments" / "merging"):
        changed = changed.add([passage("last")], encoder=hashing)
    assert len(changed.contents.segments) == compaction.MAX_SEGMENTS + 1

    def refuse(*_):
        raise BuildError("the disk is full")

    monkeypatch.setattr(compaction, "_write_merged", refuse)
    assert len(changed.delete(["d1é"])) == 68
    assert "its segments could not be merged: the disk is full" in caplog.text
    monkeypatch.undo()
    assert len(index.refresh().delete(["d2é"]).contents.segments) <= compaction.MAX_SEGMENTS
    assert_tidy(index.path)


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


@pytest.mark.parametrize("kept", ["metadata", "words"])
def test_an_index_with_metadata_or_postings_is_not_changed(tmp_path, hashing, kept):
    passages = [Passage("d1", "apples and pears", metadata={"price": 3} if kept == "metadata" else None)]
    index = PassageIndex.build(passages, tmp_path / "index", hashing, hybrid=kept == "words")
    before = {path.name: path.read_bytes() for path in index.path.iterdir()}
    for change in (lambda: index.add([passage("new")], encoder=hashing), lambda: index.delete(["d1"])):
        with pytest.raises(BuildError, match=r"holds (metadata|postings.*), which changes cannot keep up to date yet"):
            change()
    assert {path.name: path.read_bytes() for path in index.path.iterdir()} == before


def test_metadata_of_passages_that_are_added_is_left_out(index, hashing):
    added = Passage("new", "fresh bread", metadata={"price": 3})
    index = index.add([added], encoder=hashing)
    assert index.passage("new") == Passage("new", "fresh bread") and not index.fields
    assert index.add([added], encoder=hashing).generation == index.generation


def test_contents_are_read_again_where_a_change_replaces_their_segments(index, hashing, monkeypatch):
    index = index.add([passage("new")], encoder=hashing)
    read, calls = contents.read_part_manifest, []

    def compacted_meanwhile(folder, entry):
        calls.append(entry)
        if len(calls) == 1:
            index.compact()
        return read(folder, entry)

    monkeypatch.setattr(contents, "read_part_manifest", compacted_meanwhile)
    assert len(IndexContents.read(index.path).segments) == 1
    (index.path / "segments" / "3" / "manifest.json").unlink()
    with pytest.raises(IndexFormatError, match="it cannot be read"):
        IndexContents.read(index.path)
