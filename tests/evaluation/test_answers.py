from __future__ import annotations

import gzip
import itertools
import json
import logging
import os
import random
import subprocess
import sys
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.answers import AnswerMatcher, answer_match, answer_ranks, has_answer


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        ("Paris", "It is PARIS.", True),
        ("Paris", "Parisian", False),
        ("the Hague", "in The\u00a0Hague now", True),
        ("Hague the", "the Hague", False),
        ("U.S.", "the U.S.A", True),
        ("U.S.", "the US", False),
        ("don't", "I do n't", False),
        ("don't", "I don ' t", True),
        ("Bjo\u0308rk", "with Bj\u00f6rk", True),
        ("Bjork", "with Bj\u00f6rk", False),
        ("ΟΔΟΣ", "η οδος", True),
        ("ΟΔΟΣ", "η οδοσ", False),
        ("ΟΔΟΣ", "Η ΟΔΟΣ'Α", True),
        ("1,000", "cost 1,000 euros", True),
        ("a\u200bb", "a b", True),
        ("x", "", False),
        (" \u200b", "anything", False),
        ("", "anything", False),
    ],
)
def test_an_answer_matches_as_tokens_in_a_row(answer, text, expected):
    assert has_answer([answer], text) is expected
    assert has_answer(["surely not this", answer], text) is expected


def test_a_single_string_is_refused():
    with pytest.raises(BadInputError, match="expected a list of answers"):
        AnswerMatcher("Paris")


TEXTS = {"d1": "nothing here", "d2": "It was Paris", "d3": "Rome, of course"}
RUN = [
    ScoredDoc("q1", "d2", 0.5),
    ScoredDoc("q1", "d1", 0.9),
    ScoredDoc("q2", "d3", 0.1),
    ScoredDoc("q2", "d1", 0.0),
    ScoredDoc("q9", "d1", 0.0),
]


def test_answer_match_is_the_share_of_questions_answered_within_the_best_k(caplog):
    answers = {"q1": ["Paris"], "q2": ["Milan", "rome"], "q3": ["Oslo"], "q4": ["x"]}
    with caplog.at_level(logging.WARNING):
        values = answer_match(iter(RUN), answers, TEXTS.__getitem__, ks=(5, 1))
    assert values == {1: 0.25, 5: 0.5}
    assert "1 of 3 queries in the run are not judged" in caplog.text
    assert "2 of 4 judged queries are missing" in caplog.text


def test_answer_ranks_are_those_of_the_first_passage_with_an_answer():
    answers = {"q3": ["Oslo"], "q1": ["Paris"], "q2": ["Milan", "rome"]}
    ranks = answer_ranks(iter(RUN), answers, TEXTS.__getitem__, 5)
    assert list(ranks.items()) == [("q3", None), ("q1", 2), ("q2", 1)]
    assert answer_ranks(RUN, answers, TEXTS.__getitem__, 1) == {"q3": None, "q1": None, "q2": 1}
    with pytest.raises(BadInputError, match="cut-offs"):
        answer_ranks(RUN, answers, TEXTS.__getitem__, 0)


@pytest.mark.parametrize(
    ("answer", "text", "expected"),
    [
        (r"New\s?York", "in NEWYORK", True),
        ("^second$", "first\nSECOND\nthird", True),
        ("Bj\u00f6rk", "with bjo\u0308rk", True),
        ("ork", "Bj\u00f6rk", False),
        ("r.k", "Björk", False),
        ("(", "a (", False),
        ("(?a)x", "x", False),
        ("a{99999999999999999999}", "a", False),
        ("(?u)x", "x", True),
        (" ", "anything here", False),
    ],
)
@pytest.mark.filterwarnings("error")
def test_answers_can_be_regular_expressions(answer, text, expected):
    assert has_answer([answer], text, regex=True) is expected
    assert has_answer(["surely not this", answer], text, regex=True) is expected


def test_invalid_expressions_match_nothing_and_are_counted(caplog):
    answers = {"q1": ["(", "par.s"], "q2": ["["], "q3": ["Oslo"]}
    with caplog.at_level(logging.WARNING):
        values = answer_match(RUN, answers, TEXTS.__getitem__, ks=[5], regex=True)
    assert values == {5: 1 / 3}
    expected = "2 answers are not valid regular expressions and match nothing, such as '(' of question 'q1'"
    assert [record.getMessage() for record in caplog.records].count(expected) == 1
    assert AnswerMatcher(["(", "x"], regex=True).invalid == ["("]
    assert answer_match(RUN, answers, TEXTS.__getitem__, ks=[5]) == {5: 0}


@pytest.mark.parametrize(
    ("hit", "message"),
    [
        (ScoredDoc("q1", "d3", float("nan")), "the score of document 'd3'"),
        (ScoredDoc("q1", "d2", 0.1), "'d2' twice"),
    ],
)
def test_bad_hits_are_refused(hit, message):
    with pytest.raises(BadInputError, match=message):
        answer_match([*RUN, hit], {"q1": ["Paris"]}, TEXTS.__getitem__)


