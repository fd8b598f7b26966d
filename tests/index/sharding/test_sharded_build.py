"""Building of sharded indexes in one process: what they hold, faults of the corpus, and continuing after a kill."""

import gzip
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hashing import HashingEncoder, assert_same, make_corpus, make_passages, write_jsonl

from elasticdenser.datasets import open_corpus
from elasticdenser.errors import BadInputError, BuildError
from elasticdenser.index import PassageIndex
from elasticdenser.index.layout import building_folder
from elasticdenser.index.repeated_ids import hashes_in_several


@pytest.fixture
def corpus(tmp_path):
    return open_corpus(write_jsonl(tmp_path / "corpus.jsonl", make_passages(60)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index"


class Killed(BaseException):
    """End of a process, as far as a test in one process can imitate it."""


class KilledAfter(HashingEncoder):
    """Encoder that ends the process after so many windows."""

    def __init__(self, n_windows):
        super().__init__()
        self.left = n_windows

    def encode(self, texts):
        if not self.left:
            raise Killed
        self.left -= 1
        return super().encode(texts)


@pytest.mark.slow
def test_shards_are_the_corpus(corpus, path):
    index = PassageIndex.build(corpus, path, HashingEncoder(), shards=4)
    assert_same(PassageIndex.open(path, check="all"), 60)
    assert len(index.contents.segments) == 4
    assert {entry.name for entry in path.iterdir()} == {"manifest.json", "shards", ".checked.json"}
    assert not building_folder(path).exists()


def test_one_shard_is_enough(corpus, path):
    assert_same(PassageIndex.build(corpus, path, HashingEncoder(), shards=1), 60)


def test_opening_does_not_read_all_files_again(corpus, path, monkeypatch):
    PassageIndex.build(corpus, path, HashingEncoder(), shards=3)
    monkeypatch.setattr("elasticdenser.index.integrity.sha256_of", lambda path: pytest.fail(f"read {path}"))
    PassageIndex.open(path)


@pytest.mark.slow
def test_chunks_are_those_of_one_index(corpus, path, tmp_path, tiny_model):
    from elasticdenser.encoders import PassageEncoder

    encoder = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32")
    passages = [replace(passage, text=". ".join([passage.text] * 5)) for passage in make_passages(20)]
    long = open_corpus(write_jsonl(tmp_path / "long.jsonl", passages))
    whole = PassageIndex.build(long, tmp_path / "whole", encoder, chunk="16/4", workers=1)
    sharded = PassageIndex.build(long, path, encoder, chunk="16/4", shards=3, workers=1)
    assert list(sharded.doc_ids) == list(whole.doc_ids)
    assert sharded.manifest.n_documents == 20
    assert np.allclose(sharded.vectors, whole.vectors, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("n_windows", [0, 1, 4, 5])
def test_a_killed_build_continues(corpus, path, small_windows, n_windows):
    with pytest.raises(Killed):
        PassageIndex.build(corpus, path, KilledAfter(n_windows), shards=3)
    assert not path.exists()
    encoder = HashingEncoder()
    assert_same(PassageIndex.build(corpus, path, encoder, shards=3), 60)
    n_passages_of_windows = [10, 10, 1, 10, 10]  # shards of 21, 20 and 19 passages or so: two windows and a bit
    assert encoder.n_encoded >= 60 - sum(n_passages_of_windows[:n_windows]) - 10
    if n_windows:
        assert encoder.n_encoded < 60


@pytest.mark.slow
def test_the_same_command_does_nothing_once_more(corpus, path):
    PassageIndex.build(corpus, path, HashingEncoder(), shards=3)
    encoder = HashingEncoder()
    before = (path / "manifest.json").read_bytes()
    PassageIndex.build(corpus, path, encoder, shards=3)
    assert encoder.n_encoded == 0
    assert (path / "manifest.json").read_bytes() == before
    assert not building_folder(path).exists()


@pytest.mark.slow
def test_another_number_of_shards_is_refused_and_overwrites(corpus, path):
    PassageIndex.build(corpus, path, HashingEncoder(), shards=3)
    with pytest.raises(BuildError, match="shards: 2 against 3"):
        PassageIndex.build(corpus, path, HashingEncoder(), shards=2)
    index = PassageIndex.build(corpus, path, HashingEncoder(), shards=2, overwrite=True)
    assert len(index.contents.segments) == 2
    assert_same(index, 60)


def test_an_ordinary_index_is_not_replaced_unasked(corpus, path):
    PassageIndex.build(corpus, path, HashingEncoder())
    with pytest.raises(BuildError, match="shards: 3 against none"):
        PassageIndex.build(corpus, path, HashingEncoder(), shards=3)
    assert_same(PassageIndex.open(path, check="all"), 60)


@pytest.mark.slow
def test_an_unfinished_build_of_another_corpus_is_refused(corpus, path, tmp_path, small_windows):
    with pytest.raises(Killed):
        PassageIndex.build(corpus, path, KilledAfter(2), shards=3)
    other = open_corpus(write_jsonl(tmp_path / "other.jsonl", make_passages(50)))
    with pytest.raises(BuildError, match=r"unfinished build of something else .*corpus.*--restart"):
        PassageIndex.build(other, path, HashingEncoder(), shards=3)
    assert_same(PassageIndex.build(other, path, HashingEncoder(), shards=3, restart=True), 50)


def test_an_unfinished_ordinary_build_is_refused(corpus, path, small_windows):
    with pytest.raises(Killed):
        PassageIndex.build(corpus, path, KilledAfter(2))
    with pytest.raises(BuildError, match="not of a build of shards"):
        PassageIndex.build(corpus, path, HashingEncoder(), shards=3)


def test_an_id_in_two_shards_is_the_error_of_one_index(tmp_path, path):
    passages = make_passages(60)
    corpus = open_corpus(write_jsonl(tmp_path / "corpus.jsonl", [*passages, passages[2]]))
    messages = []
    for shards in (None, 4):
        encoder = HashingEncoder()
        with pytest.raises(BadInputError) as error:
            PassageIndex.build(corpus, path, encoder, shards=shards)
        messages.append(str(error.value))
        assert encoder.n_encoded == 0
        shutil.rmtree(building_folder(path), ignore_errors=True)
    assert messages[0] == messages[1]
    assert "corpus.jsonl:61: id 'd2é' is already that of" in messages[0]


@pytest.mark.slow
def test_bad_lines_are_skipped_but_not_ids_of_other_shards(tmp_path, path):
    file = write_jsonl(tmp_path / "corpus.jsonl", make_passages(60))
    first, *_ = file.read_text().splitlines()
    with open(file, "a", encoding="utf-8") as output:
        output.write("not JSON\n")
    index = PassageIndex.build(open_corpus(file, skip_bad=True), path, HashingEncoder(), shards=3)
    assert_same(index, 60)
    assert index.manifest.corpus["skipped"] == {"not JSON": 1}
    with open(file, "a", encoding="utf-8") as output:
        output.write(first + "\n")
    with pytest.raises(BadInputError, match="1 ids are in several shards, such as 'd0é'"):
        PassageIndex.build(open_corpus(file, skip_bad=True), path, HashingEncoder(), shards=3, overwrite=True)
    assert_same(PassageIndex.open(path), 60)


@pytest.mark.slow
def test_a_corrected_corpus_is_built_without_restart(tmp_path, path):
    file = write_jsonl(tmp_path / "corpus.jsonl", make_passages(60))
    good = file.read_text()
    file.write_text(good + "not JSON\n")
    with pytest.raises(BadInputError, match="not JSON"):
        PassageIndex.build(open_corpus(file), path, HashingEncoder(), shards=3)
    file.write_text(good)
    assert_same(PassageIndex.build(open_corpus(file), path, HashingEncoder(), shards=3), 60)


def test_a_compressed_file_is_refused(tmp_path, path):
    file = tmp_path / "corpus.jsonl.gz"
    file.write_bytes(gzip.compress(write_jsonl(tmp_path / "corpus.jsonl", make_passages(9)).read_bytes()))
    with pytest.raises(BadInputError, match="stays whole"):
        PassageIndex.build(open_corpus(file), path, HashingEncoder(), shards=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 0}, "0 shards"),
        ({"ray": "local"}, "--ray without --shards"),
    ],
)
def test_what_shards_do_not_have_is_refused(corpus, path, options, message):
    with pytest.raises(BuildError, match=message):
        PassageIndex.build(corpus, path, HashingEncoder(), **options)
    assert not building_folder(path).exists()


