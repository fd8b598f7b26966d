"""What every benchmark prints and keeps: a table, and a JSON line with the machine and the versions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from elasticdenser.machine import describe_machine

RESULTS = Path(__file__).parent.parent / "results"


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a Markdown table; their keys are the headings."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_shown(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(row[at]) for row in cells)) for at, column in enumerate(columns)]
    print(f"\n{title}\n")
    for line in (columns, ["-" * width for width in widths], *cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def keep(name: str, result: dict[str, Any]) -> None:
    """Append a result to `eval/results/NAME.jsonl`."""
    RESULTS.mkdir(exist_ok=True)
    line = {"when": datetime.now(UTC).isoformat(timespec="seconds"), **result, "machine": describe_machine()}
    with open(RESULTS / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(f"\nkept in eval/results/{name}.jsonl")


def interleaved(candidates: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time the candidates in turns, so that a noisy moment hits all of them; return seconds of every round.

    One round before the first is thrown away.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, work in candidates.items():
            started = perf_counter()
            work()
            if number:
                times[name].append(perf_counter() - started)
    return times


def ratios(times: dict[str, list[float]], base: str) -> dict[str, float]:
    """Return the median over rounds of base time by each candidate's time in the same round."""
    return {name: median(b / mine for b, mine in zip(times[base], its, strict=True)) for name, its in times.items()}


def _shown(value: Any) -> str:
    return (
        f"{value:.4f}"
        if isinstance(value, float) and value < 10
        else f"{value:,.1f}"
        if isinstance(value, float)
        else str(value)
    )
