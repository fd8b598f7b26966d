"""Models of intents and slots on the command line: training, answering, evaluating."""

from __future__ import annotations

import json

import pytest
from cli_helpers import assert_fails, run
from intent_helpers import PQRNN, write_intent_model, write_intent_recipe, write_intents


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    return write_intent_model(tmp_path_factory.mktemp("models") / "mtop.pqrnn", tiny_model)


def test_each_line_gets_intent_and_slots(model):
    result = run("classify", str(model), "-", input="sort the file\nwait\n")
    assert result.exit_code == 0, result.output
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert len(lines) == 2 and all(line[0] in ("SORT", "WAIT") and 0.5 <= float(line[1]) <= 1 for line in lines)
    assert all("=" in slot for line in lines for slot in line[2:])
    (answer,) = (
        json.loads(line) for line in run("classify", str(model), "-", "--json", input="wait\n").stdout.splitlines()
    )
    assert set(answer) == {"intent", "probability", "slots"}


def test_a_line_without_words_is_named(model, tmp_path):
    result = run("classify", str(model), "-", input="wait\r\n \n")
    assert_fails(result, "standard input:2: got a line without words, expected a text in each line: remove it")
    (tmp_path / "texts.txt").write_text("wait\nsort\n\n")
    assert_fails(run("classify", str(model), str(tmp_path / "texts.txt")), "texts.txt:3: got a line without words")
    assert_fails(run("classify", str(model), "-", input=b"wait\nsort \xff\n"), "standard input:2", "UTF-8")


def test_a_model_of_intents_has_no_exits(model):
    result = run("classify", str(model), "-", "--exit", "0.3", input="wait\n")
    assert result.exit_code == 2 and "a model of intents has no subnets and exits" in " ".join(result.stderr.split())


@pytest.mark.slow
def test_a_model_is_trained_and_evaluated(tiny_model, tmp_path):
    write_intents(tmp_path)
    recipe, output = write_intent_recipe(tmp_path, tiny_model, PQRNN), tmp_path / "mtop.pqrnn"
    result = run("train", str(recipe), "--data", str(tmp_path), "-o", str(output), "--seed", "3", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "exact match" in result.stdout and f"now try:  elasticdenser classify {output} FILE" in result.stderr
    assert json.loads((output / "intent.json").read_text())["made_by"]["seed"] == 3
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'kind = "intent"\ntasks = ["mtop"]\nteacher = "a"\n[models.a]\npath = "{tmp_path}/{{task}}.pqrnn"\n'
    )
    arguments = ("eval", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out"), "--device", "cpu")
    shown = run(*arguments, "--timed", "1")
    assert shown.exit_code == 0, shown.output
    assert "mtop, test" in shown.stdout and "CPU" in shown.stdout and "report.html" in shown.stderr
    (line,) = (json.loads(line) for line in run(*arguments, "--timed", "0", "--json").stdout.splitlines())
    assert line["system"] == "a" and line["cpu_us"] is None and line["share_of_teacher"] in (1.0, None)
    refused = run(*arguments, "--system", "a")
    assert refused.exit_code == 2 and "this suite has no query sets" in " ".join(refused.stderr.split())
