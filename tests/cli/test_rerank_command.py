"""Reranking on the command line: runs of any tool, and searches."""

from __future__ import annotations

import json

import pytest
from cli_helpers import TEXTS, assert_fails, assert_fails_after_notes, run

from elasticdenser import ElasticRanker
from elasticdenser.datasets.runs import read_run
from elasticdenser.models import shipped_ranker

QUERIES = {"q1": "dune novel", "q2": "csv file"}
RUN = {"q2": ["d2", "d1"], "q1": ["d3", "d2", "d1"]}


@pytest.fixture
def files(tmp_path):
    """Queries, and a run of another tool whose ranks begin at 0."""
    (tmp_path / "queries.tsv").write_text("".join(f"{query_id}\t{text}\n" for query_id, text in QUERIES.items()))
    lines = (
        f"{query_id} Q0 {doc_id} {rank} {300 - 100 * rank} other\n"
        for query_id, doc_ids in RUN.items()
        for rank, doc_id in enumerate(doc_ids)
    )
    (tmp_path / "first.trec").write_text("".join(lines))
    return tmp_path


def rerank(files, corpus, ranker, *options, run_file="first.trec"):
    named = ("--corpus", str(corpus), "--queries", str(files / "queries.tsv"), "--ranker", str(ranker))
    return run("rerank", str(files / run_file), *named, "-o", str(files / "new.trec"), *options)


def by_query(path) -> dict[str, list[str]]:
    ranked: dict[str, list[str]] = {}
    for hit in read_run(path):
        ranked.setdefault(hit.query_id, []).append(hit.doc_id)
    return ranked


def expected_order(ranker, query_id, doc_ids, subnet=None) -> list[str]:
    ranked = ElasticRanker.from_pretrained(ranker).rerank(
        QUERIES[query_id], [TEXTS[doc_id] for doc_id in doc_ids], subnet=subnet
    )
    return [doc_ids[position] for position, _, _ in ranked]


def test_a_run_gets_the_order_of_the_ranker(files, corpus, tiny_ranker):
    result = rerank(files, corpus, tiny_ranker, "--tag", "mine", "--subnet", "w0.5-d1")
    assert result.exit_code == 0, result.output
    assert "5 hits for 2 queries, reranked by elastic:100:w0.5-d1" in result.stderr
    ranked = by_query(files / "new.trec")
    assert list(ranked) == list(RUN)
    assert ranked == {query_id: expected_order(tiny_ranker, query_id, RUN[query_id], "w0.5-d1") for query_id in RUN}
    assert (files / "new.trec").read_text().splitlines()[0].split()[3::2] == ["1", "mine"]


def test_documents_below_keep_their_order_with_falling_scores(files, corpus, tiny_ranker):
    result = rerank(files, corpus, tiny_ranker, "-k", "2")
    assert result.exit_code == 0, result.output
    ranked = by_query(files / "new.trec")
    assert ranked["q1"] == [*expected_order(tiny_ranker, "q1", ["d3", "d2"]), "d1"]
    scores = [hit.score for hit in read_run(files / "new.trec") if hit.query_id == "q1"]
    assert scores[0] > scores[1] > scores[2]


def test_stages_and_threads_rank_alike(files, corpus, tiny_ranker):
    outputs = []
    for workers in ("1", "3"):
        result = rerank(files, corpus, tiny_ranker, "-k", "3:w0.25-d1,1:w1-d2", "--workers", workers)
        assert result.exit_code == 0, result.output
        outputs.append((files / "new.trec").read_text())
    assert outputs[0] == outputs[1]
    assert by_query(files / "new.trec")["q1"] == expected_order(tiny_ranker, "q1", RUN["q1"], "w0.25-d1")


def test_the_first_stage_has_its_weight(files, corpus, tiny_ranker):
    result = rerank(files, corpus, tiny_ranker, "--first-stage-weight", "100")
    assert result.exit_code == 0, result.output
    assert by_query(files / "new.trec") == RUN


def test_the_scale_of_a_runs_scores_does_not_matter(files, corpus, tiny_ranker):
    runs = []
    for factor, offset in ((1, 0), (1000, -5)):
        lines = [line.split() for line in (files / "first.trec").read_text().splitlines()]
        scaled = [[*line[:4], str(float(line[4]) * factor + offset), line[5]] for line in lines]
        (files / "first.trec").write_text("".join(" ".join(line) + "\n" for line in scaled))
        assert rerank(files, corpus, tiny_ranker, "--first-stage-weight", "0.5").exit_code == 0
        runs.append(by_query(files / "new.trec"))
    assert runs[0] == runs[1]


