"""The examples of the README run, and print what it says."""

from __future__ import annotations

import contextlib
import io
import re

import pytest
from documents import ROOT, blocks_of
from typer.testing import CliRunner

from elasticdenser.cli import app

BLOCKS = blocks_of(ROOT / "README.md")
CORPUS = """\
{"_id": "d1", "title": "Dune", "text": "Dune is a 1965 science fiction novel by the American author Frank Herbert."}
{"_id": "d2", "title": "Neuromancer", "text": "Neuromancer is the 1984 debut novel of William Gibson, set in a near future of hackers."}
{"_id": "d3", "title": "Barchan", "text": "A barchan is a crescent-shaped hill of sand that the wind has piled up."}
{"_id": "d4", "title": "Python", "text": "Python is a programming language that Guido van Rossum first released in 1991."}
"""  # noqa: E501


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readme")
    (folder / "passages.jsonl").write_text(CORPUS, encoding="utf-8")
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, ["index", "passages.jsonl", "-o", "indexes/mine"])
        assert result.exit_code == 0, result.output
        yield folder


def commands_block() -> str:
    return next(block.text for block in BLOCKS if "$ elasticdenser index" in block.text)


def test_the_shown_corpus_is_the_one_tested():
    shown = [line for line in commands_block().splitlines() if line.startswith('{"_id"')]
    assert shown == CORPUS.splitlines()[:2]


@pytest.mark.slow
def test_search_prints_what_is_shown(folder):
    result = CliRunner().invoke(app, ["search", "indexes/mine", "who wrote dune", "-k", "2"], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    rows = re.findall(r"│ (\d) │ (0\.\d+) │ (\w+) │", commands_block())
    assert re.findall(r"│ (\d) │ 0\.\d+ │ (\w+) │", result.stdout) == [(rank, doc_id) for rank, _, doc_id in rows]
    scores = [float(score) for score in re.findall(r"│ \d │ (0\.\d+) │", result.stdout)]
    assert scores == pytest.approx([float(score) for _, score, _ in rows], abs=0.005)


@pytest.mark.slow
def test_python_prints_what_is_shown(folder):
    first, second = (block for block in BLOCKS if block.language == "python")
    shown = BLOCKS[BLOCKS.index(first) + 1].text.splitlines()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(first.text, str(first), "exec"), names)
    printed = output.getvalue().splitlines()
    assert [line[5:] for line in printed] == [line[5:] for line in shown]
    assert [float(line[:5]) for line in printed] == pytest.approx([float(line[:5]) for line in shown], abs=0.005)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(second.text.replace("slo_s=0.025", "slo_s=5.0"), str(second), "exec"), names)
    assert "'d1'" in output.getvalue()
