"""Opening: an index that is damaged, missing or of a newer format is refused, with the differences and the way out."""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, replace

import faiss
import numpy as np
import pytest
from hashing import HashingEncoder, make_corpus

from elasticdenser.errors import EncoderMismatchError, IndexFormatError, QueryError
from elasticdenser.index import PassageIndex, integrity, rebuild
from elasticdenser.index.efforts import Effort
from elasticdenser.index.manifest import FileEntry, Manifest

FILES = ["vectors.f32", "ids.txt", "ids.offsets", "ids.lookup", "passages.jsonl", "passages.offsets", "HNSW4.faiss"]


@pytest.fixture
def index_path(tmp_path, hashing):
    PassageIndex.build(make_corpus(60), tmp_path / "index", hashing, factory="HNSW4")
    return tmp_path / "index"


def way_out(name):
    return r"rebuild .*index" if name.endswith(".faiss") else r"restore these files from a copy.*--overwrite"


def test_threads_are_checked(tmp_path):
    with pytest.raises(QueryError, match="got threads = 0, expected at least 1"):
        PassageIndex.open(tmp_path, threads=0)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [0, -1, +1])
def test_a_file_of_another_size_is_refused(index_path, name, change):
    path = index_path / name
    before = path.stat().st_size
    os.truncate(path, before + change if change else 0)
    with pytest.raises(IndexFormatError, match=rf"{name} has [\d,]+ bytes, expected [\d,]+.*{way_out(name)}"):
        PassageIndex.open(index_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("restored", [False, True])
def test_a_file_altered_by_one_byte_is_refused(index_path, name, restored):
    PassageIndex.open(index_path)
    path = index_path / name
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with open(path, "r+b") as file:
        file.write(content)
    if restored:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(IndexFormatError, match=rf"{name} was altered.*{way_out(name)}"):
        PassageIndex.open(index_path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(index_path, name):
    (index_path / name).unlink()
    with pytest.raises(IndexFormatError, match=rf"{name} is missing.*{way_out(name)}"):
        PassageIndex.open(index_path)


def test_everything_that_is_wrong_is_named(index_path):
    (index_path / "ids.txt").unlink()
    os.truncate(index_path / "HNSW4.faiss", 5)
    with pytest.raises(IndexFormatError, match=r"ids.txt is missing; HNSW4.faiss has 5 bytes.*restore these files"):
        PassageIndex.open(index_path)


def test_sizes_alone_can_be_checked(index_path):
    with open(index_path / "vectors.f32", "r+b") as file:
        file.write(b"\1")
    PassageIndex.open(index_path, check="sizes")
    with pytest.raises(IndexFormatError, match="altered"):
        PassageIndex.open(index_path, check="all")


def edit_manifest(path, **changes):
    manifest = path / "manifest.json"
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**value, **changes}))


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "3", '{"format": "other"}', "\0" * 50])
def test_a_file_that_is_no_manifest_is_refused(index_path, content):
    (index_path / "manifest.json").write_text(content)
    with pytest.raises(IndexFormatError, match=r"manifest.json is (damaged|not the manifest)"):
        PassageIndex.open(index_path)


@pytest.mark.slow
def test_a_manifest_altered_anywhere_is_refused(index_path):
    path = index_path / "manifest.json"
    content = path.read_bytes()
    for offset in range(0, len(content.rstrip()), 13):
        path.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        with pytest.raises(IndexFormatError):
            PassageIndex.open(index_path)
        path.write_bytes(content[:offset])
        with pytest.raises(IndexFormatError):
            PassageIndex.open(index_path)
    path.write_bytes(content)
    assert len(PassageIndex.open(index_path)) == 60


def test_a_manifest_of_a_newer_format_is_refused(index_path):
    edit_manifest(index_path, version=7, novelty=1)
    with pytest.raises(
        IndexFormatError, match=r"format version 7, this elasticdenser reads up to 6: install a newer elasticdenser"
    ):
        PassageIndex.open(index_path)


def test_a_manifest_of_the_first_format_is_read(index_path):
    manifest = json.loads((index_path / "manifest.json").read_bytes())
    *_, effort = manifest["structure"].pop("efforts")
    del effort["part"]
    (file,) = manifest["structure"].pop("files")
    edit_manifest(index_path, version=1, structure=manifest["structure"] | effort | {"file": file}, sha256=None)
    index = PassageIndex.open(index_path)
    assert index.manifest.structure.efforts == (Effort(**effort),)
    assert index.search(index.vectors[:1], 3)[1][0, 0] == 0
    edit_manifest(index_path, structure=manifest["structure"] | {"efforts": []})
    with pytest.raises(IndexFormatError, match="no search effort"):
        PassageIndex.open(index_path)


def test_a_manifest_with_unknown_keys_or_wrong_values_is_refused(index_path):
    undamaged = (index_path / "manifest.json").read_bytes()
    files = json.loads(undamaged)["files"]
    without_ids = {name: files[name] for name in files if name != "ids.txt"}
    for changes, what in [
        ({"novelty": 1}, "unknown key 'novelty'"),
        ({"files": []}, "damaged"),
        ({"encoder": None}, "damaged"),
        ({"n_passages": 59}, "altered"),
    ]:
        edit_manifest(index_path, **changes)
        with pytest.raises(IndexFormatError, match=rf"manifest.json is damaged.*{what}|{what}.*"):
            PassageIndex.open(index_path)
        (index_path / "manifest.json").write_bytes(undamaged)
    manifest = Manifest.read(index_path)
    for broken in (replace(manifest, n_passages=59), replace(manifest, dim=15)):
        broken.write(index_path)
        with pytest.raises(IndexFormatError, match=r"it lists vectors.f32 with .* bytes, expected"):
            PassageIndex.open(index_path)
    replace(manifest, files={name: manifest.files[name] for name in without_ids}).write(index_path)
    with pytest.raises(IndexFormatError, match=r"does not list ids.txt"):
        PassageIndex.open(index_path)


