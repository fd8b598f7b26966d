"""Copies of indexes at URLs, and back: the same files, continued after an interruption, damage noticed."""

import fsspec
import pytest
from hashing import HashingEncoder, assert_same, make_corpus, make_passages
from sharded import make_sharded

from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex
from elasticdenser.index.remote import download, is_url, upload


@pytest.fixture
def sharded(tmp_path):
    make_sharded(tmp_path / "index", make_passages(25), HashingEncoder(), 3)
    return tmp_path / "index"


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    fsspec.filesystem("memory").store.clear()
    return f"file://{tmp_path}/store/mine" if request.param == "file" else "memory://store/mine"


def test_a_sharded_index_goes_to_a_url_and_back(sharded, url, tmp_path):
    upload(sharded, url)
    download(url, tmp_path / "copy")
    assert_same(PassageIndex.open(tmp_path / "copy", check="all"), 25)
    assert (tmp_path / "copy/manifest.json").read_bytes() == (sharded / "manifest.json").read_bytes()
    assert not (tmp_path / "copy.building").exists()


def test_indexes_of_one_folder_and_of_segments_too(tmp_path, url):
    index = PassageIndex.build(make_corpus(9), tmp_path / "index", HashingEncoder())
    upload(tmp_path / "index", f"{url}/1")
    assert_same(PassageIndex.open(download(f"{url}/1", tmp_path / "one").folder), 9)
    index.delete(["d8é"])
    upload(tmp_path / "index", f"{url}/2")
    assert_same(PassageIndex.open(download(f"{url}/2", tmp_path / "two").folder), 8)


def test_nothing_is_overwritten(sharded, url, tmp_path):
    upload(sharded, url)
    with pytest.raises(BuildError, match="holds an index"):
        upload(sharded, url)
    (tmp_path / "copy").mkdir()
    with pytest.raises(BuildError, match="copy exists"):
        download(url, tmp_path / "copy")


def test_an_interrupted_copy_is_no_index_and_is_continued(sharded, url, tmp_path):
    def interrupt(step, done, of):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upload(sharded, url, interrupt)
    with pytest.raises(BuildError, match="holds no such index"):
        download(url, tmp_path / "copy")
    store, root = fsspec.core.url_to_fs(url)
    store.pipe_file(f"{root}/shards/00000/vectors.f32", b"torn")
    upload(sharded, url)
    with pytest.raises(KeyboardInterrupt):
        download(url, tmp_path / "copy", interrupt)
    assert not (tmp_path / "copy").exists()
    download(url, tmp_path / "copy")
    assert_same(PassageIndex.open(tmp_path / "copy", check="all"), 25)


def test_a_damaged_copy_is_refused_and_fetched_again(sharded, url, tmp_path):
    upload(sharded, url)
    store, root = fsspec.core.url_to_fs(url)
    whole = store.cat_file(f"{root}/shards/00001/ids.txt")
    store.pipe_file(f"{root}/shards/00001/ids.txt", b"x" * len(whole))
    with pytest.raises(IndexFormatError, match=r"shards/00001/ids\.txt is missing"):
        download(url, tmp_path / "copy")
    store.pipe_file(f"{root}/shards/00001/ids.txt", whole)
    download(url, tmp_path / "copy")
    assert_same(PassageIndex.open(tmp_path / "copy", check="all"), 25)


def test_a_place_that_is_not_known_is_refused(sharded):
    with pytest.raises(BuildError, match="nowhere://x"):
        upload(sharded, "nowhere://x")
    assert is_url("s3://a/b") and not is_url("indexes/mine")
