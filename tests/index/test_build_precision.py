"""Builds in another arithmetic than that of the existing index or build."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hashing import HashingEncoder, assert_same, make_corpus
from test_build_resume import Stop, stop_after

from elasticdenser.errors import BuildError
from elasticdenser.index import PassageIndex
from elasticdenser.index.layout import building_folder


class EncoderOfDtype(HashingEncoder):
    """Encoder whose fingerprint has a given dtype."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    @property
    def fingerprint(self):
        return replace(super().fingerprint, dtype=self.dtype)


def stop_build(dtype, path):
    with pytest.raises(Stop):
        PassageIndex.build(make_corpus(60), path, EncoderOfDtype(dtype), progress=stop_after(30))


@pytest.mark.parametrize(("begun", "requested"), [("int8", "bfloat16"), ("float32", "int8")])
def test_int8_and_floats_do_not_mix_in_one_build(tmp_path, small_windows, begun, requested):
    path = tmp_path / "index"
    stop_build(begun, path)
    before = (building_folder(path) / "vectors.f32").read_bytes()
    message = f"unfinished build of something else .*dtype: '{requested}' against '{begun}'.*--restart"
    with pytest.raises(BuildError, match=message):
        PassageIndex.build(make_corpus(60), path, EncoderOfDtype(requested))
    assert (building_folder(path) / "vectors.f32").read_bytes() == before
    again = EncoderOfDtype(requested)
    index = PassageIndex.build(make_corpus(60), path, again, restart=True)
    assert (index.manifest.encoder.dtype, again.n_encoded) == (requested, 60)
    assert_same(index, 60)


@pytest.mark.parametrize(("begun", "requested"), [("int8", "int8"), ("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_build_goes_on_in_the_same_arithmetic_or_another_float(tmp_path, small_windows, begun, requested):
    stop_build(begun, tmp_path / "index")
    encoder = EncoderOfDtype(requested)
    assert_same(PassageIndex.build(make_corpus(60), tmp_path / "index", encoder), 60)
    assert encoder.n_encoded == 30


def test_a_finished_index_is_not_taken_for_one_in_int8(tmp_path):
    path = tmp_path / "index"
    PassageIndex.build(make_corpus(20), path, EncoderOfDtype("bfloat16"))
    assert len(PassageIndex.build(make_corpus(20), path, EncoderOfDtype("float32"))) == 20
    with pytest.raises(BuildError, match=r"something else .*dtype: 'int8' against 'bfloat16'.*-o.*--overwrite"):
        PassageIndex.build(make_corpus(20), path, EncoderOfDtype("int8"))
    index = PassageIndex.build(make_corpus(20), path, EncoderOfDtype("int8"), overwrite=True)
    assert index.manifest.encoder.dtype == "int8"
    with pytest.raises(BuildError, match=r"dtype: 'float32' against 'int8'"):
        PassageIndex.build(make_corpus(20), path, EncoderOfDtype("float32"))


@pytest.mark.parametrize("dtype", ["int8", "float32", "float16"])
def test_queries_of_any_arithmetic_search_it(tmp_path, dtype):
    PassageIndex.build(make_corpus(20), tmp_path / "index", EncoderOfDtype("int8"))
    encoder = EncoderOfDtype(dtype)
    index = PassageIndex.open(tmp_path / "index", encoder=encoder.fingerprint)
    assert index.search(index.vectors[7:8], 1)[1].tolist() == [[7]]