def test_manifest_reads_back(index_path):
    manifest = Manifest.read(index_path)
    manifest.write(index_path)
    assert asdict(Manifest.read(index_path)) == asdict(manifest)


def test_a_folder_that_is_no_index_is_refused(tmp_path):
    with pytest.raises(IndexFormatError, match="does not exist: build an index with"):
        PassageIndex.open(tmp_path / "absent")
    with pytest.raises(IndexFormatError, match=r"is not an index: it holds no manifest.json"):
        PassageIndex.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(IndexFormatError, match=r"is a file, expected the folder of an index: build one with"):
        PassageIndex.open(tmp_path / "file")


def count_hashed(monkeypatch):
    hashed = []
    sha256_of = integrity.sha256_of
    monkeypatch.setattr(integrity, "sha256_of", lambda path: hashed.append(path.name) or sha256_of(path))
    return hashed


def test_files_are_read_once(index_path, monkeypatch):
    hashed = count_hashed(monkeypatch)
    PassageIndex.open(index_path)
    assert hashed == []
    copy = shutil.copytree(index_path, index_path.with_name("copy"))
    PassageIndex.open(copy)
    assert sorted(hashed) == sorted(FILES)
    PassageIndex.open(copy)
    assert len(hashed) == len(FILES)
    (copy / ".checked.json").write_text("torn")
    PassageIndex.open(copy)
    assert len(hashed) == 2 * len(FILES)
    shutil.move(copy, index_path.with_name("moved"))
    PassageIndex.open(index_path.with_name("moved"))
    assert len(hashed) == 2 * len(FILES)


def test_another_encoder_is_refused(index_path):
    PassageIndex.open(index_path, encoder=HashingEncoder().fingerprint)
    with pytest.raises(EncoderMismatchError, match=r"index against encoder: weights_sha256: '00+' against '11+'"):
        PassageIndex.open(index_path, encoder=HashingEncoder(weights="1" * 64).fingerprint)


def test_an_index_without_texts_has_no_passages(tmp_path, hashing):
    index = PassageIndex.build(make_corpus(6), tmp_path / "index", hashing, texts=False)
    assert not index.has_texts
    assert not (tmp_path / "index" / "passages.jsonl").exists()
    with pytest.raises(IndexFormatError, match="holds no texts"):
        index.passage("d3é")
    os.truncate(tmp_path / "index" / "ids.txt", 3)
    with pytest.raises(IndexFormatError, match=r"ids.txt has 3 bytes"):
        PassageIndex.open(tmp_path / "index")


def test_ids_and_passages_are_found(index_path):
    index = PassageIndex.open(index_path)
    assert index.positions(["d3é", "d59é", "d0é"]).tolist() == [3, 59, 0]
    assert index.passage("d3é").text == "passage number 3"
    for unknown in ("d3", "", "\ud800", "d3é\n"):
        with pytest.raises(QueryError, match="1 of 2 document ids are not in the index"):
            index.positions(["d3é", unknown])


def test_damaged_structure_is_healed_by_rebuild(index_path):
    queries = HashingEncoder().encode(["q"])
    before = PassageIndex.open(index_path).search(queries, 5)
    for harm in (lambda path: path.unlink(), lambda path: os.truncate(path, 100)):
        harm(next(index_path.glob("*.faiss")))
        with pytest.raises(IndexFormatError, match="rebuild"):
            PassageIndex.open(index_path)
        healed = rebuild(index_path, "HNSW4")
        assert all(np.array_equal(*pair) for pair in zip(before, healed.search(queries, 5), strict=True))
        assert len(list(index_path.glob("*.faiss"))) == 1
    os.truncate(index_path / "vectors.f32", 100)
    with pytest.raises(IndexFormatError, match=r"vectors.f32.*restore"):
        rebuild(index_path, "HNSW4")


def test_rebuild_to_other_structures_and_back(index_path, monkeypatch):
    for factory in ("Flat", "HNSW8", "HNSW8", "IVF2,Flat", "Flat"):
        index = rebuild(index_path, factory)
        assert index.manifest.structure.factory == factory
        assert {entry.name for entry in index_path.iterdir()} == {
            *index.manifest.files,
            "manifest.json",
            ".checked.json",
        }


def test_a_structure_of_other_vectors_is_refused(index_path):
    faiss.write_index(faiss.IndexFlatIP(16), str(index_path / "HNSW4.faiss"))
    manifest = Manifest.read(index_path)
    entry = FileEntry.of(index_path / "HNSW4.faiss")
    replace(manifest, files={**manifest.files, "HNSW4.faiss": entry}).write(index_path)
    with pytest.raises(IndexFormatError, match=r"holds 0 x 16 vectors, expected 60 x 16: .*rebuild"):
        PassageIndex.open(index_path)


def test_format_is_as_documented(index_path):
    """The lines of indexes/README.md."""
    manifest = json.loads((index_path / "manifest.json").read_text())
    vectors = np.memmap(index_path / "vectors.f32", dtype="<f4", mode="r").reshape(-1, manifest["dim"])
    with open(index_path / "ids.txt", encoding="utf-8", newline="\n") as file:
        ids = file.read().split("\n")[:-1]
    index = PassageIndex.open(index_path)
    assert np.array_equal(vectors, index.vectors)
    assert ids == list(index.doc_ids)
    own = manifest.pop("sha256")
    assert own == hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    assert set(manifest["files"]) == set(FILES)
