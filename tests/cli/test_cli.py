"""The command line as a person meets it: results, notes, exit codes, examples."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kernel_helpers import needs_fast_path
from typer.testing import CliRunner

from elasticdenser.cli import app, make_app

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "demo",
    "index",
    "search",
    "run",
    "evaluate",
    "eval",
    "train",
    "profile",
    "simulate",
    "serve",
    "info",
    "verify",
    "rebuild",
    "import",
    "export",
    "doctor",
]
COMMAND = [sys.executable, "-m", "elasticdenser"]
TEXTS = {
    "d1": "dune is a novel about a desert planet",
    "d2": "read a csv file with headers",
    "d3": "wait for several threads [/b] to [red]finish[/red] \x1b[31m now",
}


def run(*args: str, **options):
    """Run a command in this process."""
    return CliRunner().invoke(app, list(args), **options)


def start(*args: str, **options) -> subprocess.Popen:
    # A shell in the background starts its commands with Ctrl-C ignored, and they hand that on.
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen([*COMMAND, *args], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "passages.jsonl"
    path.write_text("".join(json.dumps({"_id": key, "title": "", "text": text}) + "\n" for key, text in TEXTS.items()))
    return path


@pytest.fixture(scope="module")
def index(corpus, tiny_model, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("indexes") / "mine"
    result = run("index", str(corpus), "-o", str(path), "--encoder", str(tiny_model), "--dtype", "float32")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "3 passages" in result.stderr and "recall@10 1.000" in result.stderr
    assert f'elasticdenser search {path} "your question"' in result.stderr
    return str(path)


@needs_fast_path
def test_index_in_int8_is_searched(corpus, tiny_model, tmp_path):
    path, encoder = str(tmp_path / "int8"), ["--encoder", str(tiny_model)]
    result = run("index", str(corpus), "-o", path, *encoder, "--precision", "int8", "--workers", "2")
    assert result.exit_code == 0, result.output
    assert "(int8)" in run("info", path).stdout
    for precision in ("auto", "int8", "fp32", "bf16"):
        found = run("search", path, TEXTS["d1"], "-k", "1", "--json", *encoder, "--precision", precision)
        assert found.exit_code == 0, found.output
        assert [hit["doc_id"] for hit in json.loads(found.stdout)["hits"]] == ["d1"]
    assert_fails(run("index", str(corpus), "-o", path, *encoder), "'int8'", "--overwrite")


def test_index_precisions(corpus, tiny_model, tmp_path):
    command = ["index", str(corpus), "-o", str(tmp_path / "index"), "--encoder", str(tiny_model)]
    assert_fails(run(*command, "--precision", "int8", "--device", "cuda"), "'int8'", "cuda", "expected a CPU")
    unknown = run(*command, "--precision", "int4")
    assert unknown.exit_code == 2 and "--precision" in unknown.output
    assert not (tmp_path / "index").exists()
    for spelling in ("fp32", "float32"):
        assert run(*command, "--precision", spelling, "--overwrite").exit_code == 0
        assert "(float32)" in run("info", str(tmp_path / "index")).stdout


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_examples_one_a_line(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    result = run(*([command] if command else []), "--help")
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    end = lines[next(at for at, line in enumerate(lines) if line in ("Example:", "Examples:")) + 1 :]
    examples = [line for line in end if line]
    assert examples
    assert all(line.startswith(f"elasticdenser {command or ''}".strip()) for line in examples)
    assert all(line.count("elasticdenser") == 1 for line in examples)


@pytest.mark.parametrize("args", [["--help"], ["index", "--help"], ["search", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(args):
    code = (
        "import sys\nfrom elasticdenser.cli import app\n"
        f"try:\n    app({args!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'faiss', 'tokenizers', 'huggingface_hub', 'ir_datasets', 'ir_measures',"
        " 'fastapi', 'uvicorn'}\n"
        "sys.stderr.write(' '.join(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@needs_fast_path
@pytest.mark.parametrize("options", [[], ["--subnet", "level0"], ["--json"]], ids=["full", "level0", "json"])
def test_search_imports_nothing_that_it_does_not_need(index, tiny_elastic, options):
    heavy = {"torch", "transformers", "safetensors", "huggingface_hub", "ir_datasets", "pandas", "scipy", "sklearn"}
    heavy |= {"matplotlib", "zstandard", "numpy.random", "elasticdenser.index.build", "elasticdenser.datasets.corpora"}
    args = ["search", index, "dune", "--encoder", str(tiny_elastic), "--device", "cpu", *options]
    code = (
        f"import sys\nfrom elasticdenser.cli import main\nsys.argv[1:] = {args!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"sys.stderr.write(' '.join({heavy!r} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "desert planet" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_made_alone_is_the_same(command):
    # As `main` makes it.
    alone = CliRunner().invoke(make_app(command), [command, "--help"])
    assert (alone.exit_code, alone.stdout) == (0, run(command, "--help").stdout)


def test_search_prints_a_table(index):
    result = run("search", index, TEXTS["d1"], "-k", "2")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert re.search(r"\(w1-d2, \d+\.\d ms\)", result.stdout)
    row = next(line for line in result.stdout.splitlines() if "d1" in line)
    assert "1.000" in row and "desert planet" in row


def test_passages_are_shown_as_they_are_but_never_obeyed(index):
    result = run("search", index, TEXTS["d3"].replace("\x1b", ""), "-k", "3")
    assert result.exit_code == 0, result.output
    assert "threads [/b] to [red]finish[/red]" in " ".join(result.stdout.split())
    assert "\x1b" not in result.stdout


def test_search_prints_json(index):
    result = run("search", index, TEXTS["d3"].replace("\x1b", ""), "-k", "3", "--json")
    (line,) = result.stdout.splitlines()
    answer = json.loads(line)
    assert set(answer) == {"query", "subnet", "seconds", "hits"}
    assert answer["subnet"] == "w1-d2"
    assert [set(hit) for hit in answer["hits"]] == [{"doc_id", "score", "title", "text"}] * 3
    assert {hit["doc_id"]: hit["text"] for hit in answer["hits"]} == TEXTS


@pytest.mark.parametrize("source", ["file", "dash", "stdin"])
def test_search_takes_many_queries(index, tmp_path, source):
    (tmp_path / "questions.txt").write_text("dune\n\n  csv file  \n")
    args = {"file": ["--file", str(tmp_path / "questions.txt")], "dash": ["-f", "-"], "stdin": []}[source]
    typed = None if source == "file" else "dune\n\n  csv file  \n"
    result = run("search", index, "--json", *args, input=typed)
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["query"] for line in result.stdout.splitlines()] == ["dune", "csv file"]


def test_search_within_some_documents(index, tmp_path):
    (tmp_path / "ids.txt").write_text("d2\nd3\n")
    result = run("search", index, "dune", "--json", "--within", str(tmp_path / "ids.txt"))
    assert {hit["doc_id"] for hit in json.loads(result.stdout)["hits"]} == {"d2", "d3"}
    (tmp_path / "ids.txt").write_text("d2\nnope\n")
    assert_fails(run("search", index, "dune", "--within", str(tmp_path / "ids.txt")), "'nope'")


def test_sizes_of_the_query_encoder(index, tiny_elastic, tmp_path):
    elastic = ["--encoder", str(tiny_elastic)]
    result = run("search", index, "dune", "--subnet", "level0", *elastic)
    assert result.exit_code == 0, result.output
    assert "dune   (level0, " in result.stdout
    result = run("search", index, "dune", "--subnet", "all", "--json", *elastic)
    sizes = [json.loads(line)["subnet"] for line in result.stdout.splitlines()]
    assert sizes == ["w1-d2", "w0.5-d2", "w1-d1", "w0.25-d2", "w0.5-d1", "w0.25-d1", "level0"]

    (tmp_path / "q.txt").write_text("dune\ncsv\n")
    for output, wanted in (("q.trec.gz", "q.w0.5-d1.trec.gz"), ("q", "q.w0.5-d1"), ("v1.0.run", "v1.0.w0.5-d1.run")):
        folder = tmp_path / output
        result = run("run", index, str(tmp_path / "q.txt"), "-o", str(folder / output), "--subnet", "all", *elastic)
        assert result.exit_code == 0, result.output
        assert len(os.listdir(folder)) == len(sizes)
        assert wanted in os.listdir(folder)
    assert_fails(run("search", index, "dune", "--subnet", "w0.5-d9", *elastic), "w0.5-d9", "w1-d2, w0.5-d2", "level0")


def test_run_and_evaluate(index, tmp_path):
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


def test_evaluate_by_answers(index, tmp_path):
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
    assert_fails_at_last(run("evaluate", questions, str(tmp_path / "other.trec"), *with_texts), "'nope'", "corpus")


def test_evaluate_by_answers_and_judgements_together(index, tmp_path):
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


def test_info_verify_rebuild(index):
    result = run("info", index)
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(part in result.stdout for part in ("passages", "3", "32 dimensions", "SHA-256"))
    assert json.loads(run("info", index, "--json").stdout)["n_passages"] == 3
    result = run("verify", index)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "is whole: 3 passages" in result.stderr
    result = run("rebuild", index, "--factory", "Flat")
    assert result.exit_code == 0, result.output
    assert "structure Flat, recall@10 1.0000" in result.stderr


def test_export_and_import(index, tiny_model, corpus, tmp_path):
    result = run("export", index, "-o", str(tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"index", "docid"}
    back = str(tmp_path / "back")
    result = run("import", str(tmp_path / "out"), "-o", back, "--encoder", str(tiny_model), "--corpus", str(corpus))
    assert result.exit_code == 0, result.output
    query = TEXTS["d2"]
    first, second = (json.loads(run("search", at, query, "--json").stdout)["hits"] for at in (index, back))
    assert [hit["doc_id"] for hit in first] == [hit["doc_id"] for hit in second]


def test_doctor():
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert all(part in result.stdout for part in ("Python", "torch", "Default model"))


def assert_fails(result, *parts: str) -> None:
    """Exit code 1, nothing among the results, and one line that explains."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(part in line for part in parts), line


