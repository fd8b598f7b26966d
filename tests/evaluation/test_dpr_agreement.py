"""Agreement of answer match with the DPR tools of pyserini, from the questions to the accuracies of a run."""

from __future__ import annotations

import re
import runpy
import sys
from itertools import pairwise

import pytest
from tiny import needs_pyserini

from elasticdenser.datasets import load_answers, load_queries, open_corpus
from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.evaluation import answer_match
from elasticdenser.retrieval.bm25 import Bm25Index
from elasticdenser.retrieval.java import start_jvm

pytestmark = [
    pytest.mark.slow,
    needs_pyserini,
]

N_QUESTIONS = 150
KS = (1, 5, 20, 100)


@pytest.fixture(scope="module")
def corpus(data):
    return open_corpus([data / "nq"])


@pytest.fixture(scope="module")
def text_of(corpus):
    return {passage.doc_id: passage.text for passage in corpus}.__getitem__


@pytest.fixture(scope="module")
def index(corpus, tmp_path_factory):
    return Bm25Index.build(corpus, tmp_path_factory.mktemp("bm25") / "nq")


@pytest.fixture(scope="module")
def questions(data):
    """Questions numbered from 0, as the tools of pyserini expect them."""
    return [query.text for query in load_queries(data / "triviaqa")[:N_QUESTIONS]]


@pytest.fixture(scope="module")
def answers(data):
    loaded = load_answers(data / "triviaqa")
    ids = [query.query_id for query in load_queries(data / "triviaqa")[:N_QUESTIONS]]
    return {str(number): loaded[query_id] for number, query_id in enumerate(ids)}


@pytest.fixture(scope="module")
def run_file(index, questions, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "bm25.trec"
    assert write_run(path, index.search(questions, k=100)) > 99 * N_QUESTIONS
    return path


@pytest.fixture
def pyserini_accuracies(index, run_file, questions, tmp_path, monkeypatch, capsys):
    """Return a function that computes the accuracies of the run with pyserini."""

    def run(module: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        monkeypatch.delitem(sys.modules, module, raising=False)  # one of the two modules imports the other
        capsys.readouterr()
        runpy.run_module(module, run_name="__main__")
        return capsys.readouterr().out

    def accuracies(answers: dict[str, list[str]], *options: str) -> dict[int, float]:
        start_jvm()
        topics, retrieval = tmp_path / "topics.tsv", tmp_path / "retrieval.json"
        # The reader counts lines, and the tool evaluates the second column as Python.
        lines = [f"{text}\t{answers[str(number)]!r}\n" for number, text in enumerate(questions)]
        topics.write_text("".join(lines), encoding="utf-8")
        run(
            "pyserini.eval.convert_trec_run_to_dpr_retrieval_run",
            *("--topics-file", str(topics), "--topics-reader", "io.anserini.search.topicreader.DprNqTopicReader"),
            *("--index", str(index.path / "lucene"), "--input", str(run_file), "--output", str(retrieval)),
            *options,
        )
        output = run(
            "pyserini.eval.evaluate_dpr_retrieval",
            *("--retrieval", str(retrieval), "--topk", *map(str, KS)),
            *options,
        )
        return {int(k): float(value) for k, value in re.findall(r"Top(\d+)\s+accuracy: (\S+)", output)}

    return accuracies


def check(ours: dict[int, float], expected: dict[int, float]) -> None:
    assert {k: f"{value:.4f}" for k, value in ours.items()} == {k: f"{value:.4f}" for k, value in expected.items()}
    values = [ours[k] for k in KS]
    assert values == sorted(values) and values[0] < values[-1]
    assert all(0.02 < value < 0.98 for value in values)


def test_accuracy_is_that_of_pyserini(pyserini_accuracies, run_file, answers, text_of):
    ours = answer_match(read_run(run_file), answers, text_of, KS)
    check(ours, pyserini_accuracies(answers))


def as_pattern(number: int, answer: str) -> str:
    """Return every other answer unchanged, valid or not, and the rest with word bounds, an option and free spaces."""
    if number % 2:
        return answer
    return r"\b" + r"\s+".join(map(re.escape, answer.split())) + r"s?\b"


def test_accuracy_with_regular_expressions(pyserini_accuracies, run_file, answers, text_of):
    patterns = {
        question_id: ["(unbalanced", *(as_pattern(number, answer) for number, answer in enumerate(accepted))]
        for question_id, accepted in answers.items()
    }
    ours = answer_match(read_run(run_file), patterns, text_of, KS, regex=True)
    check(ours, pyserini_accuracies(patterns, "--regex"))
    assert ours != answer_match(read_run(run_file), answers, text_of, KS)


def test_scores_of_a_run_fall(run_file):
    hits = read_run(run_file)
    assert all(hit.score > below.score for hit, below in pairwise(hits) if hit.query_id == below.query_id)
