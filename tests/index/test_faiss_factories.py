"""Factory strings that FAISS cannot build or search: refused with one error, and the index stays as it was."""

from __future__ import annotations

import os

import faiss
import numpy as np
import pytest
from hashing import GivenVectors, make_corpus, unit_vectors

from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index import PassageIndex, rebuild
from elasticdenser.index.exchange import export_index
from elasticdenser.index.structures import check_factory, index_structure
from elasticdenser.index.structures.child_process import call_in_child
from elasticdenser.index.structures.faiss_factory import is_tested

VECTORS = unit_vectors(300, 16)
NUMBERS_OUT_OF_RANGE = ["HNSW0", "HNSW1", "IVF8_HNSW0,Flat", "IVF0,Flat", "PQ8x0", "RQ2x0", "HNSW100000", "PQ8x4fs_0"]
HUGE = ["IVF1000000000,Flat", "IVF99999999999999999999,Flat"]


@pytest.fixture
def index(tmp_path):
    return PassageIndex.build(make_corpus(300), tmp_path / "index", GivenVectors(VECTORS), factory="HNSW4")


def assert_untouched(index, before):
    assert files_of(index) == before
    assert os.listdir(index.path.parent) == ["index"]
    assert PassageIndex.open(index.path, check="all").search(VECTORS[:1], 1)[1][0, 0] == 0


def files_of(index):
    return {entry.name: entry.stat().st_mtime_ns for entry in index.path.iterdir() if entry.name != ".checked.json"}


@pytest.mark.parametrize("factory", [*NUMBERS_OUT_OF_RANGE, *HUGE])
def test_numbers_that_end_the_process_are_refused_before_encoding(factory):
    with pytest.raises(BuildError, match=r"in the factory string .* expected a number from .*use --factory auto"):
        check_factory(f"Flat + {factory}", 16)


@pytest.mark.parametrize("factory", ["IVF0,Flat", "HNSW0", "IVF301,Flat", "PQ7"])
def test_a_rebuild_that_fails_changes_nothing(index, factory):
    before = files_of(index)
    with pytest.raises(BuildError, match=r"use (--factory )?auto"):
        rebuild(index.path, factory)
    assert_untouched(index, before)


@pytest.mark.slow
def test_what_ends_its_process_is_built_in_a_child(index):
    """`ZnLattice` in this form makes FAISS write beyond its memory."""
    before = files_of(index)
    with pytest.raises(BuildError, match=r"FAISS ended its process with SIG.*use --factory auto"):
        rebuild(index.path, "ZnLattice8x6_4")
    assert_untouched(index, before)
    with pytest.raises(BuildError, match=r"FAISS ended its process"):
        export_index(index, index.path.with_name("out"), factory="ZnLattice8x6_4")
    assert_untouched(index, before)


@pytest.mark.slow
def test_an_untested_structure_is_built_in_a_child_and_reports_progress(index):
    steps = []
    assert not is_tested("RR8,Flat")
    rebuilt = rebuild(index.path, "RR8,Flat", lambda *step: steps.append(step))
    assert ("adding", 300, 300) in steps
    assert rebuilt.search(VECTORS[:5], 1)[1][:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("factory", ["HNSW4", "IVF4,Flat"])
def test_a_structure_that_cannot_be_searched_is_not_put_in_place(index, monkeypatch, factory):
    before = files_of(index)

    def broken(self, vectors):
        raise IndexFormatError("nothing is found")

    monkeypatch.setattr(index_structure.IndexStructure, "try_all_efforts", broken)
    with pytest.raises(BuildError, match=r"cannot be searched \(nothing is found\)"):
        rebuild(index.path, factory)
    monkeypatch.undo()
    assert_untouched(index, before)


def test_a_lack_of_memory_is_told(index, monkeypatch):
    def broken(*_):
        raise MemoryError

    before = files_of(index)
    monkeypatch.setattr(faiss, "read_index", broken)
    with pytest.raises(BuildError, match="not enough memory"):
        rebuild(index.path, "HNSW8")
    monkeypatch.undo()
    assert_untouched(index, before)


def test_equal_parts_have_files_of_their_own(index):
    rebuilt = rebuild(index.path, "IVF4,Flat + IVF4,Flat")
    assert rebuilt.manifest.structure.files == ("IVF4-Flat.faiss", "again-IVF4-Flat.faiss")
    assert np.array_equal(rebuilt.search(VECTORS[:3], 1)[1][:, 0], [0, 1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["Flat + nonsense", "IDMap,Flat", ""])
def test_an_unknown_string_changes_nothing(index, factory):
    before = files_of(index)
    with pytest.raises(BuildError, match=r"use (--factory )?auto"):
        rebuild(index.path, factory)
    assert_untouched(index, before)


@pytest.mark.slow
def test_errors_of_a_child_process(tmp_path):
    function = "elasticdenser.index.structures.faiss_factory:n_training_vectors"
    assert call_in_child(function, factory="IVF8,Flat", dim=16) == 8
    with pytest.raises(BuildError, match="does not take the factory string 'nonsense'"):
        call_in_child(function, factory="nonsense", dim=16)
    with pytest.raises(BuildError, match=r"ended its process with exit status 1 \(.*unexpected keyword"):
        call_in_child(function, nonsense=1)
