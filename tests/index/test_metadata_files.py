"""Metadata in the files of an index: builds that are stopped or repeated, chunks, and older indexes."""

import json

import pytest
from hashing import HashingEncoder, assert_same, make_corpus, make_passages

from elasticdenser.datasets import Passage, open_corpus
from elasticdenser.errors import BadInputError, BuildError, IndexFormatError, QueryError
from elasticdenser.index import PassageIndex, rebuild
from elasticdenser.index.layout import METADATA, METADATA_OFFSETS, METADATA_TABLE, building_folder
from elasticdenser.index.manifest import Manifest

FILES = (METADATA, METADATA_OFFSETS, METADATA_TABLE)


class Stop(BaseException):
    """Ends a build at a moment of the test's choosing."""


def stop_after(n_encoded):
    def progress(what, done, of):
        if what == "encoding" and done >= n_encoded:
            raise Stop

    return progress


@pytest.fixture
def stopped(tmp_path, hashing, small_windows):
    """An index path whose build was stopped after 30 of 60 passages."""
    with pytest.raises(Stop):
        PassageIndex.build(make_corpus(60, metadata=True), tmp_path / "index", hashing, progress=stop_after(30))
    hashing.n_encoded = 0
    return tmp_path / "index"


@pytest.fixture
def index(tmp_path, hashing):
    return PassageIndex.build(make_corpus(60, metadata=True), tmp_path / "index", hashing)


def test_metadata_is_shown_and_filtered(index):
    assert index.manifest.metadata == {"number": "number", "tags": "text[]", "day": "date"}
    assert set(FILES) <= set(index.manifest.files)
    assert index.passage("d7é") == make_passages(60, metadata=True)[7]
    assert index.metadata_of("d7é") == {"number": 7, "tags": ["é", "t1"], "day": "2026-01-08"}
    assert index.metadata_of("d5é") == {} and index.passage("d5é").metadata is None
    assert index.matches("number < 10 and tags = 'é' and day >= '2026-01-08'").positions.tolist() == [7, 8, 9]
    with pytest.raises(QueryError, match="not in the index"):
        index.metadata_of("nowhere")


def test_a_stopped_build_keeps_the_metadata_of_finished_windows(stopped, hashing):
    assert_same(PassageIndex.build(make_corpus(60, metadata=True), stopped, hashing), 60, metadata=True)
    assert hashing.n_encoded == 30


@pytest.mark.parametrize("name", FILES)
def test_what_a_kill_left_beyond_the_journal_is_cut_off(stopped, hashing, name):
    with open(building_folder(stopped) / name, "ab") as file:
        file.write(b"\1" * 1000)
    assert_same(PassageIndex.build(make_corpus(60, metadata=True), stopped, hashing), 60, metadata=True)
    assert hashing.n_encoded == 30


def test_a_window_without_its_metadata_is_encoded_again(stopped, hashing):
    with open(building_folder(stopped) / METADATA, "rb+") as file:
        file.truncate(10)
    assert_same(PassageIndex.build(make_corpus(60, metadata=True), stopped, hashing), 60, metadata=True)
    assert hashing.n_encoded == 60


def test_a_build_is_not_continued_with_other_metadata(stopped, hashing):
    with pytest.raises(BuildError, match=r"metadata: none against number:number, tags:text\[\], day:date"):
        PassageIndex.build(make_corpus(60), stopped, hashing)
    with pytest.raises(BuildError, match="metadata: number:text against"):
        PassageIndex.build(make_corpus(60, metadata=True), stopped, hashing, metadata="number:text")


def test_the_same_build_again_does_nothing_and_another_type_is_another_index(index, hashing):
    hashing.n_encoded = 0
    assert_same(PassageIndex.build(make_corpus(60, metadata=True), index.path, hashing), 60, metadata=True)
    assert hashing.n_encoded == 0
    with pytest.raises(BuildError, match=r"already an index of something else .*metadata: number:text"):
        PassageIndex.build(make_corpus(60, metadata=True), index.path, hashing, metadata={"number": "text"})


def test_an_index_without_metadata_has_no_such_files(tmp_path, hashing):
    index = PassageIndex.build(make_corpus(20), tmp_path / "index", hashing)
    assert index.manifest.metadata is None and not set(FILES) & {entry.name for entry in index.path.iterdir()}
    assert index.metadata_of("d3é") == {} and index.passage("d3é").metadata is None
    with pytest.raises(QueryError, match=r"index has no metadata: build it with --metadata section"):
        index.search(index.vectors[:1], 3, filter="section = 'ops'")


def test_an_index_of_version_3_opens_as_before(tmp_path, hashing):
    index = PassageIndex.build(make_corpus(20), tmp_path / "index", hashing)
    path = index.path / "manifest.json"
    value = json.loads(path.read_text())
    del value["metadata"], value["sha256"]
    path.write_text(json.dumps(value | {"version": 3}))
    assert_same(PassageIndex.open(index.path), 20)
    assert PassageIndex.open(index.path).manifest.version == 3


def test_texts_are_not_needed_for_metadata(tmp_path, hashing):
    index = PassageIndex.build(make_corpus(20, metadata=True), tmp_path / "index", hashing, texts=False)
    assert index.metadata_of("d7é")["number"] == 7 and index.matches("number < 3").n == 2


def test_a_rebuild_keeps_metadata(index):
    assert_same(rebuild(index.path, "HNSW4"), 60, metadata=True)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_metadata_is_refused(index, name):
    content = (index.path / name).read_bytes()
    (index.path / name).write_bytes(content[:-9] + b"\7" * 9)
    with pytest.raises(IndexFormatError, match=f"{name} was altered"):
        PassageIndex.open(index.path, check="all")
    (index.path / name).unlink()
    with pytest.raises(IndexFormatError, match=f"{name} is missing"):
        PassageIndex.open(index.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"metadata": {"a": "texts"}}, "got the type 'texts'"), ({"metadata": {"a": 1}}, "metadata")],
)
def test_a_manifest_with_other_types_is_refused(index, change, message):
    path = index.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change | {"sha256": None}))
    with pytest.raises(IndexFormatError, match=message):
        Manifest.read(index.path)


def test_chunks_have_the_metadata_of_their_document(tmp_path, tiny_encoder):
    documents = [
        Passage("d0", "The short one.", metadata={"n": 0}),
        Passage("d1", "Dune is a novel. " * 20, "Title", metadata={"n": 1}),
    ]
    index = PassageIndex.build(documents, tmp_path / "index", tiny_encoder, chunk="40", workers=1)
    assert len(index) > 2
    assert index.matches("n = 1").positions.tolist() == list(range(1, len(index)))


def test_a_fault_is_found_before_anything_is_encoded(tmp_path, hashing):
    passages = [Passage("a", "x", metadata={"n": 1}), Passage("b", "y", metadata={"n": "many"})]
    with pytest.raises(BadInputError, match="record 'b', field 'n': got the text 'many', expected a number"):
        PassageIndex.build(passages, tmp_path / "index", hashing)
    assert hashing.n_encoded == 0


def test_repeated_ids_are_skipped_with_their_metadata(tmp_path):
    lines = ({"_id": key, "text": f"{key} {n}", "n": n} for n, key in enumerate("abab"))
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = open_corpus(tmp_path / "corpus.jsonl", skip_bad=True, metadata="n")
    index = PassageIndex.build(corpus, tmp_path / "index", HashingEncoder())
    assert [index.metadata_of(key) for key in "ab"] == [{"n": 0}, {"n": 1}]
