"""The manifest of a sharded index, what is checked of it, and what is refused."""

import json
import shutil

import pytest
from hashing import HashingEncoder, assert_same, make_corpus, make_passages
from sharded import make_sharded

from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex, rebuild
from elasticdenser.index.changes import add_passages
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.manifest import write_manifest
from elasticdenser.index.sharding.manifest import shard_folder


@pytest.fixture
def path(tmp_path):
    make_sharded(tmp_path / "index", make_passages(25), HashingEncoder(), 3)
    return tmp_path / "index"


def altered(path, **changes):
    value = json.loads((path / "manifest.json").read_text())
    del value["sha256"]
    write_manifest(path, {**value, **changes})


def test_a_sharded_index_is_read_as_one(path):
    index = PassageIndex.open(path, check="all")
    assert_same(index, 25)
    assert [segment.n_passages for segment in index.contents.segments] == [8, 8, 9]
    assert index.manifest.n_passages == index.contents.sharded.n_passages == 25
    assert index.manifest.version == 6


def test_each_shard_is_an_index(path):
    shard = PassageIndex.open(shard_folder(path, "00001"), check="all")
    assert list(shard.doc_ids) == [passage.doc_id for passage in make_passages(25)[8:16]]


def test_damage_of_a_shard_is_found_and_named(path):
    file = path / "shards/00002/vectors.f32"
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(content)
    with pytest.raises(IndexFormatError, match=r"shards/00002/vectors\.f32 was altered"):
        PassageIndex.open(path, check="all")


def test_a_missing_shard_is_named(path):
    shutil.rmtree(path / "shards/00001")
    with pytest.raises(IndexFormatError, match="00001"):
        PassageIndex.open(path)


def test_a_changed_shard_is_refused(path):
    shard = shard_folder(path, "00001")
    PassageIndex.open(shard).delete(["d9é"])
    with pytest.raises(IndexFormatError, match="not the one in the manifest of the index"):
        PassageIndex.open(path)


def test_a_shard_of_another_encoder_is_refused(path):
    PassageIndex.build(make_corpus(5, "other"), path / "shards/00003", HashingEncoder(weights="1" * 64))
    value = json.loads((path / "manifest.json").read_text())
    entry = {
        "name": "00003",
        "n_passages": 5,
        "manifest": {
            "bytes": (path / "shards/00003/manifest.json").stat().st_size,
            "sha256": sha256_of(path / "shards/00003/manifest.json"),
        },
    }
    altered(path, shards=[*value["shards"], entry])
    with pytest.raises(IndexFormatError, match="weights_sha256"):
        IndexContents.read(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": []},
        {"version": 7},
        {"unknown": 1},
        {"shards": [{"name": "../x", "n_passages": 1, "manifest": {"bytes": 1, "sha256": "0"}}]},
        {"codebooks": {"factory": "x", "n_sampled": 1, "files": {"../x": {"bytes": 1, "sha256": "0"}}}},
    ],
)
def test_a_wrong_manifest_is_refused(path, changes):
    altered(path, **changes)
    with pytest.raises(IndexFormatError):
        IndexContents.read(path)


def test_a_wrong_number_of_passages_is_refused(path):
    shards = json.loads((path / "manifest.json").read_text())["shards"]
    shards[1]["n_passages"] += 1
    altered(path, shards=shards)
    with pytest.raises(IndexFormatError, match="got 8 passages, but 9 in the manifest"):
        IndexContents.read(path)


def test_an_id_in_two_shards_is_found(tmp_path):
    passages = make_passages(10)
    with pytest.raises(IndexFormatError, match="ids are in two parts"):
        make_sharded(tmp_path / "index", [*passages[:5], *passages[4:]], HashingEncoder(), 2)
        PassageIndex.open(tmp_path / "index", check="all")


@pytest.mark.parametrize(
    "change",
    [
        lambda path: add_passages(path, make_corpus(3, "new"), HashingEncoder()),
        lambda path: PassageIndex.open(path).delete(["d1é"]),
        lambda path: PassageIndex.open(path).compact(),
        lambda path: rebuild(path),
        lambda path: rebuild(path, hybrid=True),
    ],
)
def test_changes_are_refused(path, change):
    before = (path / "manifest.json").read_bytes()
    with pytest.raises(BuildError, match="3 shards, which are never changed"):
        change(path)
    assert (path / "manifest.json").read_bytes() == before
    assert_same(PassageIndex.open(path, check="all"), 25)


def test_a_snapshot_is_a_sharded_index(path, tmp_path):
    PassageIndex.open(path).snapshot(tmp_path / "copy")
    shutil.rmtree(path)
    assert_same(PassageIndex.open(tmp_path / "copy", check="all"), 25)
