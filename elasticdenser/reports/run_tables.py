"""Tables of measured runs: for the terminal, as CSV, and as LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from elasticdenser.evaluation.comparison import Difference
from elasticdenser.evaluation.run_comparison import MeasuredRun
from elasticdenser.reports import text

SIGNIFICANCE = "paired randomisation test, Holm-corrected p < 0.05"
"""The test behind the marks, for the line below a table."""

_CSV_COLUMNS = ("run", "measure", "value", "difference", "low", "high", "p", "p_holm", "n_better", "n_worse")
_LATEX_ARROWS = {text.BETTER: r"$^{\uparrow}$", text.WORSE: r"$^{\downarrow}$", "": ""}
_LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def mark_of(difference: Difference | None) -> str:
    """Return the sign for a significant difference; empty for any other."""
    if difference is None or not difference.is_significant():
        return ""
    return text.BETTER if difference.difference > 0 else text.WORSE


def run_rows(runs: Sequence[MeasuredRun]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of a table with a row for each run: the values with their marks, then the run."""
    measures = list(runs[0].values)
    rows = [
        [*(f"{text.value(run.values[m])} {mark_of(run.differences.get(m))}".strip() for m in measures), run.name]
        for run in runs
    ]
    return [*measures, "run"], rows


def runs_as_csv(runs: Sequence[MeasuredRun]) -> str:
    """Return CSV with a line for each run and measure; the columns of differences are empty for the first run."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for run in runs:
        for measure, value in run.values.items():
            difference = run.differences.get(measure)
            figures = ["" if difference is None else getattr(difference, column) for column in _CSV_COLUMNS[3:]]
            writer.writerow([run.name, measure, value, *figures])
    return file.getvalue()


def runs_as_latex(runs: Sequence[MeasuredRun]) -> str:
    """Return a LaTeX table (booktabs) with a row for each run: the best value is bold, significant ones have a mark."""
    measures = list(runs[0].values)
    best = {measure: max(text.value(run.values[measure]) for run in runs) for measure in measures}
    lines = [r"% needs \usepackage{booktabs}", rf"\begin{{tabular}}{{l{'r' * len(measures)}}}", r"\toprule"]
    lines.append(rf"{' & '.join(['Run', *map(_escaped, measures)])} \\")
    lines.append(r"\midrule")
    for run in runs:
        cells = [_latex_cell(run, measure, best[measure] if len(runs) > 1 else "") for measure in measures]
        lines.append(rf"{' & '.join([_escaped(run.name), *cells])} \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if len(runs) > 1:
        lines.append(f"% arrows: better or worse than {runs[0].name}, {SIGNIFICANCE}")
    return "\n".join(lines) + "\n"


def _latex_cell(run: MeasuredRun, measure: str, best: str) -> str:
    value = text.value(run.values[measure])
    arrow = _LATEX_ARROWS[mark_of(run.differences.get(measure))]
    return (rf"\textbf{{{value}}}" if value == best else value) + arrow


def _escaped(name: str) -> str:
    return "".join(_LATEX_SPECIAL.get(character, character) for character in text.plain(name))
