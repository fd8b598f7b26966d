"""Front and hulls of `eval/bench/robustness.py`."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "eval" / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("robustness")


def choice(bench, name: str, clean: float, slips: tuple[float, float]):
    values = {bench.CLEAN: clean, "dropped-word": slips[0], "swapped-words": slips[1]}
    constant = {slip: np.full(8, value) for slip, value in values.items()}
    return bench.Choice(name=name, values=constant, compute=lambda number: None)


@pytest.mark.slow
def test_a_robust_choice_is_on_the_front_and_on_the_hull_of_slips_alone(bench):
    choices = [
        choice(bench, "full", 0.9, (0.6, 0.6)),
        choice(bench, "robust", 0.8, (0.6, 0.8)),
        choice(bench, "beaten", 0.79, (0.5, 0.5)),
        choice(bench, "fast", 0.7, (0.4, 0.4)),
    ]
    rows = {row["choice"]: row for row in bench.rows_of(choices, [4.0, 3.5, 3.6, 1.0])}
    assert rows["robust"]["slips"] == pytest.approx(0.7)
    assert {name for name, row in rows.items() if row["front"]} == {"full", "robust", "fast"}
    assert [rows[name]["hull, clean"] for name in rows] == ["x 100%", "0%", "0%", "x 100%"]
    assert [rows[name]["hull, slips"] for name in rows] == ["0%", "x 100%", "0%", "x 100%"]


@pytest.mark.slow
def test_pictures_name_the_choices(bench, tmp_path):
    choices = [choice(bench, "full", 0.9, (0.6, 0.6)), choice(bench, "fast", 0.7, (0.4, 0.4))]
    bench.draw(tmp_path, "queries", choices, [4.0, 1.0])
    names = ["robustness-queries-clean.svg", "robustness-queries-slips.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all("fast" in (tmp_path / name).read_text() for name in names)
