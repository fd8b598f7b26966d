"""An index that is changed: additions, replacements and deletions."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hashing import HashingEncoder, make_corpus, make_passages, unit_vectors, write_jsonl
from living_indexes import assert_holds, assert_tidy, passage

from elasticdenser.datasets import open_corpus
from elasticdenser.errors import BadInputError, BuildError, EncoderMismatchError, IndexFormatError, QueryError
from elasticdenser.index import PassageIndex, contents
from elasticdenser.index.changes import add_passages
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.generation import Generation
from elasticdenser.index.locking import exclusive_lock


@pytest.fixture
def index(small_index):
    return PassageIndex.open(small_index)


def test_added_passages_come_last_and_are_found(index, hashing):
    changed = index.add([passage("new", "some text"), {"_id": "7", "text": "seven"}], encoder=hashing)
    assert_holds(changed, [*make_passages(60), passage("new", "some text"), passage("7", "seven")])
    assert (changed.generation, hashing.n_encoded) == (2, 2)
    assert changed.passage(7).text == "seven"
    assert_tidy(index.path)


@pytest.mark.slow
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


@pytest.mark.slow
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
        ("abc", "got str as vectors, expected numbers"),
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


@pytest.mark.slow
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


def test_the_second_writer_waits_or_is_told(index):
    from elasticdenser.index import writing

    refused = pytest.raises(BuildError, match=r"another process is writing to .*: wait")
    with exclusive_lock(index.path), refused, writing.writing(index.path, 0.1):
        pass
    assert len(index.delete(["d1é"])) == 59


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


def test_an_index_that_was_changed_is_replaced_only_if_asked(index, hashing):
    index.delete(["d1é"])
    with pytest.raises(BuildError, match="already an index of something else"):
        PassageIndex.build(make_corpus(60), index.path, hashing)
    assert_holds(PassageIndex.build(make_corpus(5, "x"), index.path, hashing, overwrite=True), make_passages(5, "x"))
    assert_tidy(index.path)


@pytest.mark.slow
def test_an_index_without_texts_is_changed(tmp_path, hashing):
    index = PassageIndex.build(make_corpus(20), tmp_path / "index", hashing, texts=False)
    changed = index.add([passage("d1é", "other"), passage("new")], encoder=hashing).compact()
    assert not changed.has_texts
    assert list(changed.doc_ids) == [*(f"d{n}é" for n in range(20) if n != 1), "d1é", "new"]
    assert_tidy(index.path)


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
