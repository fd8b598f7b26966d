"""Builds in another arithmetic than the one that is there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hashing import HashingEncoder, assert_same, make_corpus
from test_build_resume import Stop, stop_after

from elasticdenser.errors import BuildError
from elasticdenser.index import PassageIndex
from elasticdenser.index.layout import building_folder


class In(HashingEncoder):
    """An encoder that says it computes in `dtype`."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    @property
    def fingerprint(self):
        return replace(super().fingerprint, dtype=self.dtype)


def stopped_in(dtype, path):
    with pytest.raises(Stop):
        PassageIndex.build(make_corpus(60), path, In(dtype), progress=stop_after(30))


@pytest.mark.parametrize(("begun", "wanted"), [("int8", "bfloat16"), ("float32", "int8")])
def test_int8_and_floats_do_not_mix_in_one_build(tmp_path, small_windows, begun, wanted):
    path = tmp_path / "index"
    stopped_in(begun, path)
    before = (building_folder(path) / "vectors.f32").read_bytes()
    message = f"unfinished build of something else .*dtype: '{wanted}' against '{begun}'.*--restart"
    with pytest.raises(BuildError, match=message):
        PassageIndex.build(make_corpus(60), path, In(wanted))
    assert (building_folder(path) / "vectors.f32").read_bytes() == before
    again = In(wanted)
    index = PassageIndex.build(make_corpus(60), path, again, restart=True)
    assert (index.manifest.encoder.dtype, again.n_encoded) == (wanted, 60)
    assert_same(index, 60)


@pytest.mark.parametrize(("begun", "wanted"), [("int8", "int8"), ("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_build_goes_on_in_the_same_arithmetic_or_another_float(tmp_path, small_windows, begun, wanted):
    stopped_in(begun, tmp_path / "index")
    encoder = In(wanted)
    assert_same(PassageIndex.build(make_corpus(60), tmp_path / "index", encoder), 60)
    assert encoder.n_encoded == 30


def test_a_finished_index_is_not_taken_for_one_in_int8(tmp_path):
    path = tmp_path / "index"
    PassageIndex.build(make_corpus(20), path, In("bfloat16"))
    assert len(PassageIndex.build(make_corpus(20), path, In("float32"))) == 20
    with pytest.raises(BuildError, match=r"something else .*dtype: 'int8' against 'bfloat16'.*-o.*--overwrite"):
        PassageIndex.build(make_corpus(20), path, In("int8"))
    index = PassageIndex.build(make_corpus(20), path, In("int8"), overwrite=True)
    assert index.manifest.encoder.dtype == "int8"
    with pytest.raises(BuildError, match=r"dtype: 'float32' against 'int8'"):
        PassageIndex.build(make_corpus(20), path, In("float32"))


@pytest.mark.parametrize("dtype", ["int8", "float32", "float16"])
def test_queries_of_any_arithmetic_search_it(tmp_path, dtype):
    PassageIndex.build(make_corpus(20), tmp_path / "index", In("int8"))
    encoder = In(dtype)
    index = PassageIndex.open(tmp_path / "index", encoder=encoder.fingerprint)
    assert index.search(index.vectors[7:8], 1)[1].tolist() == [[7]]
