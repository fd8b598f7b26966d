"""Additions that also delete what has vanished from the folder that an index was made of."""

import os

import pytest
from hashing import HashingEncoder

from elasticdenser.datasets import open_corpus
from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.changes import add_passages
from elasticdenser.models.settings import EncoderSettings


@pytest.fixture
def folder(tmp_path):
    docs = tmp_path / "docs"
    (docs / "sub dir").mkdir(parents=True)
    (docs / "guide.md").write_text("# Guide\n\nfirst\n\n## Install\n\nsecond\n\n## Run\n\nthird\n")
    (docs / "sub dir" / "notes.txt").write_text("some notes")
    (docs / "old.md").write_text("# Old\n\nno longer true\n")
    return docs


class WordEncoder(HashingEncoder):
    """Encoder that counts words, so that documents can be cut."""

    settings = EncoderSettings(pooling="mean", normalize=True, max_length=64, dim=16)

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


@pytest.fixture(params=[None, "8"])
def path(request, folder, tmp_path):
    PassageIndex.build(str(folder), tmp_path / "index", WordEncoder(), chunk=request.param)
    return tmp_path / "index"


def prune(path, folder, **options):
    return add_passages(path, open_corpus(folder), WordEncoder(), prune=folder, **options)


def documents(path):
    index = PassageIndex.open(path)
    is_cut = index.manifest.chunking is not None
    return {doc_id.rpartition("#")[0] if is_cut else doc_id for doc_id in index.doc_ids}


ALL = {"guide.md", "guide.md#install", "guide.md#run", "sub_dir/notes.txt", "old.md"}


def test_vanished_sections_and_files_are_deleted_with_the_additions_in_one_generation(path, folder):
    assert documents(path) == ALL
    (folder / "guide.md").write_text("# Guide\n\nfirst\n\n## Install\n\nchanged\n")
    (folder / "old.md").unlink()
    (folder / "new.md").write_text("# New\n\nfresh\n")
    planned = prune(path, folder, dry_run=True)
    assert (planned.added, planned.replaced, planned.unchanged, planned.deleted) == (1, 1, 2, 2)
    assert documents(path) == ALL and PassageIndex.open(path).generation == planned.generation == 0
    first = PassageIndex.open(path).delete(["nothing", "sub_dir/notes.txt"], missing_ok=True, compact=False)
    done = prune(path, folder)
    assert (done.added, done.replaced, done.unchanged, done.deleted) == (2, 1, 1, 2)
    assert done.generation == first.generation + 1
    assert documents(path) == ALL - {"guide.md#run", "old.md"} | {"new.md"}
    again = prune(path, folder)
    assert (again.added, again.replaced, again.deleted, again.generation) == (0, 0, 0, done.generation)


def test_deletions_alone_are_a_generation_too(path, folder):
    (folder / "old.md").unlink()
    done = prune(path, folder)
    assert done.deleted == 1 and done.generation == PassageIndex.open(path).generation > 0
    assert documents(path) == ALL - {"old.md"}


def test_without_pruning_nothing_is_deleted(path, folder):
    (folder / "old.md").unlink()
    add_passages(path, open_corpus(folder), WordEncoder())
    assert documents(path) == ALL


def test_an_index_with_documents_from_elsewhere_is_refused(path, folder):
    PassageIndex.open(path).add([{"_id": "d1", "text": "from elsewhere"}], encoder=WordEncoder(), compact=False)
    (folder / "old.md").unlink()
    with pytest.raises(
        QueryError, match=r"was made of docs \+ .*, expected only the folder docs: .* `elasticdenser del"
    ):
        prune(path, folder)
    assert documents(path) == {*ALL, "d1"}
    other = folder.rename(folder.with_name("others"))
    with pytest.raises(QueryError, match="expected only the folder others"):
        prune(path, other)


def test_empty_missing_and_half_empty_folders_are_refused(path, folder):
    (folder / "guide.md").unlink()
    with pytest.raises(QueryError, match=r"3 of the 5 documents of .* are not in .*docs, which is too many to prune"):
        prune(path, folder)
    for file in ("old.md", "sub dir/notes.txt"):
        (folder / file).unlink()
    with pytest.raises(BadInputError, match="holds no file to read"):
        prune(path, folder)
    with pytest.raises(BadInputError):
        prune(path, folder / "nowhere")
    assert documents(path) == ALL


def test_documents_of_a_file_that_cannot_be_read_now_are_kept(path, folder):
    (folder / "old.md").write_bytes(b"\xff\xfe\x00")
    (folder / "sub dir" / "notes.txt").write_bytes(os.urandom(8) + b"\0")
    assert prune(path, folder).deleted == 0
    assert documents(path) == ALL
