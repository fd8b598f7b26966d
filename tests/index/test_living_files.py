"""Files of an index that is changed: what damages them is found, what is left over goes, and they can be copied."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hashing import make_passages
from living_indexes import assert_holds, assert_tidy, passage

from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.exchange import export_index
from elasticdenser.index.locking import exclusive_lock


@pytest.fixture
def index(small_index):
    return PassageIndex.open(small_index)


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


@pytest.mark.slow
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
    with pytest.raises(BuildError, match="is the index itself"):
        index.snapshot(index.path)
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


def test_an_index_that_was_changed_is_exported(index, hashing, tmp_path):
    import faiss

    changed = index.add([passage("new")], encoder=hashing).delete(["d1é"])
    export_index(changed, tmp_path / "out")
    assert (tmp_path / "out" / "docid").read_text().split("\n")[:-1] == list(changed.doc_ids)
    exported = faiss.read_index(str(tmp_path / "out" / "index"))
    assert np.array_equal(exported.reconstruct_n(0, 60), np.asarray(changed.vectors))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"index", "docid"}


@pytest.mark.slow
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


def test_an_id_in_two_segments_is_found(index, hashing):
    index.add([passage("d1é", "other")], encoder=hashing)
    contents = IndexContents.read(index.path)
    segments = [replace(entry, deleted=None) for entry in contents.generation.segments]
    replace(contents.generation, segments=tuple(segments)).write(index.path)
    with pytest.raises(IndexFormatError, match="1 ids are in two parts of it, such as 'd1é'"):
        PassageIndex.open(index.path, check="all")
