import logging

import pytest
from ir_measures import Qrel, ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import QuerySet

QUERIES = {"q1": "who wrote dune", "q2": "capital of france", "q3": "nobody judged this"}
QRELS = [Qrel("q1", "d1", 2), Qrel("q1", "d2", 1), Qrel("q2", "d3", 1)]
TEXTS = {"d1": "Frank Herbert wrote it", "d2": "a desert", "d3": "Paris it is"}
ANSWERS = {"q1": ["Frank Herbert"], "q3": ["Paris"]}
RUN = [ScoredDoc("q1", "d2", 2.0), ScoredDoc("q1", "d1", 1.0), ScoredDoc("q3", "d1", 3.0), ScoredDoc("q3", "d3", 1.0)]


def make(**changes) -> QuerySet:
    return QuerySet(**{"name": "few", "queries": QUERIES, "qrels": QRELS, "measures": ["RR@10", "R@1"], **changes})


def test_judged_queries_without_hits_count_0_and_unjudged_ones_not_at_all():
    query_set = make(k=10)
    values, curve = query_set.measure(RUN)
    assert list(query_set.judged) == ["q1", "q2"]
    assert values == {"RR@10": {"q1": 1.0, "q2": 0.0}, "R@1": {"q1": 0.5, "q2": 0.0}}
    assert curve == {1: 0.25, 2: 0.5, 3: 0.5, 5: 0.5, 10: 0.5}


def test_answer_match_beside_judgements_counts_its_own_queries():
    query_set = make(measures=["RR@10", "AnswerMatch@1", "AnswerMatch@2"], answers=ANSWERS, text_of=TEXTS.__getitem__)
    values, _ = query_set.measure(RUN)
    assert list(query_set.judged) == ["q1", "q2", "q3"]
    assert values["AnswerMatch@1"] == {"q1": 0.0, "q3": 0.0}
    assert values["AnswerMatch@2"] == {"q1": 1.0, "q3": 1.0}
    assert values["RR@10"] == {"q1": 1.0, "q2": 0.0}


def test_answers_alone():
    query_set = make(qrels=(), measures=["AnswerMatch@2"], answers=ANSWERS, text_of=TEXTS.__getitem__, k=5)
    values, curve = query_set.measure(RUN)
    assert list(query_set.judged) == ["q1", "q3"]
    assert values == {"AnswerMatch@2": {"q1": 1.0, "q3": 1.0}}
    assert curve == {1: 0.0, 2: 1.0, 3: 1.0, 5: 1.0}
    assert query_set.curve_measure == "AnswerMatch"


def test_the_recall_curve_follows_the_relevance_level_of_the_table():
    query_set = make(measures=["nDCG@2", "R(rel=2)@1"], k=2)
    assert query_set.curve_measure == "R(rel=2)"
    assert query_set.measure(RUN)[1] == {1: 0.0, 2: 0.5}  # q1 alone has a passage of level 2; q2 counts 0


def test_hits_with_the_id_of_their_query_can_be_left_out():
    queries, qrels = {"d1": "x"}, [Qrel("d1", "d2", 1)]
    run = [ScoredDoc("d1", "d1", 2.0), ScoredDoc("d1", "d2", 1.0)]
    with_them = QuerySet(name="own", queries=queries, qrels=qrels, measures=["RR@10"])
    without = QuerySet(name="own", queries=queries, qrels=qrels, measures=["RR@10"], ignore_identical_ids=True)
    assert with_them.measure(run)[0]["RR@10"] == {"d1": 0.5}
    assert without.measure(run)[0]["RR@10"] == {"d1": 1.0}
    assert with_them.fingerprint() != without.fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": {}}, "has no queries"),
        ({"k": 0}, "got k = 0"),
        ({"k": 100, "measures": ["R@1000"]}, "R@1000 needs 1000 hits, but k is 100"),
        ({"measures": ["AnswerMatch@5"]}, "needs answers and the texts"),
        ({"measures": ["AnswerMatch@5"], "answers": ANSWERS}, "needs answers and the texts"),
        ({"qrels": ()}, "no judgements for RR@10, R@1"),
        ({"qrels": [Qrel("other", "d1", 1)]}, "judgements for 1 queries that it does not have, such as 'other'"),
        ({"measures": ["RR@10", "Precison@3"]}, "Precison@3"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, message):
    with pytest.raises(BadInputError) as raised:
        make(**changes)
    assert message in str(raised.value)


def test_documents_that_the_corpus_lacks(caplog):
    query_set = make(has_document=TEXTS.__contains__)
    query_set.check(RUN)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        query_set.check([*RUN, ScoredDoc("q2", "d9", 1.0)])
    assert "d9" in caplog.text
    with pytest.raises(BadInputError):
        query_set.check([ScoredDoc("q1", "x1", 1.0), ScoredDoc("q1", "x2", 1.0)])


def test_fingerprint_knows_what_matters():
    assert make().fingerprint() == make(qrels=list(reversed(QRELS)), title="another name").fingerprint()
    assert make().fingerprint() != make(qrels=QRELS[:2]).fingerprint()
    assert make().fingerprint() != make(queries=QUERIES | {"q1": "who wrote it"}).fingerprint()
