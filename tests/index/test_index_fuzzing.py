"""Altered indexes with fitting checksums: every use ends well or with an IndexFormatError, whatever was altered."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import faiss
import pytest
from hashing import HashingEncoder, make_corpus, unit_vectors
from index_fuzzing import alter_file, alter_manifest, fault_of

from elasticdenser.errors import BadInputError
from elasticdenser.index import PassageIndex
from elasticdenser.index.vector_files import read_vector_file

SEED = 17
HELPER = Path(__file__).parents[1] / "helpers" / "index_fuzzing.py"
DATA_FILES = ["vectors.f32", "ids.txt", "ids.offsets", "ids.lookup", "passages.jsonl", "passages.offsets"]


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    path = tmp_path_factory.mktemp("intact") / "index"
    PassageIndex.build(make_corpus(40), path, HashingEncoder(), factory="IVF4,Flat + HNSW4")
    assert fault_of(path) == ""
    return path


@pytest.fixture
def altered(intact, tmp_path):
    """A function that makes an altered copy, and returns its path and what was altered."""
    path = Path(shutil.copytree(intact, tmp_path / "index"))

    def alter(alteration, *names):
        for entry in intact.iterdir():
            shutil.copyfile(entry, path / entry.name)
        return alteration(*names)

    return path, alter


@pytest.mark.slow
def test_altered_manifests(altered):
    path, alter = altered
    n_refused = 0
    for case in range(150):
        what = alter(alter_manifest, path, random.Random(SEED + case))
        try:
            n_refused += bool(fault_of(path))
        except Exception as error:
            pytest.fail(f"case {case}, {what}: {error!r}")
    assert n_refused > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA_FILES)
def test_altered_data_files(altered, name):
    path, alter = altered
    n_refused = 0
    for case in range(40):
        what = alter(alter_file, path, name, random.Random(SEED + case))
        try:
            n_refused += bool(fault_of(path))
        except Exception as error:
            pytest.fail(f"case {case}, {what}: {error!r}")
    assert n_refused > (0 if name in ("vectors.f32", "ids.lookup") else 10)


@pytest.mark.parametrize("factory", ["IVF4,Flat", "HNSW4"])
def test_altered_faiss_files_of_other_tools(tmp_path, factory):
    index = faiss.index_factory(16, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(unit_vectors(64, 16))
    index.add(unit_vectors(64, 16))
    faiss.write_index(index, str(tmp_path / "intact"))
    n_refused = 0
    for case in range(60):
        content = bytearray((tmp_path / "intact").read_bytes())
        rng = random.Random(SEED + case)
        offset = rng.randrange(rng.choice([60, 200, len(content)])) // 4 * 4
        content[offset : offset + 4] = rng.choice([-1, 0, 1, 3, 65]).to_bytes(4, "little", signed=True)
        (tmp_path / "altered").write_bytes(content if case % 5 else content[:offset])
        try:
            file = read_vector_file(tmp_path / "altered", 16)
            assert file.vectors(0, file.n_vectors).shape == (file.n_vectors, 16)
        except BadInputError:
            n_refused += 1
    assert n_refused > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["IVF4-Flat.faiss", "HNSW4.faiss"])
def test_altered_faiss_files(intact, tmp_path, name):
    shutil.copytree(intact, tmp_path / "index")
    command = [sys.executable, str(HELPER), str(tmp_path / "index"), name, "80", str(SEED)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.endswith("end\n"), (done.returncode, done.stdout[-200:], done.stderr[-2000:])
