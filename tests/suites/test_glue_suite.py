"""Suites of GLUE: figures of all models, the report, and what is skipped and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from classifier_helpers import write_classifier, write_glue

from elasticdenser.errors import BadInputError, ModelError
from elasticdenser.evaluation.task_results import TaskCell, TaskResults
from elasticdenser.reports.charts.tasks import task_chart
from elasticdenser.suites import GlueSuite, SuiteOptions, read_any_suite, read_suite, run_glue_suite

SUITE = """
kind = "glue"
title = "Tiny"
tasks = ["RTE", "STS-B", "CoLA"]
seeds = [1, 2]
[models.shared]
path = "{folder}/{{task}}.shared.{{seed}}"
exits = [0.9]
patience = [1]
[models.alone]
path = "{folder}/{{task}}.{{subnet}}.{{seed}}"
subnets = ["w0.5-d1"]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_model):
    """GLUE, classifiers of RTE and STS-B, and the suite."""
    folder = tmp_path_factory.mktemp("suite")
    write_glue(folder)
    teacher = {"teacher": {"accuracy": 0.75}}
    write_classifier(folder / "RTE.shared.1", tiny_model, provenance=teacher)
    write_classifier(folder / "RTE.shared.2", tiny_model, layers="first-and-last", provenance=teacher)
    write_classifier(folder / "RTE.w0.5-d1.1", tiny_model, subnets=("w0.5-d1",))
    write_classifier(folder / "STS-B.shared.1", tiny_model, task="STS-B")
    (folder / "suite.toml").write_text(SUITE.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def results(files):
    return run_glue_suite(read_any_suite(files / "suite.toml"), files / "out", SuiteOptions(data=files, device="cpu"))


def test_every_subnet_is_measured_on_every_task(results):
    assert results.rows[:3] == ["full", "shared.w1-d2", "shared.w0.5-d2"]
    assert {"shared.w0.25-d1", "alone.w0.5-d1", "shared.w1-d2 exits 0.9", "shared.w0.5-d2 exits 0.9"} <= {*results.rows}
    assert {cell.task for cell in results.cells_of("shared.w1-d2 patience 1")} == {"RTE", "STS-B"}
    assert {cell.task for cell in results.cells_of("shared.w1-d2 exits 0.9")} == {"RTE"}  # a number has no entropy
    assert results.evaluated_tasks == ["RTE", "STS-B"]
    assert results.mean("full", "RTE") == 0.75 and results.deviation("full", "RTE") == 0
    (alone,) = results.cells_of("alone.w0.5-d1")
    (together,) = [cell for cell in results.cells_of("shared.w0.5-d1", "RTE") if cell.seed == 1]
    assert (alone.measures, alone.flops) == (together.measures, together.flops)  # the same weights
    assert results.average("shared.w1-d2") is not None and results.average("full") is None
    assert results.flops("full") > results.flops("shared.w0.25-d1")
    assert set(results.shared_less_alone()) == {"w0.5-d1"}


def test_what_is_not_there_is_listed(results):
    assert any("shared on CoLA, seed 1: there is no classifier" in reason for reason in results.missing)
    assert any("alone on RTE, seed 2" in reason for reason in results.missing)


def test_the_report_has_tables_and_a_picture(results, files):
    report = (files / "out" / "report.md").read_text()
    assert "shared.w0.5-d1" in report and "TinyBERT6" in report and "Trained together or alone" in report
    assert f"{results.flops('full') / 19e6:.2f} million here" in report
    assert "Early exits or smaller subnets" in report
    assert "quality-cost.svg" in report and (files / "out" / "pictures" / "quality-cost.svg").is_file()
    assert "<svg" in (files / "out" / "report.html").read_text()
    lines = [json.loads(line) for line in (files / "out" / "cells.jsonl").read_text().splitlines()]
    assert len(lines) == len(results.cells) and {"row", "task", "seed", "measures", "flops"} <= set(lines[0])


def test_finished_figures_are_read_again(results, files, monkeypatch):
    from elasticdenser.evaluation import glue

    monkeypatch.setattr(glue, "DevOutputs", None)  # computing again would fail
    again = run_glue_suite(read_any_suite(files / "suite.toml"), files / "out", SuiteOptions(data=files, device="cpu"))
    assert again.cells == results.cells


def test_deviations_are_over_seeds():
    cells = [
        TaskCell(row="a", group="shared", subnet="w1-d2", task="MRPC", seed=seed, measures=measures, flops=1.0)
        for seed, measures in ((1, {"accuracy": 0.7, "f1": 0.8}), (2, {"accuracy": 0.8, "f1": 0.9}))
    ]
    results = TaskResults(title="", tasks=("MRPC",), cells=tuple(cells))
    assert results.mean("a", "MRPC") == pytest.approx(0.8)
    assert results.deviation("a", "MRPC") == pytest.approx(0.1 / 2**0.5)


def test_early_exits_are_compared_with_mixtures_of_subnets():
    def cell(group, row, flops, scores, task="RTE"):
        for seed, score in enumerate(scores):
            figures = {"measures": {"accuracy": score}, "flops": flops + seed}
            yield TaskCell(row=row, group=group, subnet="w1-d6", task=task, seed=seed, **figures)

    cells = [
        *cell("full", "full", 400, [0.9, 0.9]),
        *cell("shared", "shared.w1-d1", 99.5, [0.5, 0.7]),
        *cell("shared", "shared.w1-d2", 199.5, [0.5, 0.5]),  # a mixture of the others is better
        *cell("shared", "shared.w1-d6", 299.5, [0.8, 0.8]),
        *cell("alone", "alone.w1-d2", 200, [0.9, 0.9]),
        *cell("exits", "between", 149.5, [0.7, 0.7]),
        *cell("exits", "cheaper", 49.5, [0.5, 0.5]),
        *cell("exits", "on another task", 49.5, [0.5, 0.5], task="SST-2"),
    ]
    results = TaskResults(title="", tasks=("RTE", "SST-2"), cells=tuple(cells))
    assert results.exits_less_static() == {
        "between": {"RTE": pytest.approx(0.7 - 0.65)},
        "cheaper": {"RTE": pytest.approx(0.5 - 0.6)},
    }


def test_the_chart_marks_the_share_of_operations_of_cost_eff():
    rows = {"full": 380.0, "shared": 100.0}
    cells = [
        TaskCell(
            row=group, group=group, subnet="w1-d6", task="RTE", seed=1, measures={"accuracy": 0.5}, flops=1e6 * flops
        )
        for group, flops in rows.items()
    ]
    chart = task_chart(TaskResults(title="", tasks=("RTE",), cells=tuple(cells)), "chart")
    assert chart is not None and "COST-EFF: 1/19" in chart.svg
    without = task_chart(
        TaskResults(title="", tasks=("RTE",), cells=(cells[1], replace(cells[1], row="other"))), "chart"
    )
    assert without is not None and "COST-EFF" not in without.svg + without.caption


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"RTE", ', '"WSC", '), "got the task 'WSC'"),
        (('kind = "glue"', 'kind = "superglue"'), "got kind = 'superglue', expected 'glue'"),
        (("exits = [0.9]", "exits = [2.0]"), "expected"),
        (('subnets = ["w0.5-d1"]', ""), "expected 'subnets' and {subnet} in 'path' together"),
        (("seeds = [1, 2]", "runs = 3"), "unknown key 'runs'"),
    ],
)
def test_a_wrong_suite_is_refused(tmp_path, change, message):
    path = tmp_path / "suite.toml"
    path.write_text(SUITE.format(folder=tmp_path).replace(*change))
    with pytest.raises(BadInputError, match=message):
        read_any_suite(path)


def test_nothing_to_evaluate_is_an_error(tmp_path, tiny_model, files):
    path = tmp_path / "suite.toml"
    path.write_text(SUITE.format(folder=tmp_path))
    suite = read_any_suite(path)
    assert isinstance(suite, GlueSuite)
    with pytest.raises(BadInputError, match="nothing of this suite could be evaluated"):
        run_glue_suite(suite, tmp_path / "out", SuiteOptions(data=files))
    shutil.copytree(files / "STS-B.shared.1", tmp_path / "RTE.shared.1")
    with pytest.raises(ModelError, match="is a classifier of STS-B, expected one of RTE"):
        run_glue_suite(suite, tmp_path / "out", SuiteOptions(data=files))
    with pytest.raises(BadInputError):
        read_suite(path)  # that of retrieval
