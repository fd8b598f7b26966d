"""`elasticdenser run` and `elasticdenser evaluate`."""

from __future__ import annotations

import csv
import json
import os
import shlex
from pathlib import Path

import pytest
from cli_helpers import TEXTS, assert_fails, assert_fails_after_notes, run


def test_a_run_is_written_and_evaluated(index, tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    queries = {f"q{key}": text.replace("\x1b", "") for key, text in TEXTS.items()}
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": k, "text": t}) + "\n" for k, t in queries.items()))
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{key}\t{key}\t1\n" for key in TEXTS)
    )
    written = tmp_path / "runs" / "a.trec"
    result = run("run", index, str(folder), "-o", str(written), "-k", "2", "--tag", "me")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "6 hits for 3 queries" in result.stderr
    assert len(written.read_text().splitlines()) == 6
    assert all(line.endswith(" me") for line in written.read_text().splitlines())
    result = run("evaluate", str(folder), str(written), "RR@10", "R@1", "--json")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert set(json.loads(result.stdout)) == {"RR@10", "R@1"}
    table = run("evaluate", str(folder), str(written))
    assert all(name in table.stdout for name in ("nDCG@10", "RR@10", "R@100"))
    assert_fails(run("evaluate", str(folder), str(written), "nonsense@10"), "nonsense@10")


def advised(result):
    """Return the command that the last line of notes advises."""
    return shlex.split(result.stderr.splitlines()[-1].rpartition(":  ")[2])


@pytest.mark.slow
def test_the_advice_after_a_run_is_a_command_that_works(index, tmp_path):
    folder = tmp_path / "my set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "dune"}\n')
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    (tmp_path / "q.qa.csv").write_text("dune\t['desert']\n")
    (tmp_path / "q.txt").write_text("dune\n")
    for source, more, measure in (
        (folder, ["--split", "dev"], "nDCG@10"),
        (tmp_path / "q.qa.csv", [], "AnswerMatch@20"),
    ):
        command = advised(run("run", index, str(source), "-o", str(tmp_path / "a b.trec"), *more))
        result = run(*command[1:])
        assert (command[0], result.exit_code) == ("elasticdenser", 0) and measure in result.stdout, result.output
    result = run("run", index, str(tmp_path / "q.txt"), "-o", str(tmp_path / "a.trec"))
    assert "q.txt holds no judgements" in result.stderr and advised(result)[2] == "QRELS"
    (tmp_path / "qrels.txt").write_text("q-1 0 d1 1\n")
    assert run("evaluate", str(tmp_path / "qrels.txt"), *advised(result)[3:]).exit_code == 0


@pytest.mark.parametrize(
    ("output", "expected"),
    [("q.trec.gz", "q.w0.5-d1.trec.gz"), ("q", "q.w0.5-d1"), ("v1.0.run", "v1.0.w0.5-d1.run")],
)
def test_a_run_for_each_subnet(index, tiny_elastic, tmp_path, output, expected):
    (tmp_path / "q.txt").write_text("dune\ncsv\n")
    folder = tmp_path / "runs"
    elastic = ["--subnet", "all", "--encoder", str(tiny_elastic)]
    result = run("run", index, str(tmp_path / "q.txt"), "-o", str(folder / output), *elastic)
    assert result.exit_code == 0, result.output
    assert len(os.listdir(folder)) == 7
    assert expected in os.listdir(folder)


def test_answers_in_the_texts_of_the_hits(index, tmp_path):
    (tmp_path / "q.qa.csv").write_text("dune\t['desert', \"the planet\"]\ncsv\t['head.rs']\n")
    (tmp_path / "a.trec").write_text("0 Q0 d2 1 2 t\n0 Q0 d1 2 1 t\n1 Q0 d2 1 2 t\n")
    questions, trec, with_texts = str(tmp_path / "q.qa.csv"), str(tmp_path / "a.trec"), ["--answers-in", index]
    result = run("evaluate", questions, trec, *with_texts, "--json")
    assert result.exit_code == 0, result.output
    expected = {"AnswerMatch@1": 0.0, "AnswerMatch@5": 0.5, "AnswerMatch@20": 0.5, "AnswerMatch@100": 0.5}
    assert json.loads(result.stdout) == expected
    result = run("evaluate", questions, trec, "AnswerMatch@1", *with_texts, "--regex", "--json")
    assert json.loads(result.stdout) == {"AnswerMatch@1": 0.5}
    assert "AnswerMatch@20" in run("evaluate", questions, trec, "AnswerMatch@20", *with_texts).stdout
    (tmp_path / "other.trec").write_text("0 Q0 nope 1 2 t\n")
    assert_fails_after_notes(run("evaluate", questions, str(tmp_path / "other.trec"), *with_texts), "'nope'", "corpus")