def write_records(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.slow
def test_metadata_and_words_are_those_of_one_index(tmp_path, path):
    lines = [
        {"_id": f"d{n}", "text": f"word{n % 7} common", "n": n, "day": "2026-01-01" if n < 30 else "some day"}
        for n in range(60)
    ]
    file = write_records(tmp_path / "corpus.jsonl", lines)
    options = {"metadata": "n,day", "hybrid": True}
    one = PassageIndex.build(open_corpus(file), tmp_path / "one", HashingEncoder(), **options)
    index = PassageIndex.build(open_corpus(file), path, HashingEncoder(), shards=3, **options)
    assert {name: str(kind) for name, kind in index.fields.items()} == {"n": "number", "day": "text"}
    for filter in ("n >= 10 and n < 50", "day = '2026-01-01'", "day = 'some day' and n > 55"):
        for mine, theirs in zip(
            index.search(one.vectors[:3], 10, filter=filter),
            one.search(one.vectors[:3], 10, filter=filter),
            strict=True,
        ):
            assert np.array_equal(mine, theirs)
    for query in ("word3", "word1 common"):
        mine, theirs = (own.lexical.search(query, 10) for own in (index, one))
        assert all(np.array_equal(*pair) for pair in zip(mine, theirs, strict=True))
    assert index.metadata_of("d31") == {"n": 31, "day": "some day"}
    assert PassageIndex.build(open_corpus(file), path, HashingEncoder(), shards=3, **options).generation == 0
    with pytest.raises(BuildError, match="words: stemmer none against porter"):
        PassageIndex.build(open_corpus(file), path, HashingEncoder(), shards=3, metadata="n,day")
    with pytest.raises(BuildError, match="metadata"):
        PassageIndex.build(open_corpus(file), path, HashingEncoder(), shards=3, hybrid=True)


@pytest.mark.slow
def test_a_named_field_may_be_missing_in_a_range_but_not_in_all(tmp_path, path):
    lines = [{"_id": f"d{n:02}", "text": f"text {n:02}"} | ({"n": n} if n < 20 else {"m": True}) for n in range(60)]
    for number in range(3):
        header = "_id,text,n\n" if number == 0 else "_id,text,m\n"
        rows = "".join(f"{row['_id']},{row['text']},{row.get('n', '')}\n" for row in lines[20 * number :][:20])
        (tmp_path / f"{number}.csv").write_text(header + rows)
    for source in ([write_records(tmp_path / "corpus.jsonl", lines)], sorted(tmp_path.glob("*.csv"))):
        options = {"shards": 3, "restart": True, "overwrite": True}
        with pytest.raises(BadInputError, match=r"no record of the corpus .* has a field 'nope': .* _id, m, n, text;"):
            PassageIndex.build(open_corpus(source), path, HashingEncoder(), metadata="n:number,nope", **options)
        index = PassageIndex.build(open_corpus(source), path, HashingEncoder(), metadata="n:number", **options)
        assert [shard.manifest.metadata for shard in index.contents.segments] == [{"n": "number"}] * 3
        assert index.matches("n >= 5").n == 15 and index.matches("n is null").n == 40
        assert index.metadata_of("d19") == {"n": 19} and index.metadata_of("d20") == {}


def test_metadata_of_other_types_in_other_shards_is_refused(tmp_path, path):
    lines = [{"_id": f"d{n:02}", "text": f"text {n:02}", "n": 1000 if n < 30 else True} for n in range(60)]
    file = write_records(tmp_path / "corpus.jsonl", lines)
    with pytest.raises(BadInputError, match=r"'n' is of type number in one shard and boolean in another"):
        PassageIndex.build(open_corpus(file), path, HashingEncoder(), shards=2, metadata="n")


def test_a_corpus_in_memory_is_refused(path):
    with pytest.raises(BadInputError, match="in memory"):
        PassageIndex.build(make_corpus(10), path, HashingEncoder(), shards=2)


@pytest.mark.slow
def test_codebooks_are_shared(tmp_path, path, monkeypatch):
    import faiss

    corpus = open_corpus(write_jsonl(tmp_path / "corpus.jsonl", make_passages(900)))
    factory = "IVF4,PQ4x4fs + PQ4x4fs"
    index = PassageIndex.build(corpus, path, HashingEncoder(), shards=3, factory=factory)
    codebooks = index.contents.sharded.codebooks
    assert codebooks.factory == factory and codebooks.n_sampled == 900
    assert set(codebooks.files) == {"codebooks/0.faiss", "codebooks/1.faiss"}
    trained = faiss.read_index(str(path / "codebooks/1.faiss"))
    for shard in index.contents.segments:
        own = faiss.read_index(str(path / shard.path / shard.manifest.structure.files[1]))
        assert np.array_equal(faiss.vector_to_array(own.pq.centroids), faiss.vector_to_array(trained.pq.centroids))
    assert_same(PassageIndex.open(path, check="all"), 900)


@pytest.mark.slow
def test_a_build_killed_after_its_codebooks_derives_only_the_rest(tmp_path, path, monkeypatch):
    from elasticdenser.index.sharding import tasks

    corpus = open_corpus(write_jsonl(tmp_path / "corpus.jsonl", make_passages(900)))
    options = {"shards": 3, "factory": "IVF4,Flat"}
    rebuilt = []

    def rebuild_two(folder, *args, **more):
        if len(rebuilt) == 2:
            raise Killed
        rebuilt.append(folder.name)
        return original(folder, *args, **more)

    original = tasks.rebuild_derived
    monkeypatch.setattr(tasks, "rebuild_derived", rebuild_two)
    with pytest.raises(Killed):
        PassageIndex.build(corpus, path, HashingEncoder(), **options)
    monkeypatch.setattr(tasks, "rebuild_derived", original)
    monkeypatch.setattr("elasticdenser.index.sharding.codebooks.train_structure", lambda *_: pytest.fail("trained"))
    encoder = HashingEncoder()
    index = PassageIndex.build(corpus, path, encoder, **options)
    assert encoder.n_encoded == 0 and rebuilt == ["00000", "00001"]
    assert {shard.manifest.structure.factory for shard in index.contents.segments} == {"IVF4,Flat"}
    assert_same(PassageIndex.open(path, check="all"), 900)


def test_hashes_in_several_parts_are_found():
    rng = np.random.default_rng(0)
    parts = [np.sort(rng.integers(0, 2**64, size, np.uint64)) for size in (1000, 1, 700)]
    parts[0] = np.sort(np.append(parts[0], parts[0][5]))  # repeated within a part: none of several
    shared = np.sort(np.array([parts[0][7], parts[2][9], 0, 2**64 - 1], np.uint64))
    parts = [np.sort(np.concatenate([part, shared])) for part in parts[:2]] + [parts[2]]
    for at_once in (1, 10, 10_000):
        assert np.array_equal(hashes_in_several(parts, at_once), shared)
    assert len(hashes_in_several(parts[:1])) == 0