def assert_fails_at_last(result, *parts: str) -> None:
    """As `assert_fails`, after warnings and notes."""
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert all(part in result.stderr.splitlines()[-1] for part in parts), result.stderr


def test_failures_are_one_line_each(index, corpus, tiny_model, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"_id": "1", "text": "x"}\nnot json\n')
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    new = ["-o", str(tmp_path / "new"), "--encoder", str(tiny_model)]
    assert_fails(run("search", str(tmp_path / "none"), "dune"), str(tmp_path / "none"))
    assert_fails(run("info", str(tmp_path / "none")), str(tmp_path / "none"))
    assert_fails(run("search", index, ""), "expected text")
    assert_fails(run("search", index, "dune", "--subnet", "w0.5-d9"), "w0.5-d9", "w1-d2")
    assert_fails(run("search", index, "dune", "--encoder", "/no/such"), "there is no folder /no/such")
    assert_fails(run("search", index, "-f", str(tmp_path / "none.txt")), "none.txt")
    assert_fails(run("search", index, "-f", str(tmp_path / "latin.txt")), "latin.txt:1: byte 0xe9")
    assert_fails(run("search", index, input=b"caf\xe9\n"), "standard input:1: byte 0xe9")
    assert_fails(run("index", str(bad), *new), "bad.jsonl:2")
    assert_fails(run("index", str(tmp_path / "none.jsonl"), *new), "none.jsonl")
    assert_fails(run("index", str(corpus), *new, "--factory", "Nonsense99"), "Nonsense99")
    assert_fails(run("index", str(bad), "-o", index, "--encoder", str(tiny_model), "--skip-bad"), "--overwrite")


