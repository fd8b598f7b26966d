from __future__ import annotations

import logging
from importlib.util import find_spec

import ir_measures
import pytest
from ir_measures import AP, RR, P, Qrel, R, ScoredDoc, Success, nDCG

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import AnswerMatch, check_documents, evaluate, evaluate_per_query, parse_measures

QRELS = [Qrel("q1", "d1", 1), Qrel("q1", "d2", 0), Qrel("q2", "d3", 1), Qrel("q3", "d4", 1), Qrel("q4", "d4", 1)]
RUN = [
    *(ScoredDoc("q1", f"d{i}", -float(i)) for i in range(3)),
    *(ScoredDoc("q2", f"x{i}", -float(i)) for i in range(10)),
    ScoredDoc("q2", "d3", -99.0),
    ScoredDoc("q3", "d4", 1.0),
]

_without_pyndeval = pytest.mark.skipif(find_spec("pyndeval") is not None, reason="pyndeval is installed")


def test_measures_are_split_in_order_without_duplicates():
    names = ["RR@10 R@1000", "P(rel=2, judged_only=True)@5", "RR@10", "AP"]
    assert parse_measures(names) == [RR @ 10, R @ 1000, P(rel=2, judged_only=True) @ 5, AP]


def test_unusable_measures_are_all_listed():
    bad = ["Foo@10", "ndcg@10", "P", "P@0", "R@x", "P(what=1)@5", "P(2)@5", "RR@10.5", "1+", "P(rel=2", "P@None"]
    with pytest.raises(BadInputError) as caught:
        parse_measures([*bad, "RR@10"])
    message = str(caught.value)
    assert all(repr(name) in message for name in bad)
    assert "'RR@10'" not in message
    assert "did you mean nDCG@10?" in message
    assert "it needs a cut-off: P@10" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "measures"),
    [
        ("ndcg_cut_10", [nDCG @ 10]),
        ("ndcg_cut.10,20", [nDCG @ 10, nDCG @ 20]),
        ("recall_1000", [R @ 1000]),
        ("map", [AP]),
        ("map_cut_100", [AP @ 100]),
        ("recip_rank", [RR]),
        ("P_5", [P @ 5]),
        ("P.5", [P @ 5]),
        ("success", [Success @ 1, Success @ 5, Success @ 10]),
    ],
)
def test_names_of_trec_eval(name, measures, capsys):
    assert parse_measures([name]) == measures
    assert parse_measures(["official"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mrr@10", "did you mean RR@10"),
        ("map@100", "did you mean AP@100"),
        ("hits@5", "did you mean Success@5"),
        ("ndcg_cut_10x", "unknown measure"),
        ("P_0", "unknown measure"),
        ("gm_map", "unknown measure"),
        pytest.param("alpha_nDCG@20", r"pip install ir-measures\[pyndeval\]", marks=_without_pyndeval),
    ],
)
def test_other_names_have_a_hint(name, message):
    with pytest.raises(BadInputError, match=message):
        parse_measures([name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nDCG@x",
            "'nDCG@x' (the cut-off is 'x', expected a whole number from 1 to 2147483647): expected measures such as",
        ),
        ("P(rel=2)@-1", "the cut-off is '-1', expected a whole number from 1"),
        ("nDCG@99999999999999999999999", "the cut-off is 99999999999999999999999, expected a whole number"),
        ("nDCG@True", "the cut-off is True, expected"),
        ("R(rel=0)@3", "rel is 0, expected a whole number from 1"),
        ("R(rel=99999999999999)@3", "rel is 99999999999999, expected"),
        ("RR(foo=1)@10", "it has no parameter 'foo', expected cutoff or rel or judged_only"),
        ("NumQ@5", "it has no parameter 'cutoff', expected none"),
        ("nDCG(dcg='foo')@10", "dcg is 'foo', expected 'log2' or 'exp-log2'"),
        ("IPrec@2", "recall is 2, expected a number with a point, such as 0.5"),
        ("ERR(cutoff='x')", "the cut-off is 'x', expected"),
        ("INST", "it needs max_rel"),
        ("nDCG@10,RR@10", "separate measures by spaces"),
        ("AP(rel=2", "expected NAME, NAME@CUTOFF or NAME(PARAMETER=VALUE)@CUTOFF"),
        ("nDCG(gains={1: 'x'})@3", "gains is {1: 'x'}, expected degrees, such as {1: 3}"),
        ("IPrec@x", "expected NAME, NAME@CUTOFF"),
        ("@10", "expected NAME, NAME@CUTOFF"),
    ],
)
def test_a_measure_that_is_refused_is_explained_in_our_own_words(name, message):
    with pytest.raises(BadInputError) as caught:
        parse_measures([name])
    assert message in str(caught.value)


