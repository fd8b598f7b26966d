"""Results files: what is written is read back, files of earlier versions are read, anything else is refused."""

import json

import pytest
from ir_measures import Qrel, ScoredDoc

from elasticdenser.datasets.runs import read_run
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import Comparison, QuerySet, System, SystemInfo, compare

QUERY_SET = QuerySet(name="two", queries={"q1": "x", "q2": "y"}, qrels=[Qrel("q1", "d1", 1)], measures=["RR@10"])

# As the program wrote it when systems still had a size and not a subnet.
EARLIER = {
    "version": 1,
    "title": "Sizes",
    "baseline": "auto.w1-d6",
    "query_sets": [
        {
            "name": "nq",
            "title": "Questions",
            "measures": ["RR@10", "R@5"],
            "n_passages": None,
            "queries": {"q1": "who wrote dune"},
            "curve_measure": "R",
            "fingerprint": "ab",
            "timed_k": 100,
            "typing_errors": 1,
            "origin": "cd",
        }
    ],
    "systems": [
        {"name": "bm25", "title": "BM25", "settings": {"k1": 0.9}, "size_of": "", "size": ""},
        {"name": "auto.w1-d6", "title": "auto", "settings": {}, "size_of": "auto", "size": "w1-d6"},
    ],
    "cells": [
        {
            "query_set": "nq",
            "system": "auto.w1-d6",
            "values": {"RR@10": {"q1": 1.0}, "R@5": {"q1": 1}},
            "curve": {"1": 0.5, "10": 1.0},
            "ms_per_query": 7.5,
            "run": "runs/nq/auto.trec.gz",
            "fingerprint": "ef",
            "warnings": ["one"],
        }
    ],
    "intervals": [{"query_set": "nq", "system": "auto.w1-d6", "measure": "RR@10", "low": 0.5, "high": 1.0}],
    "differences": [
        {
            "query_set": "nq",
            "system": "bm25",
            "baseline": "auto.w1-d6",
            "measure": "RR@10",
            "difference": -0.5,
            "low": -1.0,
            "high": 0.0,
            "p": 0.01,
            "p_holm": 0.02,
            "n_better": 0,
            "n_worse": 1,
        }
    ],
    "skipped": [{"query_set": "dl19", "system": "", "reason": "absent"}],
    "commands": ["elasticdenser eval suite.toml"],
    "environment": {"cores": 2},
}


def search(queries, k):
    return [ScoredDoc(query_id, f"d{rank}", 1 / rank) for query_id in queries for rank in range(1, 4)]


def test_a_comparison_is_read_back_as_it_was_written(tmp_path):
    system = System(name="a.level0", search=search, family="a", subnet="level0")
    comparison = compare(QUERY_SET, [system], title="One", folder=tmp_path, timed_queries=2)
    comparison.write(tmp_path / "results.json")
    assert Comparison.read(tmp_path / "results.json") == comparison
    assert comparison.systems[0].subnet == "level0"
    assert read_run(tmp_path / comparison.cell("two", "a.level0").run)[0].query_id == "q1"


def test_the_keys_of_the_file_are_those_of_earlier_versions(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(EARLIER))
    comparison = Comparison.read(path)
    assert comparison.systems == (
        SystemInfo(name="bm25", title="BM25", settings={"k1": 0.9}),
        SystemInfo(name="auto.w1-d6", title="auto", settings={}, family="auto", subnet="w1-d6"),
    )
    assert comparison.cells[0].curve == {1: 0.5, 10: 1.0}
    assert comparison.difference("nq", "bm25", "RR@10").is_significant()
    comparison.write(path)
    written = json.loads(path.read_text())
    assert written["query_sets"][0].pop("perturbation") == ""  # added later
    assert written == EARLIER


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not results of an evaluation"),
        ("[]", "got format version [], expected 1"),
        ({"version": 99}, "got format version 99, expected 1"),
        ({"version": 1}, "'title' is missing"),
        (EARLIER | {"cells": 3}, "results.cells: got 3, expected a list"),
        (EARLIER | {"extra": 1}, "unknown key 'extra'"),
        (EARLIER | {"systems": [{"name": "a", "title": "", "settings": {}, "size": 5}]}, "got 5, expected"),
    ],
)
def test_other_files_are_refused_with_the_way_out(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(BadInputError) as raised:
        Comparison.read(path)
    assert str(raised.value).startswith(f"{path}: ") and message in str(raised.value)
    assert str(raised.value).endswith("run the evaluation again")


def test_a_missing_file_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(BadInputError, match=r"cannot read it .*: run the evaluation first"):
        Comparison.read(tmp_path / "results.json")
