"""Search by words in an index that is changed: the statistics are those of the passages that are left."""

from dataclasses import replace

import numpy as np
import pytest
from hashing import HashingEncoder

from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex, changes, compaction, rebuild
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.lexical import building, merging
from elasticdenser.retrieval.hybrid import search_hybrid

WORDS = ["dune", "novel", "desert", "planet", "worm", "spice", "herbert", "sand"]
TEXTS = ["dune", "the worm of the desert", "novel spice", "herbert rare", "nothing"]
VECTORS = HashingEncoder().encode(TEXTS)


def make_passages(n, start=0):
    rng = np.random.default_rng(start + 5)
    return [Passage(f"d{number}", f"{' '.join(rng.choice(WORDS, 5))} {number}") for number in range(start, start + n)]


def build(passages, path, stemmer="porter"):
    return PassageIndex.build(passages, path, HashingEncoder(), hybrid=True, stemmer=stemmer)


def fresh_of(index, path):
    passages = [index.passage_at(position) for position in range(len(index))]
    return build(passages, path, index.manifest.stemmer)


def assert_equal(index, fresh):
    """Check that words, and words and meaning together, find the same with the same scores, to the bit."""
    assert index.manifest.stemmer == fresh.manifest.stemmer
    everywhere = np.arange(len(fresh))
    for text in TEXTS:
        found, expected = (each.lexical.search(text, 7) for each in (index, fresh))
        assert all(map(np.array_equal, found, expected))
        scores, expected_scores = (each.lexical.scores(text, everywhere) for each in (index, fresh))
        assert np.array_equal(scores, expected_scores)
    for options in ({}, {"within": everywhere[::3]}, {"exact": True}):
        found, expected = (search_hybrid(each, TEXTS, VECTORS, 9, weight=0.4, **options) for each in (index, fresh))
        assert all(map(np.array_equal, found, expected))


@pytest.fixture
def index(tmp_path):
    return build(make_passages(40), tmp_path / "index")


@pytest.fixture
def changed(index, hashing):
    """Index of three segments, with deleted passages in two of them."""
    index = index.add([*make_passages(8, 40), Passage("rare", "a rare word"), Passage("d3", "other")], encoder=hashing)
    index = index.delete(["d1", "d20", "d41", "rare"], compact=False)
    return index.add([Passage("d5", "sand sand sand"), Passage("last", "spice")], encoder=hashing, compact=False)


def test_a_changed_index_scores_like_a_fresh_one(changed, tmp_path):
    assert len(changed.contents.segments) == 3
    assert changed.lexical.n_passages == len(changed)
    assert_equal(changed, fresh_of(changed, tmp_path / "fresh"))
    assert changed.lexical.search("rare", 5)[1].size == 0
    assert_equal(PassageIndex.open(changed.path, check="all"), changed)


@pytest.mark.parametrize("block", [7, building.BLOCK])
def test_compaction_writes_the_files_of_a_fresh_index(changed, tmp_path, monkeypatch, block):
    monkeypatch.setattr(merging, "BLOCK", block)
    fresh, compacted = fresh_of(changed, tmp_path / "fresh"), changed.compact()
    assert_equal(compacted, fresh)
    (segment,) = compacted.contents.segments
    assert segment.manifest.lexical == fresh.manifest.lexical
    for name in fresh.manifest.lexical.files:
        content = (compacted.path / segment.path / name).read_bytes()
        assert content == (fresh.path / name).read_bytes(), name


def test_compaction_reads_no_texts(changed, monkeypatch):
    monkeypatch.setattr("elasticdenser.index.finishing.build_postings_of", None)
    assert changed.compact().lexical.search("spice", 3)[1].size == 3


def test_new_segments_follow_the_stemmer_of_the_index(tmp_path, hashing):
    index = build([Passage("a", "engines"), Passage("b", "water")], tmp_path / "index", "none")
    index = index.add([Passage("c", "engines and more engines")], encoder=hashing)
    assert index.lexical.search("engine", 3)[1].size == 0
    assert index.lexical.search("engines", 3)[1].tolist() == [2, 0]
    assert [segment.manifest.stemmer for segment in index.contents.segments] == ["none", "none"]


def test_an_emptied_index_has_no_words_but_takes_some(index, hashing):
    empty = index.delete(list(index.doc_ids))
    assert empty.manifest.stemmer == "porter"
    assert [array.size for array in empty.lexical.search("dune", 3)] == [0, 0]
    assert search_hybrid(empty, ["dune"], VECTORS[:1], 3, weight=0.2)[1].shape == (1, 0)
    index = empty.add([Passage("a", "dune")], encoder=hashing)
    assert search_hybrid(index, ["dune"], VECTORS[:1], 3, weight=0.2)[1].tolist() == [[0]]


