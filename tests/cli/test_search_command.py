"""`elasticdenser search`."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time

import pytest
from cli_helpers import COMMAND, ROOT, TEXTS, assert_fails, run, run_code, start
from kernel_helpers import needs_fast_path

SUBNETS = ["w1-d2", "w0.5-d2", "w1-d1", "w0.25-d2", "w0.5-d1", "w0.25-d1", "level0"]


def test_hits_are_printed_as_a_table(index):
    result = run("search", index, TEXTS["d1"], "-k", "2")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert re.search(r"\(w1-d2, \d+\.\d ms\)", result.stdout)
    row = next(line for line in result.stdout.splitlines() if "d1" in line)
    assert "1.000" in row and "desert planet" in row


def test_markup_and_control_characters_of_passages_have_no_effect(index):
    result = run("search", index, TEXTS["d3"].replace("\x1b", ""), "-k", "3")
    assert result.exit_code == 0, result.output
    assert "threads [/b] to [red]finish[/red]" in " ".join(result.stdout.split())
    assert "\x1b" not in result.stdout


def test_hits_are_printed_as_json(index):
    result = run("search", index, TEXTS["d3"].replace("\x1b", ""), "-k", "3", "--json")
    (line,) = result.stdout.splitlines()
    answer = json.loads(line)
    assert set(answer) == {"query", "subnet", "seconds", "hits"}
    assert answer["subnet"] == "w1-d2"
    assert [set(hit) for hit in answer["hits"]] == [{"doc_id", "score", "title", "text"}] * 3
    assert {hit["doc_id"]: hit["text"] for hit in answer["hits"]} == TEXTS


@pytest.mark.parametrize("source", ["file", "dash", "stdin"])
def test_many_queries_from_a_file_or_standard_input(index, tmp_path, source):
    (tmp_path / "questions.txt").write_text("dune\n\n  csv file  \n")
    args = {"file": ["--file", str(tmp_path / "questions.txt")], "dash": ["-f", "-"], "stdin": []}[source]
    typed = None if source == "file" else "dune\n\n  csv file  \n"
    result = run("search", index, "--json", *args, input=typed)
    assert result.exit_code == 0, result.output
    assert [json.loads(line)["query"] for line in result.stdout.splitlines()] == ["dune", "csv file"]


def test_queries_on_standard_input_may_begin_with_a_byte_order_mark(index):
    result = run("search", index, "--json", input=b"\xef\xbb\xbfdune\n")
    assert json.loads(result.stdout)["query"] == "dune"


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_source_without_a_query_is_noted(index, tmp_path, content):
    (tmp_path / "blank.txt").write_text(content)
    result = run("search", index, "-f", str(tmp_path / "blank.txt"))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith(f"{tmp_path}/blank.txt: no query in it")
    assert run("search", index, input=content).stderr.startswith("standard input: no query in it")
    assert_fails(run("search", index, "dune", "--within", str(tmp_path / "blank.txt")), "no document id in it")


def test_search_within_some_documents(index, tmp_path):
    (tmp_path / "ids.txt").write_text("d2\nd3\n")
    result = run("search", index, "dune", "--json", "--within", str(tmp_path / "ids.txt"))
    assert {hit["doc_id"] for hit in json.loads(result.stdout)["hits"]} == {"d2", "d3"}
    (tmp_path / "ids.txt").write_text("d2\nnope\n")
    assert_fails(run("search", index, "dune", "--within", str(tmp_path / "ids.txt")), "'nope'")


def test_one_subnet_or_all(index, tiny_elastic):
    elastic = ["--encoder", str(tiny_elastic)]
    result = run("search", index, "dune", "--subnet", "level0", *elastic)
    assert result.exit_code == 0, result.output
    assert "dune   (level0, " in result.stdout
    result = run("search", index, "dune", "--subnet", "all", "--json", *elastic)
    assert [json.loads(line)["subnet"] for line in result.stdout.splitlines()] == SUBNETS
    unknown = run("search", index, "dune", "--subnet", "w0.5-d9", *elastic)
    assert_fails(unknown, "w0.5-d9", "w1-d2, w0.5-d2", "level0", "--subnet all")


@pytest.mark.slow
@needs_fast_path
@pytest.mark.parametrize("options", [[], ["--subnet", "level0"], ["--json"]], ids=["full", "level0", "json"])
def test_search_imports_only_what_it_needs(index, tiny_elastic, options):
    heavy = {"torch", "transformers", "safetensors", "huggingface_hub", "ir_datasets", "pandas", "scipy", "sklearn"}
    heavy |= {
        "matplotlib",
        "backports.zstd",
        "numpy.random",
        "elasticdenser.index.build",
        "elasticdenser.datasets.corpora",
    }
    args = ["search", index, "dune", "--encoder", str(tiny_elastic), "--device", "cpu", *options]
    code = (
        f"import sys\nfrom elasticdenser.cli import main\nsys.argv[1:] = {args!r}\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"sys.stderr.write(' '.join({heavy!r} & set(sys.modules)))"
    )
    result = run_code(code)
    assert (result.returncode, result.stderr) == (0, "")
    assert "desert planet" in result.stdout


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_closed_output_pipe_is_no_error(index):
    process = start("search", index, "--json", stdin=subprocess.PIPE)
    process.stdin.write(b"dune\n" * 2000)
    process.stdin.close()
    assert process.stdout.readline().startswith(b'{"query": "dune"')
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 0
