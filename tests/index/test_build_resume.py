"""Builds that are interrupted, run twice, or find something else in their place."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hashing import HashingEncoder, assert_same, make_corpus, make_passages

from elasticdenser.datasets import Corpus, Passage, open_corpus
from elasticdenser.errors import BadInputError, BuildError, IndexFormatError
from elasticdenser.index import PassageIndex, build
from elasticdenser.index.layout import building_folder

HERE = Path(__file__).parents[1] / "helpers"


class Stop(BaseException):
    """Ends a build at a moment of the test's choosing."""


def stop_after(n_encoded):
    def progress(what, done, of):
        if what == "encoding" and done >= n_encoded:
            raise Stop

    return progress


def contents(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name != ".checked.json"}


@pytest.fixture
def stopped(tmp_path, hashing, small_windows):
    """An index path whose build was stopped after 30 of 60 passages."""
    path = tmp_path / "index"
    with pytest.raises(Stop):
        PassageIndex.build(make_corpus(60), path, hashing, progress=stop_after(30))
    hashing.n_encoded = 0
    return path


def test_a_stopped_build_continues_where_it_stopped(stopped, hashing):
    assert_same(PassageIndex.build(make_corpus(60), stopped, hashing), 60)
    assert hashing.n_encoded == 30
    assert os.listdir(stopped.parent) == ["index"]


def test_open_says_that_it_is_unfinished(stopped):
    with pytest.raises(IndexFormatError, match=r"not finished.*run the same"):
        PassageIndex.open(stopped)


@pytest.mark.parametrize("torn", [b'{"passages": 40, "by', b"\0" * 80, b"\0" * 20 + b"\n", b"{}\n", b"[]\n"])
def test_torn_journal_line_counts_for_nothing(stopped, hashing, torn):
    with open(building_folder(stopped) / "journal.jsonl", "ab") as file:
        file.write(torn)
    with pytest.raises(Stop):  # the notes that follow must stand on lines of their own
        PassageIndex.build(make_corpus(60), stopped, hashing, progress=stop_after(50))
    assert_same(PassageIndex.build(make_corpus(60), stopped, hashing), 60)
    assert hashing.n_encoded == 30


def test_a_torn_line_in_the_middle_ends_the_journal(stopped, hashing):
    journal = building_folder(stopped) / "journal.jsonl"
    first, second, third = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + second[:20] + b"\n" + third)
    assert_same(PassageIndex.build(make_corpus(60), stopped, hashing), 60)
    assert hashing.n_encoded == 50


@pytest.mark.parametrize("name", ["vectors.f32", "ids.txt", "ids.offsets", "passages.jsonl", "passages.offsets"])
def test_data_beyond_the_journal_is_cut_off(stopped, hashing, name):
    with open(building_folder(stopped) / name, "ab") as file:
        file.write(b"\1" * 1000)
    assert_same(PassageIndex.build(make_corpus(60), stopped, hashing), 60)
    assert hashing.n_encoded == 30


@pytest.mark.parametrize("name", ["vectors.f32", "ids.txt", "ids.offsets", "passages.jsonl", "passages.offsets"])
@pytest.mark.parametrize("left", ["less", "nothing", "no file"])
def test_what_the_disk_lost_is_encoded_again(stopped, hashing, name, left):
    path = building_folder(stopped) / name
    if left == "no file":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size - 3 if left == "less" else 0)
    assert_same(PassageIndex.build(make_corpus(60), stopped, hashing), 60)
    assert hashing.n_encoded == (40 if left == "less" else 60)


@pytest.mark.parametrize("plan", ["not JSON", "[]", "{}", '{"corpus": 1, "encoder": {"settings": {}}}'])
def test_build_folder_with_a_damaged_plan_is_begun_anew(stopped, hashing, plan):
    (building_folder(stopped) / "plan.json").write_text(plan)
    assert_same(PassageIndex.build(make_corpus(60), stopped, hashing), 60)


def test_an_unfinished_build_of_something_else_is_refused(stopped, hashing):
    before = contents(building_folder(stopped))
    for corpus, encoder, texts, what in [
        (make_corpus(61), hashing, True, "61 passages against 60"),
        (make_corpus(60, "other"), hashing, True, "other content"),
        (make_corpus(60), HashingEncoder(weights="1" * 64), True, "weights_sha256"),
        (make_corpus(60), hashing, False, "texts stored"),
    ]:
        with pytest.raises(BuildError, match=f"unfinished build of something else.*{what}.*--restart"):
            PassageIndex.build(corpus, stopped, encoder, texts=texts)
    assert contents(building_folder(stopped)) == before
    assert_same(PassageIndex.build(make_corpus(60, "other"), stopped, hashing, restart=True), 60, "other")