@pytest.mark.parametrize("names", [[], [" "]])
def test_an_empty_list_of_measures_is_refused(names):
    with pytest.raises(BadInputError, match="got no measure"):
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
def test_a_run_without_judged_queries_is_refused(qrels, run, message):
    with pytest.raises(BadInputError, match=message):
        evaluate(qrels, run, [RR @ 10])


def test_a_measure_whose_script_fails_is_refused():
    with pytest.raises(BadInputError, match="ERR"):
        evaluate(QRELS, RUN, parse_measures(["ERR@20"]))


def test_answer_match_is_a_measure_with_a_cut_off():
    measure = ir_measures.parse_measure("AnswerMatch@20")
    assert measure == AnswerMatch @ 20
    assert (str(measure), measure.NAME, measure.params) == ("AnswerMatch@20", "AnswerMatch", {"cutoff": 20})
    assert parse_measures(["RR@10 AnswerMatch@20", "AnswerMatch@20"]) == [RR @ 10, AnswerMatch @ 20]
    bad = ["AnswerMatch", "AnswerMatch@0", "AnswerMatch(rel=2)@5", "answermatch@5"]
    with pytest.raises(BadInputError) as caught:
        parse_measures(bad)
    assert all(repr(name) in str(caught.value) for name in bad)
    assert "did you mean AnswerMatch@5?" in str(caught.value)


@pytest.mark.parametrize("function", [evaluate, evaluate_per_query])
def test_judgements_are_not_enough_for_answer_match(function):
    with pytest.raises(BadInputError, match=r"AnswerMatch@5 needs answers and the passages' texts.*use answer_match"):
        function(QRELS, RUN, [RR @ 10, AnswerMatch @ 5])


def test_a_run_without_a_judged_hit_warns(caplog):
    run = [
        ScoredDoc("q1", "x1", 1.0),
        ScoredDoc("q1", "x2", 0.5),
        ScoredDoc("q2", "d1", 1.0),
        ScoredDoc("z", "d1", 1.0),
    ]
    with caplog.at_level(logging.WARNING):
        assert evaluate(QRELS, run, [RR @ 10]) == {RR @ 10: 0}
    assert "none of the 3 hits is judged: are these the qrels of another data set?" in caplog.text
    assert "For query 'q1' the run has document 'x1', the qrels have 'd1'" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        evaluate_per_query(QRELS, [*run, ScoredDoc("q1", "d2", 0.1)], [RR @ 10])
    assert "is judged" not in caplog.text, "a hit that is judged to be bad is judged"


@pytest.mark.parametrize("function", [evaluate, evaluate_per_query])
@pytest.mark.parametrize(
    ("hit", "message"),
    [
        (ScoredDoc("q2", "d3", float("nan")), "the score of document 'd3' for query 'q2' is nan, expected a number"),
        (ScoredDoc("q1", "d0", 5.0), "the run has document 'd0' twice for query 'q1', expected once"),
    ],
)
def test_bad_hits_are_refused(function, hit, message):
    run = [hit if hit.score != hit.score and other[:2] == hit[:2] else other for other in RUN]
    with pytest.raises(BadInputError, match=message):
        function(QRELS, run if hit in run else [*run, hit], [RR @ 10])


def test_infinite_scores_are_allowed():
    run = [ScoredDoc("q1", "d0", float("inf")), ScoredDoc("q1", "d1", 0.0), ScoredDoc("q1", "d2", float("-inf"))]
    assert evaluate(QRELS, run, [RR @ 10]) == {RR @ 10: 0.125}


def test_hits_of_another_corpus_are_refused_or_counted(caplog):
    run = [ScoredDoc("q1", "d1", 1.0), ScoredDoc("q1", "d2", 0.5), ScoredDoc("q2", "d2", 1.0)]
    with caplog.at_level(logging.WARNING):
        assert check_documents(iter(run), {"d1", "d2"}, "wiki") == 0
        assert caplog.text == ""
        assert check_documents(run, ["d1"], "wiki") == 2
    assert "2 of 3 hits of the run are not in wiki, such as 'd2'" in caplog.text
    with pytest.raises(BadInputError, match=r"none of the 3 hits .* in wiki: .* as 'd1', the corpus .*'p7'"):
        check_documents(run, {"p7": "text"}, "wiki")
    with pytest.raises(BadInputError, match="the run is empty"):
        check_documents([], {"d1"}, "wiki")
    with pytest.raises(BadInputError, match=r"none of the 3 hits .*'d1'; expected"):
        check_documents(run, lambda doc_id: False, "wiki")


def test_each_document_is_looked_up_once():
    looked_up: list[str] = []
    run = [ScoredDoc(query_id, "d1", 1.0) for query_id in "abc"]
    assert check_documents(run, lambda doc_id: not looked_up.append(doc_id), "wiki") == 0
    assert looked_up == ["d1"]
