"""Brief measurement of the levels that come with the encoder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from elasticdenser import PassageEncoder, PassageIndex, Retriever
from elasticdenser.engine import BatchSearch, RetrievalEngine
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.quick import quick_profile
from elasticdenser.errors import QueryError
from elasticdenser.models.locate import PROFILE
from elasticdenser.models.manifest import MANIFEST


@pytest.fixture(scope="module")
def encoder_with_levels(tiny_elastic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder") / "encoder"
    shutil.copytree(tiny_elastic, folder)
    levels = [
        Level(name="w1-d2", quality=1.0, measured_s={1: 9.0}),
        Level(name="level0", quality=0.77, measured_s={1: 1.0}, recall=0.9),
        Level(name="w1-d2+50:w1-d2", quality=1.0, measured_s={1: 90.0}),  # of some ranker, which is not here
        Level(name="level0@0.1:w1-d2", quality=0.9, measured_s={1: 2.0}, recall=0.9),
    ]
    Profile(levels=levels).save(folder / PROFILE)
    return folder


@pytest.fixture(scope="module", params=[True, False])
def index_path(request, tiny_elastic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick-index")
    lines = (json.dumps({"_id": str(number), "text": f"passage {number} on rain"}) for number in range(30))
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    corpus = folder / "corpus.jsonl"
    return PassageIndex.build(corpus, folder / "index", encoder, workers=1, texts=request.param).path


def test_levels_of_the_encoder_are_measured(index_path, encoder_with_levels):
    retriever = Retriever.open(index_path, encoder=str(encoder_with_levels), device="cpu", download=False)
    profile = quick_profile(retriever)
    assert [(level.name, level.quality, level.recall) for level in profile.levels] == [
        ("w1-d2", 1.0, None),
        ("level0", 0.77, 0.9),
    ]
    assert all(level.latency_s[1] < 0.5 for level in profile.levels)
    assert all(set(level.alone_by_tokens_s) == {32, 64} for level in profile.levels)  # the encoder reads 64 tokens
    with RetrievalEngine(retriever, slo_s=5.0, workers=1) as engine:
        answer = engine.submit("rain", k=3).result(10)
    assert (len(answer.hits), answer.level) == (3, "w1-d2")


def test_settings_are_checked_before_anything_is_measured(index_path, encoder_with_levels, monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.engine.quick_profile", None)
    retriever = Retriever.open(index_path, encoder=str(encoder_with_levels), device="cpu", download=False)
    for options, message in (({"slo_s": 0}, "got slo_s = 0"), ({"workers": 0}, "got workers = 0")):
        with pytest.raises(QueryError, match=message):
            RetrievalEngine(retriever, **options)


def test_without_levels_of_the_encoder_all_subnets_are_measured(index_path, tiny_elastic):
    retriever = Retriever.open(index_path, encoder=str(tiny_elastic), device="cpu", download=False)
    profile = quick_profile(retriever)
    assert {level.name for level in profile.levels} == set(map(str, retriever.encoder.subnets))


@pytest.fixture
def encoder_with_lengths(encoder_with_levels, tmp_path):
    folder = tmp_path / "encoder"
    shutil.copytree(encoder_with_levels, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["made_by"]["retention_by_length"] = {"level0": {"8": 0.9, "64": 0.7}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_quality_by_length_comes_from_the_model_or_the_profile_beside_it(index_path, encoder_with_lengths):
    def quality_by_tokens():
        retriever = Retriever.open(index_path, encoder=str(encoder_with_lengths), device="cpu", download=False)
        return {level.name: level.quality_by_tokens for level in quick_profile(retriever).levels}

    # At recall .9 a fiftieth of the quality is lost.
    assert quality_by_tokens() == {"w1-d2": {}, "level0": {8: pytest.approx(0.882), 64: pytest.approx(0.686)}}
    path = encoder_with_lengths / PROFILE
    shipped = Profile.load(path)
    replace(shipped, levels=[replace(level, quality_by_tokens={16: 0.6}) for level in shipped.levels]).save(path)
    assert quality_by_tokens() == {"w1-d2": {16: 0.6}, "level0": {16: 0.6}}
    path.unlink()
    assert quality_by_tokens()["level0"] == {8: 0.9, 64: 0.7}


def test_only_the_levels_of_a_retriever_are_known():
    class Search(BatchSearch):
        def search_batch(self, queries, level):
            return [[] for _ in queries]

    with pytest.raises(QueryError, match="got no profile"):
        RetrievalEngine(Search())
