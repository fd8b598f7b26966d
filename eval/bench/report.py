"""Timing, tables and results files of the benchmarks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from elasticdenser.machine import describe_machine

RESULTS = Path(__file__).parent.parent / "results"


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a Markdown table with their keys as headings."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_shown(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(row[number]) for row in cells)) for number, column in enumerate(columns)]
    print(f"\n{title}\n")
    for line in (columns, ["-" * width for width in widths], *cells):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def append_result(name: str, result: dict[str, Any]) -> None:
    """Append a result to `eval/results/NAME.jsonl`, with the time, the machine and the versions."""
    RESULTS.mkdir(exist_ok=True)
    line = {"when": datetime.now(UTC).isoformat(timespec="seconds"), **result, "machine": describe_machine()}
    with open(RESULTS / f"{name}.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    print(f"\nappended to eval/results/{name}.jsonl")


def time_in_turns(
    candidates: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = perf_counter
) -> dict[str, list[float]]:
    """Return the seconds of every round of each candidate; they run in turns, so that noise affects all alike.

    A first round is not counted. The clock is as for `time_items_in_turns`.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, work in candidates.items():
            started = clock()
            work()
            if number:
                times[name].append(clock() - started)
    return times


def time_items_in_turns(
    candidates: Mapping[str, Callable[[int], object]],
    n_items: int,
    rounds: int,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Return the seconds of each candidate on every item, round by round; all candidates run before the next item.

    Each candidate runs twice in a row and only the second run is timed, so that its weights are in the processor's
    caches, as on a busy server. A first round with a few items is not counted.

    Args:
        candidates: Name -> function of the number of an item.
        n_items: Number of items.
        rounds: Number of rounds.
        clock: Clock in seconds; with `process_time`, other processes on the machine are not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for item in range(n_items if number else min(n_items, 3)):
            for name, work in candidates.items():
                work(item)
                started = clock()
                work(item)
                if number:
                    times[name].append(clock() - started)
    return times


def all_items_s(times: Sequence[float], rounds: int) -> float:
    """Return the time of all items together, from the times of a candidate in `time_items_in_turns`.

    It is the sum over items of the median over rounds.
    """
    n_items = len(times) // rounds
    return sum(median(times[item::n_items]) for item in range(n_items))


def ratios(times: dict[str, list[float]], base: str) -> dict[str, float]:
    """Return how many times faster than the base each candidate is: the median over rounds, or over items."""
    return {
        name: median(base_s / own_s for base_s, own_s in zip(times[base], own_times, strict=True))
        for name, own_times in times.items()
    }


def target_columns(figures: Sequence[float], minima: Sequence[float] | None) -> dict[str, str]:
    """Return the columns for a target: the minimum of each figure, and whether all are met; empty without a target."""
    if minima is None:
        return {}
    met = all(figure >= minimum for figure, minimum in zip(figures, minima, strict=True))
    return {"target": f"at least {' and '.join(f'{minimum:g}' for minimum in minima)}", "met": "yes" if met else "no"}


def _shown(value: Any) -> str:
    """Return a figure as text."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4f}" if value < 10 else f"{value:,.1f}"
