"""Results of an evaluation as one flat record for each cell, for other programs (`cells.jsonl`)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from elasticdenser.evaluation import Cell, Comparison

_DIGITS = 10
"""Digits of intervals and differences: the rest is rounding, which differs between machines."""


def cell_lines(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield a record for each cell: figures with intervals, differences from the baseline, provenance."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    systems = {system.name: system for system in comparison.systems}
    query_sets = {query_set.name: query_set for query_set in comparison.query_sets}
    for cell in comparison.cells:
        query_set = query_sets[cell.query_set]
        curve = {str(cutoff): round(mean, 4) for cutoff, mean in cell.curve.items()}
        yield {
            "when": when,
            "suite": comparison.title,
            "query_set": cell.query_set,
            "title": query_set.title,
            "n_queries": len(query_set.queries),
            "typing_errors": query_set.typing_errors,
            "perturbation": query_set.perturbation,
            "n_passages": query_set.n_passages,
            "system": cell.system,
            "settings": systems[cell.system].settings,
            "measures": {measure: _figures(comparison, cell, measure) for measure in query_set.measures},
            "curve": {"measure": query_set.curve_measure, **curve},
            "ms_per_query": None if cell.ms_per_query is None else round(cell.ms_per_query, 3),
            "timed_k": query_set.timed_k,
            "baseline": comparison.baseline,
            "warnings": list(cell.warnings),
            "fingerprint": cell.fingerprint,
            "machine": comparison.environment,
        }


def _figures(comparison: Comparison, cell: Cell, measure: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"mean": cell.mean(measure), "n_queries": len(cell.values[measure])}
    if interval := comparison.interval(cell.query_set, cell.system, measure):
        figures |= {"low": round(interval.low, _DIGITS), "high": round(interval.high, _DIGITS)}
    if difference := comparison.difference(cell.query_set, cell.system, measure):
        figures |= {
            "difference": round(difference.difference, _DIGITS),
            "p": difference.p,
            "p_holm": difference.p_holm,
        }
    return figures