def test_answers_and_judgements_in_one_evaluation(index, tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "dune", "answers": ["desert planet"]}\n')
    (tmp_path / "a.trec").write_text("q Q0 d2 1 2 t\nq Q0 d1 2 1 t\n")
    args = ["evaluate", str(folder), str(tmp_path / "a.trec"), "AnswerMatch@2", "RR@10", "AnswerMatch@1"]
    assert_fails(run(*args, "--answers-in", index), "qrels")
    (folder / "qrels" / "test.tsv").write_text("q 0 d1 1\n")
    result = run(*args, "--answers-in", index, "--json")
    assert result.exit_code == 0, result.output
    assert list(json.loads(result.stdout).items()) == [("AnswerMatch@2", 1.0), ("RR@10", 0.5), ("AnswerMatch@1", 0.0)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Judgements of 40 queries, and runs that find the document at the first or at a lower rank."""
    folder = tmp_path_factory.mktemp("compared")
    queries = range(40)
    (folder / "qrels.txt").write_text("".join(f"q{query} 0 d 1\n" for query in queries))
    shares = {"base_1.trec": 20, "good.trec": 36, "same.trec": 19}
    for name, n_first in shares.items():
        lines = (
            f"q{query} Q0 {doc_id} {rank} {3 - rank} t\n"
            for query in queries
            for rank, doc_id in enumerate(("d", "x") if query < n_first else ("x", "d"), 1)
        )
        (folder / name).write_text("".join(lines))
    return folder


def evaluate_three(folder, *args):
    runs = (str(folder / name) for name in ("base_1.trec", "good.trec", "same.trec"))
    result = run("evaluate", str(folder / "qrels.txt"), *runs, *args)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_several_runs_are_compared_with_the_first(compared):
    lines = evaluate_three(compared, "Success@1", "recip_rank").splitlines()
    (base,) = (line for line in lines if "base_1.trec" in line and "│" in line)
    (good,) = (line for line in lines if "good.trec" in line)
    (same,) = (line for line in lines if "same.trec" in line)
    assert "0.5000" in base and "▲" not in base
    assert good.count("▲") == 2 and "0.9000 ▲" in good
    assert "▲" not in same and "▼" not in same
    assert lines[-1].startswith("▲ better, ▼ worse than ")


def test_several_runs_as_csv_latex_and_json(compared):
    rows = list(csv.DictReader(evaluate_three(compared, "Success@1", "NumRet", "--csv").splitlines()))
    assert [(Path(row["run"]).name, row["measure"]) for row in rows][1:3] == [
        ("base_1.trec", "NumRet"),
        ("good.trec", "Success@1"),
    ]
    assert (rows[0]["p"], rows[1]["value"]) == ("", "80.0")
    assert float(rows[2]["difference"]) == pytest.approx(0.4)
    assert float(rows[2]["p_holm"]) < 0.01
    assert (rows[2]["n_better"], rows[2]["n_worse"]) == ("16", "0")
    latex = evaluate_three(compared, "Success@1", "--latex")
    assert "base\\_1.trec & 0.5000 \\\\" in latex
    assert r"good.trec & \textbf{0.9000}$^{\uparrow}$ \\" in latex
    base, good, _ = map(json.loads, evaluate_three(compared, "Success@1", "--json").splitlines())
    assert (base["values"], base["differences"]) == ({"Success@1": 0.5}, {})
    assert good["differences"]["Success@1"]["difference"] == pytest.approx(0.4)


def test_one_run_as_csv_and_latex(compared):
    args = ["evaluate", str(compared / "qrels.txt"), str(compared / "base_1.trec"), "Success@1"]
    assert run(*args, "--csv").stdout.splitlines()[1] == f"{compared}/base_1.trec,Success@1,0.5,,,,,,,"
    assert r"\textbf" not in run(*args, "--latex").stdout


def test_arguments_that_are_neither_runs_nor_measures(compared):
    qrels, base = str(compared / "qrels.txt"), str(compared / "base_1.trec")
    assert_fails(run("evaluate", qrels, base, "goood"), "goood", "nor is there a run file")
    assert_fails_after_notes(run("evaluate", qrels, base, "none.trec"), "none.trec", "no such file")
    for args in ([base], ["--csv", "--latex"]):
        assert run("evaluate", qrels, base, *args).exit_code == 2