def test_ties_keep_the_order_given():
    run = [ScoredDoc("q1", "d2", 1.0), ScoredDoc("q1", "d1", 1.0)]
    assert answer_match(run, {"q1": ["Paris"]}, TEXTS.__getitem__, ks=[1]) == {1: 1.0}


@pytest.mark.parametrize(
    ("answers", "ks", "message"),
    [
        ({"q1": ["Paris"]}, (), "cut-offs"),
        ({"q1": ["Paris"]}, (0, 5), "cut-offs"),
        ({"q1": []}, (5,), "has no answers"),
        ({"z": ["Paris"]}, (5,), "no judged query"),
    ],
)
def test_questions_without_answers_and_bad_cutoffs_are_refused(answers, ks, message):
    with pytest.raises(BadInputError, match=message):
        answer_match(RUN, answers, TEXTS.__getitem__, ks=ks)


def test_a_hit_outside_the_corpus_is_refused():
    with pytest.raises(BadInputError, match="'d1' of the run is not in the corpus"):
        answer_match(RUN, {"q1": ["Paris"]}, {"d2": "x"}.__getitem__)


# pyserini's module is run in a process of its own, from its file: importing the package would start Java.
PYSERINI_VERDICTS = """
import importlib.util, json, sys
package = importlib.util.find_spec("pyserini").submodule_search_locations[0]
spec = importlib.util.spec_from_file_location("reference", package + "/eval/evaluate_dpr_retrieval.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
tokenizer = reference.SimpleTokenizer()
pairs = json.load(sys.stdin)
regex = sys.argv[1:] == ["regex"]
print(json.dumps([reference.has_answers(text, answers, tokenizer, regex) for answers, text in pairs]))
"""


def verdicts_of_pyserini(pairs: list[tuple[list[str], str]], *args: str) -> list[bool]:
    if find_spec("pyserini") is None:
        pytest.skip("needs pip install 'elasticdenser[pyserini]'")
    command = [sys.executable, "-c", PYSERINI_VERDICTS, *args]
    result = subprocess.run(
        command, input=json.dumps(pairs), capture_output=True, text=True, env=dict(os.environ), timeout=300
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def trivia_pairs(data) -> list[tuple[list[str], str]]:
    questions, passages = data / "triviaqa/queries.jsonl.gz", data / "wiki/corpus-00-07.jsonl.gz"
    with gzip.open(questions, "rt", encoding="utf-8") as file:
        answers = [json.loads(line)["answers"] for line in file]
    with gzip.open(passages, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in itertools.islice(file, 20_000)]
    # Random pairs hardly ever match, so the other pairs have an answer in the text, at least as a part of a word.
    rng = random.Random(7)
    pairs = [(rng.choice(answers), rng.choice(texts)) for _ in range(100)]
    while len(pairs) < 500:
        accepted, text = rng.choice(answers), rng.choice(texts)
        if any(answer.lower() in text.lower() for answer in accepted):
            pairs.append((accepted, text))
    return pairs


@pytest.mark.slow
def test_agrees_with_pyserini_on_real_pairs(trivia_pairs):
    ours = [has_answer(answers, text) for answers, text in trivia_pairs]
    assert ours == verdicts_of_pyserini(trivia_pairs)
    assert 50 < sum(ours) < 450


@pytest.mark.slow
def test_agrees_with_pyserini_on_odd_characters():
    rng = random.Random(7)
    letters = "aAbBΣσςİıßẞée\u0301' .-\t\n\u00a0\u200b\u00ad１①ﬁ\U0001f600न\u094d가"
    random_pairs = [
        ("".join(rng.choices(letters, k=rng.randint(1, 3))), "".join(rng.choices(letters, k=rng.randint(0, 30))))
        for _ in range(5000)
    ]
    # DPR finds an answer without tokens in every text; such answers are left out here.
    pairs = [([answer], text) for answer, text in random_pairs if AnswerMatcher([answer])]
    assert [has_answer(answers, text) for answers, text in pairs] == verdicts_of_pyserini(pairs)


@pytest.mark.slow
def test_agrees_with_pyserini_on_regular_expressions():
    rng = random.Random(7)
    parts = [*"aAbé\u0301.?*+|()[]^$ ßſK\u212a\n", r"\d", r"\w", r"\s", r"\b", "{2}", "(?i)", "(?:"]
    patterns = ["".join(rng.choices(parts, k=rng.randint(1, 5))) for _ in range(5000)]
    texts = ["".join(rng.choices("aAbBé\u0301\u00e9 1ßſkK\n.", k=rng.randint(0, 20))) for _ in patterns]
    pairs = [([answer], text) for answer, text in zip(patterns, texts, strict=True) if answer.strip()]
    ours = [has_answer(answers, text, regex=True) for answers, text in pairs]
    assert ours == verdicts_of_pyserini(pairs, "regex")
    assert 500 < sum(ours) < 4500


@pytest.mark.slow
@given(st.text(), st.text(), st.text())
def test_a_text_between_spaces_is_found(before, answer, after):
    assert has_answer([answer], f"{before} {answer} {after}") is bool(AnswerMatcher([answer]))
