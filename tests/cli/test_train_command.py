"""`elasticdenser train` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from elasticdenser.cli import app

WORDS = ("dune", "desert", "planet", "novel", "csv", "file", "header")


def run(*args: str):
    return CliRunner().invoke(app, ["train", *args])


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """The folder one stands in: queries.txt and passages.jsonl, forty each."""
    monkeypatch.chdir(tmp_path)
    texts = [" ".join(WORDS[(at + step) % 7] for step in range(4 + at // 7)) for at in range(40)]
    Path("queries.txt").write_text("\n".join(texts))
    rows = [{"_id": str(at), "title": f"{WORDS[at % 7]} {at}", "text": text} for at, text in enumerate(texts)]
    Path("passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_help_has_examples_one_a_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    result = run("--help")
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    assert result.exit_code == 0
    assert [line.split()[:2] for line in lines[-3:]] == [["elasticdenser", "train"]] * 3


def test_queries_and_passages_make_a_model_that_searches(place, tiny_model):
    given = ["--queries", "queries.txt", "--passages", "passages.jsonl", "--encoder", str(tiny_model)]
    result = run(*given, "-o", "models/mine", "--steps", "2", "--device", "cpu", "--offline")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "models/mine: 6 sizes beside the full one: w0.5-d2" in result.stderr
    assert "step 2 of 2, cosines to the full encoder's vectors:" in result.stderr
    (index,) = Path("models/mine.work").glob("passages-*/")
    assert f'{index} "your question" --encoder models/mine --subnet w0.5-d1' in result.stderr
    found = CliRunner().invoke(app, ["search", str(index), "dune", "--encoder", "models/mine", "--subnet", "w0.5-d1"])
    assert found.exit_code == 0, found.output
    assert "dune" in found.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--queries FILE"),
        (["recipe.toml", "--queries", "queries.txt"], "not both"),
        (["--queries", "queries.txt", "--steps", "0"], "--steps"),
    ],
)
def test_usage_errors_exit_with_2(place, args, message):
    result = run(*args, "-o", "models/mine")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("models").exists()


def test_failures_are_one_line_each(place, tiny_model):
    Path("bad.toml").write_text("[[texts]]\npath = 'queries.txt'\n")
    Path("letter").mkdir()
    Path("letter/dear.txt").write_text("dear")
    mine = ["--encoder", str(tiny_model), "--offline", "-o", "models/mine"]
    for args, part in (
        (["none.toml", *mine], "none.toml: cannot read this recipe"),
        (["bad.toml", *mine], "bad.toml: recipe.texts[0]: 'kind' is missing"),
        (["--queries", "none.txt", *mine], "none.txt"),
        (["--passages", "none.jsonl", *mine], "none.jsonl"),
        (["--queries", "queries.txt", *mine, "--index", "none"], "none"),
        (["--queries", "queries.txt", *mine, "--device", "tpu9"], "got device 'tpu9'"),
        (["--queries", "queries.txt", "-o", "letter"], "what stands there is no elastic encoder"),
    ):
        result = run(*args)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ") and part in line, line