def test_words_are_given_to_a_changed_index_and_taken_from_it(tmp_path, hashing):
    index = PassageIndex.build(make_passages(20), tmp_path / "index", hashing)
    index = index.delete(["d3"]).add([Passage("x", "novel engines")], encoder=hashing)
    assert index.lexical is None
    hashing.n_encoded = 0
    with_words = rebuild(index.path, hybrid=True, stemmer="english")
    assert hashing.n_encoded == 0 and len(with_words.contents.segments) == 1
    assert_equal(with_words, fresh_of(with_words, tmp_path / "fresh"))
    changed = with_words.add([Passage("y", "engine")], encoder=hashing)
    assert changed.lexical.search("engine", 3)[1].tolist() == [20, 19]
    other = rebuild(index.path, hybrid=True, stemmer="none")
    assert other.lexical.search("engine", 3)[1].tolist() == [20]
    without = rebuild(index.path, hybrid=False)
    assert without.lexical is None and without.manifest.lexical is None
    assert without.add([Passage("z", "z")], encoder=hashing).manifest.lexical is None


def test_texts_are_needed_for_words_of_a_changed_index(tmp_path, hashing):
    index = PassageIndex.build(make_passages(20), tmp_path / "index", hashing, texts=False).delete(["d3"])
    with pytest.raises(IndexFormatError, match="holds no texts, whose words are indexed"):
        rebuild(index.path, hybrid=True)
    with pytest.raises(BuildError, match="got the stemmer 'martian'"):
        rebuild(index.path, hybrid=True, stemmer="martian")


@pytest.mark.parametrize("role", ["terms", "ends", "passages", "counts", "lengths"])
def test_damaged_words_of_a_segment_are_found_and_healed(changed, tmp_path, role):
    path = changed.path / changed.contents.segments[0].path / f"lexical.{role}"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    fault = rf"segments/\d+/lexical.{role} was altered.*run `elasticdenser rebuild .* --hybrid`"
    with pytest.raises(IndexFormatError, match=fault):
        PassageIndex.open(changed.path)
    with pytest.raises(IndexFormatError, match=fault):
        compaction.compact(changed.path)
    assert_equal(rebuild(changed.path, hybrid=True), fresh_of(changed, tmp_path / "fresh"))


def test_additions_to_an_index_whose_words_change_meanwhile_are_refused(index, hashing, monkeypatch):
    build_index = changes.build_index

    def slow(*arguments, **options):
        build_index(*arguments, **options)
        monkeypatch.setattr(changes, "build_index", build_index)
        rebuild(index.delete(["d1"]).path, hybrid=True, stemmer="none")

    monkeypatch.setattr(changes, "build_index", slow)
    with pytest.raises(BuildError, match="has got other words or fields of metadata while passages were encoded"):
        index.add([Passage("x", "engines")], encoder=hashing)
    assert len(index.refresh()) == 39
    assert index.add([Passage("x", "engines")], encoder=hashing).lexical.search("engines", 3)[1].tolist() == [39]


def test_passages_added_while_words_are_read_anew_are_not_lost(changed, hashing, monkeypatch):
    write = compaction.write_merged

    def slow(*arguments):
        write(*arguments)
        monkeypatch.setattr(compaction, "write_merged", write)
        changed.add([Passage("x", "x")], encoder=hashing, compact=False)

    monkeypatch.setattr(compaction, "write_merged", slow)
    with pytest.raises(BuildError, match=r"passages were added to .* while its words were read: run the command again"):
        rebuild(changed.path, hybrid=True, stemmer="none")
    assert "x" in list(PassageIndex.open(changed.path, check="all").doc_ids)
    assert rebuild(changed.path, hybrid=True, stemmer="none").doc_ids.find("x") >= 0


def test_a_segment_with_other_words_is_refused(changed):
    replace(IndexContents.read(changed.path).generation, stemmer="none").write(changed.path)
    with pytest.raises(IndexFormatError, match="words by the stemmer none against porter"):
        PassageIndex.open(changed.path)


def test_readers_search_words_whose_files_a_change_has_removed(index, hashing):
    reader = PassageIndex.open(index.path)
    expected = [reader.lexical.search(text, 5) for text in TEXTS]
    index.add([Passage("x", "dune")], encoder=hashing).delete(["d3"]).compact()
    for text, before in zip(TEXTS, expected, strict=True):
        assert all(map(np.array_equal, before, reader.lexical.search(text, 5)))


def test_a_snapshot_has_the_words(changed, tmp_path):
    snapshot = changed.snapshot(tmp_path / "snapshot")
    expected = changed.lexical.search("spice", 5)
    changed.delete([changed.doc_ids[0]]).compact()
    assert all(map(np.array_equal, PassageIndex.open(snapshot.path, check="all").lexical.search("spice", 5), expected))