def test_a_build_folder_with_foreign_files_is_refused(tmp_path, hashing):
    (tmp_path / "index.building").mkdir()
    (tmp_path / "index.building" / "thesis.tex").write_text("years of work")
    with pytest.raises(BuildError, match=r"not of a build \(thesis.tex\)"):
        PassageIndex.build(make_corpus(5), tmp_path / "index", hashing)
    assert (tmp_path / "index.building" / "thesis.tex").read_text() == "years of work"


def test_another_factory_does_not_encode_again(tmp_path, hashing, small_windows):
    with pytest.raises(Stop):
        PassageIndex.build(make_corpus(60), tmp_path / "index", hashing, progress=stop_after(60))
    hashing.n_encoded = 0
    index = PassageIndex.build(make_corpus(60), tmp_path / "index", hashing, factory="HNSW4")
    assert (index.manifest.structure.factory, hashing.n_encoded) == ("HNSW4", 0)


def test_complete_build_folder_is_refinished_for_another_factory(tmp_path, hashing, monkeypatch):
    def stop(work, path):
        raise Stop

    monkeypatch.setattr(build, "publish", stop)
    with pytest.raises(Stop):
        PassageIndex.build(make_corpus(60), tmp_path / "index", hashing)
    monkeypatch.undo()
    index = PassageIndex.build(make_corpus(60), tmp_path / "index", hashing, factory="HNSW4")
    assert (index.manifest.structure.factory, hashing.n_encoded) == ("HNSW4", 60)


def test_same_command_on_a_finished_index_does_nothing(small_index, hashing):
    before = contents(small_index)
    for _ in range(2):
        assert_same(PassageIndex.build(make_corpus(60), small_index, hashing), 60)
    assert (hashing.n_encoded, contents(small_index)) == (0, before)
    assert os.listdir(small_index.parent) == ["index"]


def test_a_finished_index_of_something_else_is_refused(small_index, hashing):
    before = contents(small_index)
    with pytest.raises(BuildError, match=r"something else.*61 passages against 60.*-o.*--overwrite"):
        PassageIndex.build(make_corpus(61), small_index, hashing)
    with pytest.raises(BuildError, match=r"something else.*weights_sha256.*--overwrite"):
        PassageIndex.build(make_corpus(60), small_index, HashingEncoder(weights="1" * 64))
    with pytest.raises(BuildError, match=r"structure Flat.*elasticdenser rebuild .* --factory HNSW4"):
        PassageIndex.build(make_corpus(60), small_index, hashing, factory="HNSW4")
    assert contents(small_index) == before
    assert os.listdir(small_index.parent) == ["index"]


def test_finished_index_leaves_another_builds_work_alone(small_index, hashing):
    with pytest.raises(Stop):
        PassageIndex.build(make_corpus(60, "other"), small_index, hashing, overwrite=True, progress=stop_after(30))
    hashing.n_encoded = 0
    PassageIndex.build(make_corpus(60), small_index, hashing)
    assert_same(PassageIndex.build(make_corpus(60, "other"), small_index, hashing, overwrite=True), 60, "other")
    assert hashing.n_encoded == 30


@pytest.mark.slow
def test_damaged_index_is_not_up_to_date(small_index, hashing):
    os.truncate(small_index / "vectors.f32", 100)
    with pytest.raises(BuildError, match=r"damaged: vectors.f32 has 100 bytes.*--overwrite"):
        PassageIndex.build(make_corpus(60), small_index, hashing)
    assert_same(PassageIndex.build(make_corpus(60), small_index, hashing, overwrite=True), 60)
    (small_index / "manifest.json").write_text("torn")
    with pytest.raises(BuildError, match=r"manifest.json is damaged.*--overwrite"):
        PassageIndex.build(make_corpus(60), small_index, hashing)
    assert_same(PassageIndex.build(make_corpus(60), small_index, hashing, overwrite=True), 60)


def test_a_place_that_is_no_index_is_refused(tmp_path, hashing):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    for taken in (tmp_path / "folder", tmp_path / "folder" / "file"):
        with pytest.raises(BuildError, match="exists and is not an index: choose another place with -o"):
            PassageIndex.build(make_corpus(5), taken, hashing, overwrite=True)
    with pytest.raises(BuildError, match="of that name is in the way"):
        PassageIndex.build(make_corpus(5), tmp_path / "folder" / "file" / "index", hashing)
    with pytest.raises(BuildError, match="too long"):
        PassageIndex.build(make_corpus(5), tmp_path / ("x" * 250), hashing)
    (tmp_path / "b.building").write_text("")
    with pytest.raises(BuildError, match=r"b.building.*is in the way"):
        PassageIndex.build(make_corpus(5), tmp_path / "b", hashing)
    assert (tmp_path / "folder" / "file").read_text() == "mine"


