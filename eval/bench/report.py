"""What every benchmark prints and keeps: a table, and a JSON line with the machine and the versions."""

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


def item_by_item(
    candidates: Mapping[str, Callable[[int], object]],
    n_items: int,
    rounds: int,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Time every candidate on every item, all on one item before the next; return the seconds, round by round.

    Each does the same work just before what is timed: it then finds its weights as warm as a busy server's. With
    `process_time` as the clock, what others do on the machine meanwhile is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for at in range(n_items if number else min(n_items, 3)):  # warm first
            for name, work in candidates.items():
                work(at)
                started = clock()
                work(at)
                if number:
                    times[name].append(clock() - started)
    return times


def all_items_s(times: Sequence[float], rounds: int) -> float:
    """Return what all items take: the sum of their medians over rounds, of one candidate of `item_by_item`."""
    n_items = len(times) // rounds
    return sum(median(times[at::n_items]) for at in range(n_items))


def ratios(times: dict[str, list[float]], base: str) -> dict[str, float]:
    """Return the median of base time by each candidate's time in the same round, or on the same item."""
    return {name: median(b / mine for b, mine in zip(times[base], its, strict=True)) for name, its in times.items()}


def target(figures: Sequence[float], least: Sequence[float] | None) -> dict[str, str]:
    """Return the cells that say what was aimed at and whether it was met: each figure at least its own number."""
    if least is None:
        return {}
    met = all(figure >= wanted for figure, wanted in zip(figures, least, strict=True))
    return {"target": f"at least {' and '.join(f'{wanted:g}' for wanted in least)}", "met": "yes" if met else "no"}


def _shown(value: Any) -> str:
    return (
        f"{value:.4f}"
        if isinstance(value, float) and value < 10
        else f"{value:,.1f}"
        if isinstance(value, float)
        else str(value)
    )
