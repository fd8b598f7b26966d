"""Classifiers on the command line: training, classifying, evaluating."""

from __future__ import annotations

import json

import pytest
from classifier_helpers import write_classifier, write_classifier_recipe, write_glue
from cli_helpers import assert_fails, run
from training_helpers import write_recipe

from elasticdenser import ElasticClassifier

PAIRS = "dune novel\ta desert\ncsv file\ta header\n"


@pytest.fixture(scope="module")
def classifier(tiny_model, tmp_path_factory):
    return write_classifier(tmp_path_factory.mktemp("models") / "rte", tiny_model)


def test_each_line_gets_a_label_and_its_probability(classifier, tmp_path):
    (tmp_path / "pairs.tsv").write_text(PAIRS)
    result = run("classify", str(classifier), str(tmp_path / "pairs.tsv"), "--subnet", "w0.5-d1")
    assert result.exit_code == 0, result.output
    expected = ElasticClassifier.from_pretrained(classifier).classify(
        [line.split("\t") for line in PAIRS.splitlines()], "w0.5-d1"
    )
    assert result.stdout == "".join(f"{answer.label}\t{answer.probability:.4f}\n" for answer in expected)
    assert "2 inputs, " in result.stderr and "million operations each: 2 at w0.5-d1" in result.stderr


def test_exits_are_reported_with_what_they_cost(classifier, tmp_path):
    result = run("classify", str(classifier), "-", "--exit", "1", "--json", input=PAIRS)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer["subnet"] for answer in answers] == ["w1-d1", "w1-d1"] and all(a["flops"] > 0 for a in answers)
    assert set(answers[0]["probabilities"]) == {"entailment", "not_entailment"}
    assert "2 at w1-d1" in result.stderr
    patient = run("classify", str(classifier), "-", "--patience", "1", input=PAIRS)
    assert patient.exit_code == 0 and "2 at w1-d2" in patient.stderr


def test_a_regression_prints_numbers(tiny_model, tmp_path):
    folder = write_classifier(tmp_path / "sts", tiny_model, task="STS-B")
    result = run("classify", str(folder), "-", input=PAIRS)
    assert len([float(line) for line in result.stdout.splitlines()]) == 2
    assert "value" in json.loads(run("classify", str(folder), "-", "--json", input=PAIRS).stdout.splitlines()[0])


def test_failures_are_one_line(classifier, tmp_path):
    assert_fails(run("classify", str(tmp_path), "-", input=PAIRS), "classifier.json is missing")
    assert_fails(run("classify", str(classifier), str(tmp_path / "none.txt")), "none.txt")
    empty = run("classify", str(classifier), "-", input="")
    assert (empty.exit_code, empty.stdout) == (0, "") and "standard input: no line in it" in empty.stderr
    assert_fails(run("classify", str(classifier), "-", input="a\tb\tc\n"), "a pair of two texts")
    assert_fails(run("classify", str(classifier), "-", input=b"dune\xff\ta\n"), "standard input:1", "UTF-8")


@pytest.mark.slow
def test_train_and_eval_make_a_classifier_and_its_report(tiny_model, tmp_path):
    write_glue(tmp_path)
    recipe = str(write_classifier_recipe(tmp_path, tiny_model))
    options = ("--data", str(tmp_path), "--work", str(tmp_path / "work"), "--device", "cpu", "--steps", "2")
    shared = run("train", recipe, *options, "-o", str(tmp_path / "RTE.shared.1"))
    assert shared.exit_code == 0, shared.output
    assert "full encoder, fine-tuned" in shared.stdout and "w0.25-d1" in shared.stdout
    alone = run("train", recipe, *options, "--subnet", "w0.5-d1", "-o", str(tmp_path / "RTE.w0.5-d1.1"), "--seed", "1")
    assert alone.exit_code == 0, alone.output
    suite = tmp_path / "suite.toml"
    suite.write_text(
        f'kind = "glue"\ntasks = ["RTE"]\n[models.shared]\npath = "{tmp_path}/{{task}}.shared.{{seed}}"\n'
        f'[models.alone]\npath = "{tmp_path}/{{task}}.{{subnet}}.{{seed}}"\nsubnets = ["w0.5-d1"]\n'
    )
    evaluated = run("eval", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out"))
    assert evaluated.exit_code == 0, evaluated.output
    assert "alone.w0.5-d1" in evaluated.stdout and "Together less alone" in evaluated.stdout
    as_json = run("eval", str(suite), "--data", str(tmp_path), "-o", str(tmp_path / "out"), "--json")
    assert {json.loads(line)["group"] for line in as_json.stdout.splitlines()} == {"full", "shared", "alone"}
    refused = run("eval", str(suite), "-o", str(tmp_path / "out"), "--system", "full")
    assert refused.exit_code == 2 and "this suite has no query sets" in refused.stderr


def test_seed_and_subnet_are_for_classifiers(tiny_model, tmp_path):
    (tmp_path / "recipe").mkdir()
    result = run(
        "train", str(write_recipe(tmp_path / "recipe", tiny_model)), "-o", str(tmp_path / "out"), "--seed", "2"
    )
    assert result.exit_code == 2 and "--seed is for classifiers" in result.stderr