def test_an_empty_folder_a_link_and_a_dot_can_be_built_to(tmp_path, hashing, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    PassageIndex.build(make_corpus(5), tmp_path / "link", hashing)
    PassageIndex.build(make_corpus(6), tmp_path / "link", hashing, overwrite=True)
    assert len(PassageIndex.open(tmp_path / "real")) == 6
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(IndexFormatError, match="not an index"):
        PassageIndex.open(".")
    PassageIndex.build(make_corpus(7), ".", hashing)
    assert sorted(os.listdir(tmp_path)) == ["here", "link", "real"]


def test_failing_corpus_leaves_the_old_index(small_index, hashing, tmp_path):
    before = contents(small_index)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"_id": "1", "text": "one"}\n' * 1 + "no JSON\n")
    with pytest.raises(BadInputError, match=r"bad.jsonl:2"):
        PassageIndex.build(bad, small_index, hashing, overwrite=True)

    reads = 0

    def passages():
        nonlocal reads
        reads += 1
        yield from make_passages(25, "other")
        if reads > 1:
            raise BadInputError("the network is gone")

    corpus = Corpus.from_passages("flaky", passages)
    with pytest.raises(BadInputError, match="network"):
        PassageIndex.build(corpus, small_index, hashing, overwrite=True)
    assert contents(small_index) == before
    assert_same(PassageIndex.open(small_index, check="all"), 60)
    assert_same(PassageIndex.build(make_corpus(25, "other"), small_index, hashing, overwrite=True), 25, "other")


@pytest.mark.parametrize("n_later", [24, 26])
def test_a_corpus_that_changes_while_it_is_read_is_refused(tmp_path, hashing, n_later):
    reads = iter([25, n_later])
    corpus = Corpus.from_passages("moving", lambda: make_passages(next(reads)))
    with pytest.raises(BuildError, match=f"changed while it was read: got {n_later} passages, expected 25 as before"):
        PassageIndex.build(corpus, tmp_path / "index", hashing)


def test_lone_surrogates_are_refused(tmp_path, hashing):
    line = tmp_path / "surrogate.jsonl"
    line.write_text('{"_id": "1", "text": "one \\ud800 half"}\n')
    odd = Passage("a", "\ud800"), Passage("\ud800", "a")
    corpora = [line, *(Corpus.from_passages("p", lambda p=p: [p]) for p in odd)]
    for corpus in corpora:
        with pytest.raises(BadInputError, match="half of a surrogate pair"):
            PassageIndex.build(corpus, tmp_path / "index", hashing)
    assert not (tmp_path / "index").exists()


def test_line_breaks_in_texts_and_very_long_passages_are_stored(tmp_path, hashing):
    passages = [
        Passage("ä/ö-ü", "a\nb\u2028c\r\n\0d", "title\nof two lines"),
        Passage("2", "word " * 400_000, ""),
        Passage("日本", "", "only a title"),
    ]
    index = PassageIndex.build(Corpus.from_passages("odd", lambda: passages), tmp_path / "index", hashing)
    assert [index.passage(doc_id) for doc_id in index.doc_ids] == passages


def test_vectors_that_are_not_finite_are_refused(tmp_path, hashing, monkeypatch):
    monkeypatch.setattr(hashing, "encode", lambda texts: np.full((len(texts), 16), np.nan, np.float32))
    with pytest.raises(BuildError, match="not finite: try --precision fp32"):
        PassageIndex.build(make_corpus(5), tmp_path / "index", hashing)


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["IVF64,Flat", "PQ4", "PQ4x4fs", "OPQ4,PQ4", "IVF64_HNSW4,SQ8"])
def test_too_few_to_train_is_said_before_encoding(tmp_path, hashing, factory):
    with pytest.raises(BuildError, match=r"cannot be trained on fewer than \d+ passages, the corpus has 10.*auto"):
        PassageIndex.build(make_corpus(10), tmp_path / "index", hashing, factory=factory)
    assert (hashing.n_encoded, os.listdir(tmp_path)) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["", "nonsense", "IVF,Flat", "PQ5x4fs", "PQ3"])
def test_bad_factory_strings_are_refused_at_once(tmp_path, hashing, factory):
    corpus = Corpus.from_passages("unread", lambda: pytest.fail("the corpus was read"))
    with pytest.raises(BuildError, match="FAISS does not take the factory string"):
        PassageIndex.build(corpus, tmp_path / "index", hashing, factory=factory)
    assert os.listdir(tmp_path) == []


def test_journal_is_readable(stopped):
    lines = (building_folder(stopped) / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["passages"] for line in lines] == [10, 20, 30]


def test_the_sources_of_the_corpus_are_in_the_manifest(tmp_path, hashing):
    file = tmp_path / "lines.txt"
    file.write_text("one\ntwo\n")
    index = PassageIndex.build(open_corpus(file), tmp_path / "index", hashing)
    assert index.manifest.corpus["sources"] == "lines"
