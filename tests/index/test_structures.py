"""Search structures: the choice of `auto`, structures of several parts, and a new form in one class."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hashing import GivenVectors, make_corpus, unit_vectors

from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex, rebuild
from elasticdenser.index.efforts import Effort
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.structures import choose_factory, registry


@pytest.mark.parametrize(
    ("n_passages", "dim", "factory"),
    [
        (10_000, 384, "Flat"),
        (10_001, 384, "IVF128,PQ96x4fs + PQ96x4fs"),
        (191_490, 384, "IVF512,PQ96x4fs + PQ96x4fs"),
        (1_000_000, 30, "IVF1024,PQ15x4fs + PQ15x4fs"),
        (1_000_001, 384, "IVF4096,PQ192x4fs"),
        (50_000, 31, "Flat"),
    ],
)
def test_auto_chooses_by_passages_and_dimensions(n_passages, dim, factory):
    assert choose_factory(n_passages, dim) == factory


def test_the_number_of_candidates_grows_with_k():
    effort = Effort(rescored=128)
    assert [effort.n_candidates(k) for k in (1, 10, 100, 1000)] == [119, 128, 763, 4731]
    assert Effort(rescored=5).n_candidates(10) == 10


@pytest.mark.parametrize("factory", ["Flat + IVF4,Flat", "IVF4,Flat + Flat", "HNSW4 + IVF4,Flat"])
def test_parts_with_and_without_files(index_of, factory):
    vectors = unit_vectors(500, 16)
    index = index_of(vectors, factory)
    again = PassageIndex.open(index.path)
    assert again.manifest.structure.factory == factory
    assert len(again.manifest.structure.files) == sum(part != "Flat" for part in factory.split(" + "))
    for effort in again.manifest.structure.efforts:
        _, positions = again.search(vectors[:20], 1, recall=effort.recall_at_10)
        assert (positions[:, 0] == np.arange(20)).mean() > 0.8


def test_fewer_files_than_parts_are_refused(index_of):
    index = index_of(unit_vectors(300, 16), "IVF4,Flat")
    manifest = json.loads((index.path / "manifest.json").read_text())
    manifest["structure"]["factory"] = "IVF4,Flat + HNSW4"
    manifest["sha256"] = None
    (index.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IndexFormatError, match=r"has 1 files for the structure 'IVF4,Flat \+ HNSW4'.*rebuild"):
        PassageIndex.open(index.path)


class HalfPrecision:
    """A scan of vectors in float16, as an example of a new form."""

    suffix = ".f16.npy"

    def __init__(self, vectors):
        self._vectors = vectors

    @classmethod
    def accepts(cls, factory):
        return factory == "half"

    @classmethod
    def check(cls, factory, dim, n_passages=None):
        if dim % 2:
            raise BuildError("half needs an even dimension: use auto")

    @classmethod
    def build(cls, factory, vectors, progress):
        return cls(np.asarray(vectors, np.float16))

    @classmethod
    def read(cls, file, vectors):
        return cls(np.load(file))

    def write(self, file):
        np.save(file, self._vectors)

    def efforts(self):
        return [Effort(rescored=rescored) for rescored in (10, 16)]

    def at(self, effort):
        return HalfPrecisionSearch(self._vectors, effort)


class HalfPrecisionSearch:
    def __init__(self, vectors, effort):
        self._vectors = vectors.astype(np.float32)
        self.max_candidates, self.n_candidates = len(vectors), effort.n_candidates

    def candidates(self, queries, n_candidates):
        scores = np.stack([self._vectors @ query for query in queries])
        return np.argsort(-scores, axis=1, kind="stable")[:, :n_candidates]


@pytest.mark.slow
def test_a_new_form_is_one_class_and_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "STRUCTURES", (HalfPrecision, *registry.STRUCTURES))
    vectors = unit_vectors(400, 16)
    corpus, encoder = make_corpus(400), GivenVectors(vectors)
    index = PassageIndex.build(corpus, tmp_path / "index", encoder, factory="half")
    assert index.manifest.structure.files == ("half.f16.npy",)
    assert index.manifest.structure.recall_at_10 == 1.0
    exact = index.search(vectors[:9], 7, exact=True)
    by_structure = PassageIndex.open(index.path, check="all").search(vectors[:9], 7)
    assert all(np.array_equal(*pair) for pair in zip(exact, by_structure, strict=True))
    os.truncate(index.path / "half.f16.npy", 10)
    with pytest.raises(IndexFormatError, match="rebuild"):
        PassageIndex.open(index.path)
    rebuild(index.path, "half + HNSW4")
    assert Manifest.read(index.path).structure.files == ("again-half.f16.npy", "HNSW4.faiss")
    rebuild(index.path, "Flat")
    assert not list(index.path.glob("*.npy")) and not list(index.path.glob("*.faiss"))
    with pytest.raises(BuildError, match="half needs an even dimension"):
        odd = GivenVectors(unit_vectors(5, 3))
        PassageIndex.build(make_corpus(5), tmp_path / "odd", odd, factory="half")