@pytest.mark.parametrize(
    "args",
    [
        ["search"],
        ["search", "x", "q", "--file", "f"],
        ["search", "x", "q", "-k", "0"],
        ["index", "x"],
        ["index", "x", "-o", "y", "--workers", "0"],
        ["nonsense"],
        ["info", "--nonsense", "x"],
        ["evaluate", "a", "b", "RR@10", "--answers-in", "c"],
        ["evaluate", "a", "b", "RR@10", "AnswerMatch@5"],
        ["evaluate", "a", "b", "RR@10", "--regex"],
    ],
)
def test_usage_errors_exit_with_2(args):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage" in result.stderr


def test_the_prompt_answers_until_ctrl_d(index):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "search", index, "-k", "1"],
        cwd=ROOT, stdin=follower, stdout=follower, stderr=follower, close_fds=True, env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    os.close(follower)
    seen = ""

    def wait_for(wanted: str) -> None:
        nonlocal seen
        deadline = time.monotonic() + 90
        while wanted not in seen:
            ready, _, _ = select.select([leader], [], [], max(0, deadline - time.monotonic()))
            assert ready, seen
            seen += os.read(leader, 65536).decode(errors="replace")
        seen = seen[seen.index(wanted) + len(wanted) :]

    try:
        wait_for("Type a query; Ctrl-D ends.")
        for query, text in (("read a csv file with headers", "d2"), ("dune is a novel about a desert planet", "d1")):
            wait_for("> ")
            os.write(leader, query.encode() + b"\n")
            wait_for(" ms)")
            wait_for(text)
        wait_for("> ")
        os.write(leader, b"\x04")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def test_a_reader_that_leaves_is_no_error(index):
    process = start("search", index, "--json", stdin=subprocess.PIPE)
    process.stdin.write(b"dune\n" * 2000)
    process.stdin.close()
    assert process.stdout.readline().startswith(b'{"query": "dune"')
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0


@pytest.mark.slow
def test_ctrl_c_leaves_what_can_go_on(data, minilm, tmp_path):
    import gzip
    from itertools import islice

    with gzip.open(data / "nq" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        (tmp_path / "part.jsonl").write_text("".join(islice(file, 6000)))
    args = ["index", str(tmp_path / "part.jsonl"), "-o", str(tmp_path / "mine"), "--max-length", "32", "--offline"]
    process = start(*args)
    journal = tmp_path / "mine.building" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_text().strip()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b""), err
    assert b"run the same command again and it goes on from there" in err
    assert b"Traceback" not in err
    assert not (tmp_path / "mine").exists()
    process = start(*args)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert b"6,000 passages" in err
