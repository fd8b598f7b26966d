"""Levels that escalate: which are added, their quality and run times; engines and commands that use them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from elasticdenser import RetrievalEngine, Retriever
from elasticdenser.cli import app
from elasticdenser.engine.profiling import escalated_levels
from elasticdenser.engine.profiling.escalated_levels import add_escalated_levels, escalated_level
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.measure import MeasureSettings
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.errors import QueryError

QUERIES = ["desert planet", "read a csv file", "novel", "spice", "a thread"]
LARGE = Level(name="w1-d2", quality=1.0, measured_s={1: 0.010, 4: 0.020}, alone_by_tokens_s={8: 0.01, 64: 0.05})
SMALL = Level(
    name="level0",
    quality=0.9,
    recall=0.98,
    quality_by_tokens={16: 0.95, 64: 0.8},
    measured_s={1: 0.001, 4: 0.002},
    alone_by_tokens_s={8: 0.001, 64: 0.002},
)
PLAIN = Profile(levels=[LARGE, SMALL])


@pytest.fixture(scope="module")
def retriever(searched_index, tiny_elastic):
    return Retriever.open(searched_index, encoder=str(tiny_elastic), device="cpu", reranker="none")


def judge_half_gained(levels, best):
    """A judge by which escalation gains half of what the small subnet lacks."""
    assert best == "w1-d2"
    return {level: 0.9 if "@" in level else 0.8 for level in levels}


def test_quality_lies_between_those_of_the_two_subnets(retriever):
    profile = add_escalated_levels(retriever, QUERIES, PLAIN, [0.25], judge=judge_half_gained)
    (level,) = [level for level in profile.levels if level.parts.escalation]
    effort = 1 - 0.2 * (1 - 0.98)  # both searches take the effort of the small level
    assert level.recall == 0.98 and level.parts.subnet == "level0" and level.parts.escalation.endswith(":w1-d2")
    assert level.quality == pytest.approx((0.9 + effort) / 2)
    assert level.quality_for(10) == pytest.approx((0.95 + effort) / 2)
    assert level.quality_for(60) == pytest.approx((0.8 + effort) / 2)
    assert profile.measured["escalated_shares"] == {level.name: 0.25}
    assert [other for other in profile.levels if other is not level] == list(PLAIN.levels)


def test_run_times_are_those_of_four_batches_in_five(retriever):
    profile = add_escalated_levels(retriever, QUERIES, PLAIN, [0.5], judge=judge_half_gained)
    assert profile.levels == PLAIN.levels  # half of the gain for half of the queries is what chance gives
    profile = add_escalated_levels(retriever, QUERIES, PLAIN, [0.25], judge=judge_half_gained)
    (level,) = [level for level in profile.levels if level.parts.escalation]
    assert level.measured_s[1] == pytest.approx(0.001 + 0.010)  # of single queries, 75 % do not escalate
    chances = [0.75**4, 4 * 0.25 * 0.75**3, 6 * 0.25**2 * 0.75**2]
    assert sum(chances[:2]) < 0.8 < sum(chances)
    assert level.measured_s[4] == pytest.approx(0.002 + LARGE.latency_s[2])


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_a_long_query_takes_as_much_longer_as_its_chance_to_escalate_says(share):
    level = escalated_level("level0@0.1:w1-d2", SMALL, LARGE, share, 0.5)
    assert level.extra_s(8) == 0
    expected_s = SMALL.extra_s(64) + share * LARGE.extra_s(64)
    assert level.extra_s(64) == pytest.approx(expected_s) and expected_s > 0


def test_a_level_as_good_as_the_best_is_not_escalated(retriever):
    profile = add_escalated_levels(
        retriever, QUERIES, PLAIN, [0.25], judge=lambda levels, best: dict.fromkeys(levels, 1.0)
    )
    assert profile.levels == PLAIN.levels
    alone = Profile(levels=[LARGE])
    assert add_escalated_levels(retriever, QUERIES, alone, [0.25], judge=judge_half_gained).levels == alone.levels


def test_a_saved_profile_serves_an_engine(retriever, tmp_path):
    profile = add_escalated_levels(
        retriever,
        QUERIES,
        PLAIN,
        [0.5],
        judge=lambda levels, best: {level: 0.5 + 0.5 * ("@" in level) for level in levels},
    )
    (name,) = [level.name for level in profile.levels if level.parts.escalation]
    profile.save(tmp_path / "profile.json")
    loaded = Profile.load(tmp_path / "profile.json")
    assert loaded.levels == profile.levels and loaded.measured["escalated_shares"] == {name: 0.5}
    escalating = Profile(levels=[level for level in loaded.levels if level.name == name])
    with RetrievalEngine(retriever, escalating, slo_s=30.0, workers=1) as engine:
        answers = [engine.submit(text, k=3).result() for text in QUERIES]
    expected = list(retriever.search(QUERIES, 3, subnet="level0", escalation=name.partition("@")[2]))
    assert [hit.doc_id for answer in answers for hit in answer.hits] == [hit.doc_id for hit in expected]
    assert {answer.level for answer in answers} == {name}
    assert {str(hit.subnet) for hit in expected} == {"w1-d2", "level0"}


def test_processes_say_which_subnet_encoded_a_query(retriever):
    name = "level0@9:w1-d2"
    profile = Profile(levels=[replace(LARGE, name=name)])
    with RetrievalEngine(retriever, profile, slo_s=30.0, workers=1, processes=True) as engine:
        engine.warm_up()
        answers = engine.search_many(QUERIES, k=3)
    assert {str(hit.subnet) for answer in answers for hit in answer.hits} == {"w1-d2"}


def test_margins_are_those_of_a_sample(retriever, monkeypatch):
    encoded, encode = [], retriever.encoder.encode
    monkeypatch.setattr(escalated_levels, "_MAX_QUERIES", 3)
    monkeypatch.setattr(
        retriever.encoder, "encode", lambda texts, subnet: encoded.append(texts) or encode(texts, subnet)
    )
    add_escalated_levels(retriever, QUERIES, PLAIN, [0.25], judge=judge_half_gained)
    assert [len(texts) for texts in encoded] == [3] and set(encoded[0]) < set(QUERIES)


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_a_share_is_between_0_and_1(share):
    with pytest.raises(QueryError, match=r"expected a share between 0 and 1, such as 0\.25"):
        MeasureSettings(escalated_shares=(share,))


@pytest.mark.slow
def test_the_command_adds_levels_that_escalate(searched_index, tiny_elastic, tmp_path):
    options = ["--subnets", "w1-d2,level0", "--batch-sizes", "1,4", "--rounds", "1", "--encoder", str(tiny_elastic)]
    command = ["profile", str(searched_index), "-o", str(tmp_path / "p.json"), *options]
    result = CliRunner().invoke(app, [*command, "--escalate", "0.5", "--escalate", "0.9"])
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "p.json").read_text())
    assert set(saved["measured"]["escalated_shares"].values()) <= {0.5, 0.9}
    command[command.index("--subnets") + 1] = "w1-d2"
    result = CliRunner().invoke(app, [*command, "--escalate", "0.5"])
    assert result.exit_code == 0 and "no level that escalates was added" in result.stderr, result.output
    result = CliRunner().invoke(app, [*command, "--escalate", "2"])
    assert result.exit_code == 1 and "got 2.0 of the queries to escalate" in result.output
