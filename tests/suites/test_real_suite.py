"""Suite over real passages and questions with the real encoder, compared with trec_eval."""

import gzip
import json
import subprocess
from pathlib import Path

import pytest
from tiny import needs_pyserini

from elasticdenser.datasets import load_queries, open_corpus
from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.retrieval import java
from elasticdenser.suites import SuiteOptions, read_suite, run_suite

N_QUESTIONS = 300
SUITE = """
title = "Some questions of Natural Questions"
k = 100
[corpora.nq]
sources = ["some-nq"]
[query-sets.nq]
corpus = "nq"
source = "some-nq"
measures = ["nDCG@10", "AP", "R@20", "R@100", "Success@5", "RR@10", "AnswerMatch@20"]
[systems.exact]
type = "dense"
exact = true
[systems.bm25]
type = "bm25"
[systems.rrf]
type = "rrf"
of = ["bm25", "exact"]
"""
# Our measures and their names in trec_eval.
TREC_EVAL_NAMES = {
    "nDCG@10": "ndcg_cut_10",
    "AP": "map",
    "R@20": "recall_20",
    "R@100": "recall_100",
    "Success@5": "success_5",
}


@pytest.fixture(scope="module")
def some_nq(data, tmp_path_factory) -> Path:
    """Folder that holds a BEIR folder: the first dev questions and their gold paragraphs."""
    folder = tmp_path_factory.mktemp("real") / "some-nq"
    (folder / "qrels").mkdir(parents=True)
    lines = (data / "nq" / "qrels" / "dev.tsv").read_text().splitlines()[: N_QUESTIONS + 1]
    (folder / "qrels" / "dev.tsv").write_text("\n".join(lines) + "\n")
    judged, gold = ({line.split("\t")[column] for line in lines[1:]} for column in (0, 1))
    with gzip.open(data / "nq" / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        queries = [line for line in file if json.loads(line)["_id"] in judged]
    with gzip.open(data / "nq" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        passages = [line for line in file if json.loads(line)["_id"] in gold]
    (folder / "queries.jsonl").write_text("".join(queries), encoding="utf-8")
    (folder / "corpus.jsonl").write_text("".join(passages), encoding="utf-8")
    assert len(load_queries(folder)) == N_QUESTIONS
    assert len(list(open_corpus([folder]))) == len(gold)
    return folder.parent


def trec_eval(qrels: Path, run: Path) -> dict[str, float]:
    """Return measure -> value of a run, by the program that comes with pyserini."""
    program = [java.require_pyserini().home / "bin" / "java", "-cp", java._anserini_jar(), "trec_eval"]
    command = [*program, "-c", "-m", "all_trec", qrels, run]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0]: float(row[2]) for row in rows if row[1:2] == ["all"] and row[0] != "runid"}


@pytest.mark.slow
@needs_pyserini
def test_the_figures_are_those_of_trec_eval(minilm, some_nq, tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text(SUITE)
    comparison = run_suite(
        read_suite(path), tmp_path / "out", SuiteOptions(data=some_nq, offline=True, timed_queries=0)
    )
    assert [system.name for system in comparison.systems] == ["exact", "bm25", "rrf"]
    qrels = tmp_path / "nq.qrels"
    lines = (some_nq / "some-nq" / "qrels" / "dev.tsv").read_text().splitlines()[1:]
    qrels.write_text("".join("{} 0 {} {}\n".format(*line.split("\t")) for line in lines))
    runs = [tmp_path / f"{cell.system}.trec" for cell in comparison.cells]
    for run, cell in zip(runs, comparison.cells, strict=True):
        write_run(run, read_run(tmp_path / "out" / cell.run))
    for run, cell in zip(runs, comparison.cells, strict=True):
        expected = trec_eval(qrels, run)
        ours = {name: cell.mean(measure) for measure, name in TREC_EVAL_NAMES.items()}
        assert ours == pytest.approx({name: expected[name] for name in ours}, abs=5.1e-5), cell.system
    # With only gold paragraphs the task is easy, also for BM25, but hard enough to distinguish the two systems.
    assert 1 > comparison.cell("nq", "exact").mean("nDCG@10") > comparison.cell("nq", "bm25").mean("nDCG@10") > 0.7
    assert comparison.cell("nq", "exact").mean("AnswerMatch@20") > 0.9
    assert comparison.difference("nq", "bm25", "nDCG@10").is_significant()
