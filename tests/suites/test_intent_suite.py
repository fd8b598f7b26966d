"""Suites of intents: figures of all systems, the report, and what is skipped and refused."""

from __future__ import annotations

import json
import shutil

import pytest
from intent_helpers import write_intent_model, write_intents

from elasticdenser.errors import BadInputError, BuildError, ModelError
from elasticdenser.suites import IntentSuite, SuiteOptions, read_any_suite, run_intent_suite

SUITE = """
kind = "intent"
title = "Tiny"
tasks = ["mtop", "mtop-de", "banking77"]
split = "test"
teacher = "encoder"
[models.encoder]
path = "{folder}/{{task}}.encoder"
[models.pqrnn]
path = "{folder}/{{task}}.pqrnn"
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_model):
    """The data sets, models of MTOP, and the suite."""
    folder = tmp_path_factory.mktemp("suite")
    write_intents(folder)
    for kind in ("encoder", "pqrnn"):
        write_intent_model(folder / f"mtop.{kind}", tiny_model, kind)
    shutil.copytree(folder / "mtop.pqrnn", folder / "mtop-de.pqrnn")  # a model of English reads German
    (folder / "suite.toml").write_text(SUITE.format(folder=folder))
    return folder


def options(files, timed=2):
    return SuiteOptions(data=files, device="cpu", timed_queries=timed)


@pytest.fixture(scope="module")
def results(files):
    return run_intent_suite(read_any_suite(files / "suite.toml"), files / "out", options(files), commands=["a command"])


def test_every_system_is_measured_on_every_task(results, files):
    assert results.systems == ["encoder", "pqrnn"] and results.evaluated_tasks == ["mtop", "mtop-de"]
    cell = results.cell("pqrnn", "mtop")
    assert set(cell.measures) == {"intent accuracy", "slot F1", "exact match"}
    assert cell.score == cell.measures["exact match"] and cell.n_utterances == 12 and cell.body == "pqrnn"
    assert cell.n_bytes == (files / "mtop.pqrnn" / "intent.safetensors").stat().st_size
    assert cell.cpu_us > 0
    assert results.cell("encoder", "mtop-de") is None


def test_what_is_not_there_is_listed(results):
    assert any("encoder on mtop-de: there is no model in" in reason for reason in results.missing)
    assert any("pqrnn on banking77: there is no model" in reason for reason in results.missing)


def test_the_report_has_tables(results, files):
    report = (files / "out" / "report.md").read_text()
    assert "95.9 % on MTOP" in report and "a command" in report and "MB stored" in report
    assert "<table" in (files / "out" / "report.html").read_text()
    lines = [json.loads(line) for line in (files / "out" / "cells.jsonl").read_text().splitlines()]
    assert len(lines) == len(results.cells) and {"system", "share_of_teacher", "cpu_us", "machine"} <= set(lines[0])


def test_finished_measures_are_read_again_and_times_are_optional(results, files, monkeypatch):
    from elasticdenser.evaluation import intents

    monkeypatch.setattr(intents, "measure_parses", None)  # computing again would fail
    again = run_intent_suite(read_any_suite(files / "suite.toml"), files / "out", options(files, timed=0))
    assert [cell.measures for cell in again.cells] == [cell.measures for cell in results.cells]
    assert all(cell.cpu_us is None for cell in again.cells)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"mtop", ', '"atis", '), "got the task 'atis'"),
        (('split = "test"', 'split = "train"'), "split"),
        (('teacher = "encoder"', 'teacher = "bert"'), "got teacher = 'bert', expected one of encoder, pqrnn"),
        (('["mtop", "mtop-de", "banking77"]', "[]"), "tasks"),
        (('kind = "intent"', "kind = [1]"), r"got kind = \[1\], expected 'glue' or 'intent'"),
        (('split = "test"', "seeds = [1]"), "unknown key 'seeds'"),
    ],
)
def test_a_wrong_suite_is_refused(tmp_path, change, message):
    path = tmp_path / "suite.toml"
    path.write_text(SUITE.format(folder=tmp_path).replace(*change))
    with pytest.raises(BadInputError, match=message):
        read_any_suite(path)


def test_a_folder_that_cannot_be_is_refused_before_the_work(tmp_path, files):
    (tmp_path / "out").touch()
    with pytest.raises(BuildError, match="something of that name is in the way"):
        run_intent_suite(read_any_suite(files / "suite.toml"), tmp_path / "out", options(files))


def test_nothing_to_evaluate_is_an_error(tmp_path, files):
    path = tmp_path / "suite.toml"
    path.write_text(SUITE.format(folder=tmp_path))
    suite = read_any_suite(path)
    assert isinstance(suite, IntentSuite)
    with pytest.raises(BadInputError, match="nothing of this suite could be evaluated"):
        run_intent_suite(suite, tmp_path / "out", options(files))
    shutil.copytree(files / "mtop.pqrnn", tmp_path / "banking77.pqrnn")
    with pytest.raises(ModelError, match="is a model of mtop, expected one of banking77"):
        run_intent_suite(suite, tmp_path / "out", options(files))
    shutil.rmtree(tmp_path / "banking77.pqrnn")
    shutil.copytree(files / "mtop.pqrnn", tmp_path / "mtop.pqrnn")
    with pytest.raises(BadInputError, match="mtop-en: there is no test"):
        run_intent_suite(suite, tmp_path / "out", options(tmp_path))
