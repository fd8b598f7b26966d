"""`--hybrid`, `--snippets` and `tune`."""

from __future__ import annotations

import json
import re

import pytest
from cli_helpers import TEXTS, assert_fails, run


@pytest.fixture(scope="module")
def hybrid_index(corpus, tiny_model, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("indexes") / "hybrid"
    options = ("--encoder", str(tiny_model), "--precision", "fp32", "--hybrid")
    result = run("index", str(corpus), "-o", str(path), *options)
    assert result.exit_code == 0, result.output
    return str(path)


@pytest.fixture
def judged(tmp_path):
    """BEIR folder with a query for each passage, of one of its words."""
    (tmp_path / "qrels").mkdir()
    queries = {"q1": ("planets", "d1"), "q2": ("headers", "d2"), "q3": ("thread", "d3")}
    lines = (json.dumps({"_id": key, "text": text}) for key, (text, _) in queries.items())
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    rows = ["query-id\tcorpus-id\tscore", *(f"{key}\t{doc_id}\t1" for key, (_, doc_id) in queries.items())]
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(rows))
    return str(tmp_path)


def hits_of(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["hits"]


@pytest.mark.parametrize(("query", "doc_id"), [("planets", "d1"), ("Headers!", "d2"), ("the thread", "d3")])
def test_words_decide_at_weight_1(hybrid_index, query, doc_id):
    result = run("search", hybrid_index, query, "--hybrid", "--word-weight", "1", "--json")
    assert [hit["score"] for hit in hits_of(result)] == [1.0, 0.0, pytest.approx(0, abs=1e-6)]
    assert hits_of(result)[0]["doc_id"] == doc_id


def test_a_run_is_hybrid(hybrid_index, judged, tmp_path):
    result = run(
        "run", hybrid_index, judged, "-o", str(tmp_path / "run.trec"), "--hybrid", "--word-weight", "1", "-k", "1"
    )
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "run.trec").read_text().splitlines()
    assert [line.split()[2] for line in lines] == ["d1", "d2", "d3"]


@pytest.mark.slow
def test_words_are_added_to_an_index_and_described(corpus, tiny_model, tmp_path):
    path = str(tmp_path / "later")
    assert run("index", str(corpus), "-o", path, "--encoder", str(tiny_model), "--precision", "fp32").exit_code == 0
    assert_fails(run("search", path, "dune", "--hybrid"), "rebuild", "--hybrid`")
    assert "not indexed" in run("info", path).stdout
    result = run("rebuild", path, "--hybrid", "--stemmer", "none")
    assert result.exit_code == 0 and "22 different words" in result.stderr, result.output
    assert re.search(r"words\s+│ 22 different ones, stemmer none", run("info", path).stdout)
    assert run("verify", path).exit_code == 0
    assert hits_of(run("search", path, "dune", "--hybrid", "--json"))[0]["doc_id"] == "d1"
    assert run("rebuild", path, "--no-hybrid").exit_code == 0
    assert_fails(run("search", path, "dune", "--hybrid"), "rebuild")


def test_a_weight_needs_hybrid_and_a_range(hybrid_index):
    result = run("search", hybrid_index, "dune", "--word-weight", "0.5")
    assert result.exit_code == 2 and "expected --hybrid" in " ".join(result.stderr.split())
    for weight in ("2", "-0.1", "nan"):
        result = run("search", hybrid_index, "dune", "--hybrid", "--word-weight", weight)
        assert result.exit_code == 2 and f"got {weight}; expected a weight from 0" in " ".join(result.stderr.split())


def test_an_unknown_stemmer_is_refused(corpus, tmp_path):
    assert_fails(
        run("index", str(corpus), "-o", str(tmp_path / "new"), "--hybrid", "--stemmer", "x"), "got the stemmer 'x'"
    )


@pytest.mark.slow
def test_snippets_are_sentences_with_the_words_of_the_query(index):
    (hit, *_) = hits_of(run("search", index, "deserts and planets", "--snippets", "--json", "-k", "3"))
    for hit in hits_of(run("search", index, "deserts and planets", "--snippets", "--json", "-k", "3")):
        text, snippet = TEXTS[hit["doc_id"]], hit["snippet"]
        assert text[snippet["start"] : snippet["end"]] == text.strip()
        words = [text[start:end] for start, end in snippet["words"]]
        assert words == (["desert", "planet"] if hit["doc_id"] == "d1" else [])
    table = run("search", index, "deserts", "--snippets", "-k", "3")
    assert table.exit_code == 0 and "dune is a novel about a desert planet" in " ".join(table.stdout.split())


@pytest.mark.slow
def test_tune_finds_the_weight_that_suits_the_judgements(hybrid_index, judged):
    result = run("tune", hybrid_index, judged, "--measure", "RR@10", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    means = {row["word_weight"]: row["mean"] for row in answer["means"]}
    assert (answer["measure"], answer["queries"], len(means)) == ("RR@10", 3, 21)
    assert means[1.0] == 1.0 == means[answer["word_weight"]]
    table = run("tune", hybrid_index, judged)
    assert table.exit_code == 0 and "best" in table.stdout and "--word-weight" in table.stderr


def test_tune_needs_queries_and_judgements_in_one_place(hybrid_index, tmp_path):
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\n")
    assert_fails(run("tune", hybrid_index, str(tmp_path / "qrels.txt")), "qrels.txt: it holds no judgements of queries")


def test_tune_needs_words(index, judged):
    without_words = run("tune", index, judged)
    assert_fails(without_words, "cannot be searched by words: add them with `elasticdenser rebuild")
    assert "search without --hybrid" not in without_words.stderr  # which is no way to tune it