@pytest.mark.slow
def test_an_index_is_a_corpus_too(files, corpus, index, tiny_ranker):
    assert rerank(files, corpus, tiny_ranker).exit_code == 0
    of_corpus = (files / "new.trec").read_text()
    result = rerank(files, index, tiny_ranker)
    assert result.exit_code == 0, result.output
    assert (files / "new.trec").read_text() == of_corpus


@pytest.mark.slow
def test_what_does_not_fit_together_is_refused(files, corpus, index, tiny_ranker):
    with (files / "first.trec").open("a") as file:
        file.write("q1 Q0 x9 4 -1 other\nq1 Q0 x8 5 -2 other\n")
    for source in (corpus, index):
        parts = (f"2 of the 5 documents to rerank are not in {source} ('x8', 'x9')", "give the corpus")
        assert_fails_after_notes(rerank(files, source, tiny_ranker), *parts)
    assert not (files / "new.trec").exists()
    assert rerank(files, corpus, tiny_ranker, "-k", "3").exit_code == 0
    with (files / "first.trec").open("a") as file:
        file.write("q7 Q0 d1 1 1 other\n")
    result = rerank(files, corpus, tiny_ranker)
    assert_fails_after_notes(result, "the run has 1 of its 3 queries that are not among the queries given ('q7')")
    two_texts = files / "twice.jsonl"
    two_texts.write_text(corpus.read_text() + json.dumps({"_id": "d1", "text": "another"}) + "\n")
    (files / "first.trec").write_text("q1 Q0 d1 1 1 other\n")
    assert_fails(rerank(files, two_texts, tiny_ranker), "the corpus has two texts for the id 'd1', expected one")


@pytest.mark.parametrize("k", ["0", "00:w1-d2", "-3", "mmr:0.5", "x", ""])
def test_numbers_of_candidates_below_one_are_refused(files, corpus, tiny_ranker, k):
    result = rerank(files, corpus, tiny_ranker, "-k", k)
    assert result.exit_code == 2 and "expected a number from 1" in " ".join(result.stderr.split()), result.output


def test_wrong_subnets_are_refused(files, corpus, tiny_ranker):
    assert_fails(rerank(files, corpus, tiny_ranker, "-k", "5,"), "got reranker 'elastic:5,', expected N")
    assert_fails(rerank(files, corpus, tiny_ranker, "--subnet", "w1-d6"), "expected one of this ranker's: w1-d2")
    result = rerank(files, corpus, tiny_ranker, "-k", "5:w1-d2", "--subnet", "w1-d2")
    assert result.exit_code == 2 and "got -k 5:w1-d2 and --subnet w1-d2" in " ".join(result.stderr.split())


def test_without_a_ranker_the_error_says_how_to_give_one(files, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped_ranker, "SHIPPED_RANKER", tmp_path)
    named = ("--corpus", str(corpus), "--queries", str(files / "queries.tsv"), "-o", str(files / "new.trec"))
    result = run("rerank", str(files / "first.trec"), *named)
    assert_fails(result, "this package comes with none: give the folder of one with --ranker FOLDER")


@pytest.mark.slow
def test_searches_are_reranked(index, tiny_ranker):
    def search(*options):
        result = run("search", index, "dune novel", "--json", *options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    first = [hit["doc_id"] for hit in search()["hits"]]
    answer = search("--rerank", "3:w0.5-d1", "--ranker", str(tiny_ranker))
    assert answer["reranker"] == "elastic:3:w0.5-d1" and "reranker" not in search()
    assert [hit["doc_id"] for hit in answer["hits"]] == expected_order(tiny_ranker, "q1", first, "w0.5-d1")
    assert search("--ranker", str(tiny_ranker))["reranker"] == "elastic:50:w1-d2"
    assert search("--rerank", "mmr:0.5")["reranker"] == "mmr:0.5:100"
    table = run("search", index, "dune novel", "--rerank", "3:w0.5-d1", "--ranker", str(tiny_ranker))
    assert "elastic:3:w0.5-d1, " in table.stdout
    assert_fails(run("search", index, "dune", "--rerank", "x"), "or a number of candidates, such as 50")


def test_runs_are_reranked(files, index, tiny_ranker):
    output, queries = files / "new.trec", str(files / "queries.tsv")
    result = run("run", index, queries, "-o", str(output), "--rerank", "2:w0.5-d1", "--ranker", str(tiny_ranker))
    assert result.exit_code == 0, result.output
    reranked = by_query(output)
    assert run("run", index, queries, "-o", str(output)).exit_code == 0
    first = by_query(output)
    assert reranked == {
        query_id: expected_order(tiny_ranker, query_id, doc_ids[:2], "w0.5-d1") + doc_ids[2:]
        for query_id, doc_ids in first.items()
    }
