"""Measured profiles: every level, batch size and query length; given quality or agreement; the `profile` command."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from elasticdenser import PassageEncoder, PassageIndex, Retriever
from elasticdenser.cli import app
from elasticdenser.engine.profiling.agreement import agreement, quality_from_agreement
from elasticdenser.engine.profiling.measure import MeasureSettings, measure_profile
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.query_sample import sample_queries, text_of_length, texts_by_length
from elasticdenser.engine.profiling.search_effort import RETENTION_LOST_WITH_RECALL
from elasticdenser.errors import QueryError
from elasticdenser.index.efforts import Effort

TEXTS = [f"passage {number} is about {topic}" for number, topic in enumerate(("dune", "spice", "cats", "rain") * 10)]
SETTINGS = MeasureSettings(batch_sizes=(1, 4), tokens=(4, 9, 500), k=3, rounds=2)


@pytest.fixture(scope="module")
def index_path(tiny_elastic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measure")
    lines = (json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(TEXTS))
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    return PassageIndex.build(folder / "corpus.jsonl", folder / "index", encoder, workers=1).path


@pytest.fixture(scope="module")
def retriever(index_path, tiny_elastic):
    return Retriever.open(index_path, encoder=str(tiny_elastic), device="cpu", download=False)


def test_every_level_is_timed_and_judged(retriever):
    profile = measure_profile(retriever, ["dune", "who likes rain", "cats"], SETTINGS, quality={"level0": 0.5})
    names = {level.name for level in profile.levels}
    assert names == {str(subnet) for subnet in retriever.encoder.subnets}
    by_name = {level.name: level for level in profile.levels}
    assert all(set(level.measured_s) == {1, 4} for level in profile.levels)
    # A given quality is used; the others are measured by agreement, which is 1 for the full encoder.
    assert by_name["level0"].quality == 0.5 and by_name[str(retriever.encoder.full_subnet)].quality == 1.0
    assert set(profile.measured["quality_by_agreement"]) == names - {"level0"}
    assert {level: set(times) for level, times in profile.measured["alone_by_tokens_s"].items()} == {
        name: {"4", "9", "64"} for name in names
    }
    for level in profile.levels:
        assert set(level.alone_by_tokens_s) == {4, 9, 64}  # the encoder reads 64 tokens
    assert (profile.measured["n_passages"], profile.measured["k"]) == (40, 3)


def test_the_quality_by_length_is_given_or_estimated(retriever, monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.profiling.quality_by_length._TEXTS_OF_A_LENGTH", 12)
    queries, given = ["dune", "who likes rain", "cats"], {"level0": {8: 0.4, 64: 0.3}}
    plain = measure_profile(retriever, queries, SETTINGS, quality_by_tokens=given)
    assert {level.name: level.quality_by_tokens for level in plain.levels if level.quality_by_tokens} == given
    assert "quality_by_tokens_by_agreement" not in plain.measured
    stages = set()
    by_length = replace(SETTINGS, by_length=True)
    profile = measure_profile(
        retriever, queries, by_length, quality_by_tokens=given, progress=lambda what, done, total: stages.add(what)
    )
    full, by_name = str(retriever.encoder.full_subnet), {level.name: level for level in profile.levels}
    assert by_name["level0"].quality_by_tokens == given["level0"] and not by_name[full].quality_by_tokens
    others = set(by_name) - {"level0", full}
    for name in others:
        assert list(by_name[name].quality_by_tokens) == [16, 32, 64]
        assert all(0 < share <= 1 for share in by_name[name].quality_by_tokens.values())
    assert set(profile.measured["quality_by_tokens_by_agreement"]) == others
    assert {"Collecting texts by length", "Judging levels, up to 64 tokens"} <= stages


def test_texts_have_the_lengths_of_their_range(retriever):
    queries = [f"who likes topic {number}" for number in range(1000, 1030)]
    texts = texts_by_length(retriever, queries, 20)
    # The encoder reads 64 tokens, and needs more than 8 for the first word of a passage.
    assert list(texts) == [16, 32, 64]
    for below, (max_tokens, of_length) in zip((8, 16, 32), texts.items(), strict=True):
        assert 10 <= len(of_length) <= 20
        assert all(below < n <= max_tokens for n in retriever.encoder.count_tokens(of_length))
    assert set(texts[32]) <= set(queries) and len(texts[32]) == 20  # no passage is needed
    assert texts == texts_by_length(retriever, queries, 20)


def test_a_text_of_a_length_has_as_many_tokens_as_fit(retriever):
    for tokens in (6, 9, 30, 63):
        text = text_of_length(retriever.encoder, ["dune and", "spice"], tokens)
        (n_tokens,) = retriever.encoder.count_tokens([text])
        (of_one_more,) = retriever.encoder.count_tokens([text_of_length(retriever.encoder, ["dune and", "spice"], 64)])
        assert n_tokens <= tokens < n_tokens + 8 and of_one_more == 64


def test_without_texts_of_a_length_its_range_is_missing(retriever):
    no_texts = SimpleNamespace(has_texts=False)
    searched = SimpleNamespace(encoder=retriever.encoder, index=no_texts)
    assert texts_by_length(searched, ["dune"] * 10 + ["dune " * 100] * 9, 20) == {8: ["dune"] * 10}


def test_quality_is_lost_with_the_square_of_the_agreement():
    assert quality_from_agreement(1.0) == 1.0
    assert quality_from_agreement(0.8) == pytest.approx(0.96)
    assert quality_from_agreement(0.0) == 1e-6


class _TwoEfforts:
    """A retriever whose index has two search efforts; the greater one takes much longer than any encoding."""

    def __init__(self, retriever):
        efforts = (Effort(rescored=16, recall_at_10=0.9), Effort(rescored=64, recall_at_10=1.0))
        structure = SimpleNamespace(efforts=efforts, factory="two efforts")
        self.encoder, self.index, self._inner, self.reranker = retriever.encoder, self, retriever, None
        self.manifest, self.searched = SimpleNamespace(structure=structure), set()
        self.passage_index = retriever.index

    def __len__(self):
        return len(self.passage_index)

    def search(self, queries, k, *, recall=None, **options):
        time.sleep(0.0 if recall == 0.9 else 0.06)  # far above the noise of a busy machine
        if "subnet" not in options:  # of the index
            return self.passage_index.search(queries, k)
        self.searched.add((str(options["subnet"]), recall))
        return self._inner.search(queries, k, **options)


@pytest.mark.slow
def test_fast_subnets_are_searched_with_less_effort(retriever):
    searched, names = _TwoEfforts(retriever), [str(subnet) for subnet in retriever.encoder.subnets]
    quality = {name: 1.0 - 0.02 * rank for rank, name in enumerate(names)}
    by_tokens = {name: {8: quality[name], 64: 0.5} for name in names[:2]}
    profile = measure_profile(searched, ["dune", "cats"], SETTINGS, quality=quality, quality_by_tokens=by_tokens)
    best, *others = profile.levels
    assert (best.name, best.quality, best.recall) == (names[0], 1.0, None)
    assert {level.recall for level in others} == {0.9}
    for level in others:
        assert level.quality == pytest.approx(quality[level.name] * (1 - RETENTION_LOST_WITH_RECALL * 0.1))
        assert level.quality_for(8) == pytest.approx(level.quality)
    assert best.quality_for(64) == 0.5 and others[0].quality_for(64) == pytest.approx(0.5 * 0.98)
    assert searched.searched == {(level.name, level.recall) for level in profile.levels}


def test_a_measurement_does_not_use_the_cache_of_the_encoder(retriever, index_path, tiny_elastic):
    cached = Retriever.open(index_path, encoder=str(tiny_elastic), device="cpu", download=False, cache=100)
    cache = cached.encoder.cache
    measure_profile(cached, ["dune", "cats"], SETTINGS)
    assert cached.encoder.cache is cache
    assert (cache.hits, cache.misses) == (0, 0)


def test_agreement_is_the_share_of_common_hits(retriever):
    queries = ["dune", "spice and rain"]
    subnet = retriever.encoder.subnets[-1]
    shares = agreement(retriever, queries, [str(subnet)], k=3)
    full_hits, hits = (
        {(hit.query_id, hit.doc_id) for hit in retriever.search(queries, 3, subnet=searched)}
        for searched in (None, subnet)
    )
    assert shares == {str(subnet): pytest.approx(max(len(full_hits & hits) / 6, 1e-6))}
    assert agreement(retriever, queries, [], k=3) == {}


def test_queries_are_sampled_from_the_passages(retriever):
    assert sample_queries(retriever, 5) == sample_queries(retriever, 5)
    assert len(sample_queries(retriever, 5)) == 5 and all(text in TEXTS for text in sample_queries(retriever))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_sizes": (2, 4)}, "expected them to rise from 1"),
        ({"batch_sizes": (1, 4, 2)}, "expected them to rise from 1"),
        ({"rounds": 0}, "0 rounds"),
        ({"tokens": (0,)}, "expected 1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(QueryError, match=message):
        MeasureSettings(**changes)


def test_queries_and_levels_must_exist(retriever):
    with pytest.raises(QueryError, match="got no queries"):
        measure_profile(retriever, [], SETTINGS)
    with pytest.raises(QueryError, match="got subnet w1-d9"):
        measure_profile(retriever, ["dune"], MeasureSettings(levels=("w1-d9",)))


def test_the_profile_command_writes_a_profile_and_a_chart(index_path, tiny_elastic, tmp_path):
    output = tmp_path / "profile.json"
    common = ["profile", str(index_path), "--encoder", str(tiny_elastic), "--offline", "--rounds", "1"]
    result = CliRunner().invoke(app, [*common, "-o", str(output), "--batch-sizes", "1,2", "--by-length", "--filters"])
    assert result.exit_code == 0, result.output
    assert "Quality by tokens of the query" in result.output
    profile = Profile.load(output)
    assert all(level.name in result.output for level in profile.levels) and profile.has_quality_by_tokens
    assert "<svg" in output.with_suffix(".svg").read_text()
    assert "Filters, by share of matches" in result.output
    assert [figures["n_matching"] for figures in profile.measured["filters"]] == [40, 20, 4]
    for wrong, message in (
        (["-o", str(tmp_path / "p.txt")], "ends in .json"),
        (["-o", str(output), "--batch-sizes", "1,x"], "numbers with commas"),
        (["-o", str(output), "--subnets", "w9"], "w9"),
    ):
        failed = CliRunner().invoke(app, [*common, *wrong])
        assert failed.exit_code != 0 and message in failed.output.replace("\n", " ")
