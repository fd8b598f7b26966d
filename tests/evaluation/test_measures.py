from __future__ import annotations

import logging

import pytest
from ir_measures import AP, RR, P, Qrel, R, ScoredDoc, Success, nDCG

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import evaluate, evaluate_per_query, parse_measures

QRELS = [Qrel("q1", "d1", 1), Qrel("q1", "d2", 0), Qrel("q2", "d3", 1), Qrel("q3", "d4", 1), Qrel("q4", "d4", 1)]
RUN = [
    *(ScoredDoc("q1", f"d{i}", -float(i)) for i in range(3)),
    *(ScoredDoc("q2", f"x{i}", -float(i)) for i in range(10)),
    ScoredDoc("q2", "d3", -99.0),
    ScoredDoc("q3", "d4", 1.0),
]


def test_parse_measures_splits_orders_and_drops_doubles():
    names = ["RR@10 R@1000", "P(rel=2, judged_only=True)@5", "RR@10", "AP"]
    assert parse_measures(names) == [RR @ 10, R @ 1000, P(rel=2, judged_only=True) @ 5, AP]


def test_parse_measures_lists_every_bad_one():
    bad = ["Foo@10", "ndcg@10", "P", "P@0", "R@x", "P(what=1)@5", "P(2)@5", "RR@10.5", "1+", "P(rel=2", "P@None"]
    with pytest.raises(BadInputError) as caught:
        parse_measures([*bad, "RR@10"])
    message = str(caught.value)
    assert all(repr(name) in message for name in bad)
    assert "'RR@10'" not in message
    assert "did you mean nDCG@10?" in message
    assert "it needs a cut-off: P@10" in message
    assert "\n" not in message


@pytest.mark.parametrize("names", [[], [" "]])
def test_parse_measures_wants_one(names):
    with pytest.raises(BadInputError, match="no measure given"):
        parse_measures(names)


def test_judged_query_without_results_counts_0_and_warns(caplog):
    with caplog.at_level(logging.WARNING):
        values = evaluate(QRELS, [*RUN, ScoredDoc("other", "d1", 1.0)], [RR @ 10, R @ 100, Success @ 1, nDCG @ 10])
    assert list(values) == [RR @ 10, R @ 100, Success @ 1, nDCG @ 10]
    assert values[RR @ 10] == pytest.approx((1 / 2 + 0 + 1 + 0) / 4)
    assert values[R @ 100] == pytest.approx(3 / 4)
    assert values[Success @ 1] == pytest.approx(1 / 4)
    assert "1 of 4 queries in the run are not judged" in caplog.text
    assert "1 of 4 judged queries are missing" in caplog.text


def test_per_query_agrees_with_aggregate():
    measures = parse_measures(["RR@10 nDCG@10 R@5"])
    per_query = evaluate_per_query(iter(QRELS), iter(RUN), measures)
    assert list(per_query[RR @ 10]) == ["q1", "q2", "q3", "q4"]
    assert per_query[RR @ 10]["q4"] == 0
    for measure, value in evaluate(iter(QRELS), iter(RUN), measures).items():
        assert sum(per_query[measure].values()) / 4 == pytest.approx(value)


@pytest.mark.parametrize(
    ("qrels", "run", "message"),
    [
        (QRELS, [ScoredDoc("z1", "d1", 1.0)], "no judged query.*'z1'.*'q1'"),
        ([], RUN, "no judgements"),
        (QRELS, [], "run is empty"),
    ],
)
def test_nothing_in_common(qrels, run, message):
    with pytest.raises(BadInputError, match=message):
        evaluate(qrels, run, [RR @ 10])


def test_a_measure_whose_script_fails_is_no_traceback():
    with pytest.raises(BadInputError, match="ERR"):
        evaluate(QRELS, RUN, parse_measures(["ERR@20"]))
