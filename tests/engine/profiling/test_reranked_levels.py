"""Levels that rerank: which are measured, their quality and run times; the commands that use them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from kernel_helpers import needs_fast_path
from late_interaction_models import write_late_interaction
from typer.testing import CliRunner

from elasticdenser import Retriever
from elasticdenser.cli import app
from elasticdenser.cli.judged_levels import judge_by_measure
from elasticdenser.engine.profiling.agreement import agreement, quality_from_agreement
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.measure import MeasureSettings, measure_profile
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.quick import quick_profile
from elasticdenser.engine.profiling.reranked_levels import RerankMeasureSettings, add_reranked_levels
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models import shipped_ranker
from elasticdenser.rankers import load_shipped_ranker

RERANKINGS = ("12:w0.5-d1", "20:w0.25-d1,8:w1-d2")
SETTINGS = MeasureSettings(batch_sizes=(1, 4), tokens=(4, 40), k=3, rounds=2, rerankings=RERANKINGS, rerank_subnets=2)
QUERIES = ["desert planet", "read a csv file", "novel"]
QUALITY = {"w1-d2": 1.0, "level0": 0.5}
BEST = "w1-d2+20:w0.25-d1+8:w1-d2"
"""The level whose last stage has the largest subnet."""


@pytest.fixture(scope="module")
def reranking_retriever(searched_index, tiny_elastic, tiny_ranker):
    return Retriever.open(searched_index, encoder=str(tiny_elastic), device="cpu", reranker="none", ranker=tiny_ranker)


@pytest.fixture(scope="module")
def profile(reranking_retriever):
    settings = replace(SETTINGS, levels=("w1-d2", "level0"))
    by_tokens = {"level0": {16: 0.6, 64: 0.4}}
    return measure_profile(reranking_retriever, QUERIES, settings, quality=QUALITY, quality_by_tokens=by_tokens)


def test_the_levels_are_products_of_subnets_and_rerankings(profile):
    names = {level.name for level in profile.levels}
    paired = {level.parts.subnet for level in profile.levels if level.parts.stages}
    assert {"w1-d2", "level0", BEST, "w1-d2+12:w0.5-d1"} <= names
    assert paired <= {"w1-d2", "level0"} and len(names) == 2 + 2 * len(paired)
    for level in profile.levels:
        assert 1 in level.measured_s and level.latency_s[1] > 0
        assert set(level.alone_by_tokens_s) == ({40} if level.parts.stages else {4, 40})
    assert (profile.measured["ranker"], profile.measured["reranked_judged_against"]) == ("tiny", BEST)


def test_quality_is_a_share_of_the_best_level_that_reranks(profile, reranking_retriever):
    by_name = {level.name: level for level in profile.levels}
    others = ["w1-d2", "w1-d2+12:w0.5-d1"]
    shares = agreement(reranking_retriever, QUERIES, others, k=3, best=BEST)
    plain, reranked = (quality_from_agreement(shares[name]) for name in others)
    assert profile.levels[0].name == BEST and profile.levels[0].quality == 1.0
    assert by_name["w1-d2"].quality == pytest.approx(plain) and plain < 1
    assert by_name["level0"].quality == pytest.approx(QUALITY["level0"] * plain)
    assert by_name["level0"].quality_for(10) == pytest.approx(0.6 * plain)
    assert by_name["w1-d2+12:w0.5-d1"].quality == pytest.approx(reranked)


def test_a_level_that_reranks_loses_on_long_queries_what_its_subnet_loses(profile):
    for level in profile.levels:
        if level.parts.stages and level.parts.subnet == "level0":
            assert level.quality_for(10) == pytest.approx(level.quality * 0.6 / 0.5)
            assert level.quality_for(50) == pytest.approx(level.quality * 0.4 / 0.5)


def test_judgements_may_say_that_reranking_does_harm(reranking_retriever):
    figures = {"w1-d2": 0.6, BEST: 0.1, "w1-d2+12:w0.5-d1": 0.3}
    settings = replace(SETTINGS, levels=("w1-d2",))
    profile = measure_profile(
        reranking_retriever,
        QUERIES,
        settings,
        judge=lambda levels, best: {level: figures[level] / figures[best] for level in levels},
    )
    assert {level.name: level.quality for level in profile.levels} == {
        "w1-d2": 1.0,
        "w1-d2+12:w0.5-d1": pytest.approx(0.5),
        BEST: pytest.approx(1 / 6),
    }
    assert profile.levels[0].name == "w1-d2"
    assert profile.measured["quality_by_agreement"] == []


def test_batches_that_take_too_long_are_not_timed(reranking_retriever, monkeypatch):
    monkeypatch.setattr("elasticdenser.engine.profiling.reranked_levels._LONGEST_BATCH_S", 1e-9)
    profile = measure_profile(reranking_retriever, QUERIES, replace(SETTINGS, levels=("w1-d2",)), quality=QUALITY)
    for level in profile.levels:
        assert set(level.measured_s) == ({1} if level.parts.stages else {1, 4})
    assert profile.levels[0].largest_batch(1e9) == 1


def test_a_saved_profile_is_read_back(profile, tmp_path):
    profile.save(tmp_path / "profile.json")
    assert Profile.load(tmp_path / "profile.json").levels == profile.levels


@pytest.mark.slow
@needs_fast_path
def test_late_interaction_reads_a_query_with_the_subnet_that_encoded_it(searched_index, tiny_elastic, tmp_path):
    ranker = write_late_interaction(tmp_path / "late", tiny_elastic)
    options = {"encoder": str(tiny_elastic), "device": "cpu", "ranker": ranker}
    measured = {"w1-d2": (1.0, 0.01), "w0.5-d1": (0.6, 0.009), "level0": (0.5, 0.001)}
    levels = [Level(name=name, quality=quality, measured_s={1: s}) for name, (quality, s) in measured.items()]
    settings = RerankMeasureSettings(
        rerankings=("12", "12:w0.5-d1", "20,8"), batch_sizes=(1,), tokens=(4,), k=3, rounds=1, max_subnets=2
    )
    profile = add_reranked_levels(
        Retriever.open(searched_index, **options),
        QUERIES,
        Profile(levels=levels),
        settings,
        judge=lambda levels, best: dict.fromkeys(levels, 1.0),
    )
    assert {level.name for level in profile.levels} == {
        *("w1-d2", "w1-d2+12:w1-d2", "w1-d2+12:w0.5-d1", "w1-d2+20:w1-d2+8:w1-d2"),
        *("level0", "level0+12:level0", "level0+12:w0.5-d1", "level0+20:level0+8:level0"),
        "w0.5-d1",  # neither the best nor the fastest, nor on the ladder
    }
    assert profile.measured["reranked_judged_against"] == "w1-d2+12:w1-d2"
    for reranker, expected in (("12,8", "12:w1-d2+8:w1-d2"), ("12:w0.5-d1+0.5", "12:w0.5-d1+0.5")):
        quick = quick_profile(Retriever.open(searched_index, **options, reranker=reranker))
        assert f"w1-d2+{expected}" in {level.name for level in quick.levels}


@pytest.mark.slow
def test_a_brief_measurement_pairs_the_best_subnets(reranking_retriever):
    profile = quick_profile(reranking_retriever, rerankings=RERANKINGS[:1])
    reranked = [level for level in profile.levels if level.parts.stages]
    assert 1 <= len(reranked) <= 2 and profile.levels[0].name == "w1-d2+12:w0.5-d1"
    assert not any(level.parts.stages for level in quick_profile(reranking_retriever).levels)


def test_what_cannot_be_reranked_is_refused_before_any_work(retriever, reranking_retriever, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped_ranker, "SHIPPED_RANKER", tmp_path)
    load_shipped_ranker.cache_clear()
    with pytest.raises(ModelError, match="--ranker FOLDER"):
        measure_profile(retriever, QUERIES, SETTINGS)
    for spelling, message in (
        ("50:w1-d9", "got subnet w1-d9"),
        ("x", "got reranker"),
        ("5,9", "fewer candidates"),
        ("0", "got '0' to rerank"),
    ):
        with pytest.raises(QueryError, match=message):
            measure_profile(reranking_retriever, QUERIES, replace(SETTINGS, rerankings=(spelling,)))
    with pytest.raises(QueryError, match="0 queries and 4 subnets to rerank with"):
        MeasureSettings(rerank_queries=0)


@pytest.mark.slow
def test_the_commands_measure_and_use_levels_that_rerank(searched_index, tiny_elastic, tiny_ranker, tmp_path):
    output, runner = tmp_path / "profile.json", CliRunner()
    common = [str(searched_index), "--encoder", str(tiny_elastic), "--offline", "--ranker", str(tiny_ranker)]
    sizes = ["--rounds", "1", "--batch-sizes", "1,2", "--subnets", "w1-d2"]
    result = runner.invoke(app, ["profile", *common, *sizes, "--rerank", "12:w0.5-d1", "-o", str(output)])
    assert result.exit_code == 0, result.output
    assert "w1-d2+12:w0.5-d1" in {level.name for level in Profile.load(output).levels}
    assert "estimated from hits shared with w1-d2+12:w0.5-d1" in result.output.replace("\n", " ")
    result = runner.invoke(app, ["simulate", str(output), "--seconds", "1", "--deadline-ms", "500", "--json"])
    assert result.exit_code == 0 and "static:w1-d2+12:w0.5-d1" in result.output
    load = ["--rate", "20", "--arrivals", "poisson", "--seconds", "1", "--deadline-ms", "5000", "--workers", "1"]
    tested = ["loadtest", *common, "--profile", str(output), *load, "--json"]
    result = runner.invoke(app, tested)
    assert '"w1-d2+12:w0.5-d1": 1.0' in result.output, result.output
    for arguments, message in (
        ([*tested, "--rerank", "5"], "the profile says what is reranked"),
        ([*tested, "--ranker", str(tmp_path)], "holds no ranker, neither ranker.json nor late-interaction.json"),
        (["serve", *common, "--profile", str(output), "--rerank", "5", "--port", "0"], "leave one of the two out"),
    ):
        failed = runner.invoke(app, arguments)
        assert failed.exit_code != 0 and message in " ".join(failed.output.replace("│", " ").split())


def test_levels_can_be_judged_by_a_measure(searched_index, tiny_elastic, tiny_ranker, tmp_path):
    (tmp_path / "judged" / "qrels").mkdir(parents=True)
    queries = {"q1": "dune and dune", "q2": "read a file and wait", "q3": "not judged"}
    lines = (json.dumps({"_id": key, "text": text}) + "\n" for key, text in queries.items())
    (tmp_path / "judged" / "queries.jsonl").write_text("".join(lines))
    qrels = "query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td67\t1\n"
    (tmp_path / "judged" / "qrels" / "test.tsv").write_text(qrels)
    retriever = Retriever.open(searched_index, encoder=str(tiny_elastic), reranker="none", ranker=tiny_ranker)
    judge = judge_by_measure(retriever, str(tmp_path / "judged"), "RR@50")
    names = ["w1-d2", "level0", "w1-d2+12:w0.5-d1"]
    shares = judge(names, "w1-d2")

    def mean_reciprocal_rank(subnet, reranker):
        total = 0.0
        for query_id, doc_id in (("q1", "d0"), ("q2", "d67")):
            hits = retriever.search(queries[query_id], 50, subnet=subnet, reranker=reranker)
            total += sum(1 / rank for rank, hit in enumerate(hits, 1) if hit.doc_id == doc_id) / 2
        return total

    full = mean_reciprocal_rank("w1-d2", "none")
    assert shares["w1-d2"] == 1.0
    assert shares["level0"] == pytest.approx(mean_reciprocal_rank("level0", "none") / full)
    assert shares["w1-d2+12:w0.5-d1"] == pytest.approx(mean_reciprocal_rank("w1-d2", "12:w0.5-d1") / full)
    common = [str(searched_index), "--encoder", str(tiny_elastic), "--offline", "--subnets", "w1-d2,level0"]
    command = ["profile", *common, "--rounds", "1", "--batch-sizes", "1", "--measure", "RR@50"]
    output = tmp_path / "profile.json"
    result = CliRunner().invoke(app, [*command, "--queries", str(tmp_path / "judged"), "-o", str(output)])
    assert result.exit_code == 0 and "share of the best level's RR@50" in result.output, result.output
    assert {level.name: level.quality for level in Profile.load(output).levels}["level0"] == pytest.approx(
        shares["level0"]
    )
    without = CliRunner().invoke(app, [*command, "-o", str(output)])
    assert without.exit_code == 2 and "give --queries" in without.output
