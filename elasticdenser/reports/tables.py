"""Tables of a report, and the rows of its results for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from elasticdenser.evaluation.comparison import Cell, Comparison, QuerySetInfo
from elasticdenser.evaluation.significance import paired_differences
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Column, Entry, Table
from elasticdenser.reports.palette import system_styles
from elasticdenser.reports.run_tables import mark_of

MS_COLUMN = "ms/query"

_N_EXTREMES = 5
"""Queries with the largest gains, and as many with the largest losses, that a report lists."""

_QUERY_LENGTH, _ID_LENGTH = 120, 40
"""Characters of queries and ids in tables."""


def result_rows(comparison: Comparison, query_set: str) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the results on a query set as plain text, with marks after the means.

    Args:
        comparison: Results of an evaluation.
        query_set: Name of a query set.

    Raises:
        KeyError: There is no such query set.
    """
    info = next((info for info in comparison.query_sets if info.name == query_set), None)
    if info is None:
        raise KeyError(query_set)
    table = result_table(comparison, info)
    rows = [[f"{entry.text} {entry.mark}".strip() for entry in row] for row in table.rows]
    return [column.title for column in table.columns], rows


def result_table(comparison: Comparison, info: QuerySetInfo) -> Table:
    """Return the table of systems by measures: means, marks, intervals and times; problems of cells are notes."""
    cells = {system.name: comparison.cell(info.name, system.name) for system in comparison.systems}
    measured = [cell for cell in cells.values() if cell is not None]
    bests = [_best([mean_of(cell, measure) for cell in measured], max, text.value) for measure in info.measures]
    best_ms = _best([cell.ms_per_query for cell in measured], min, text.milliseconds)
    notes: list[str] = []
    rows = []
    for name, cell in cells.items():
        numbers = _add_notes(comparison, info, name, cell, notes)
        row = [_system_entry(comparison, name, numbers)]
        for measure, best in zip(info.measures, bests, strict=True):
            row.append(_mean_entry(comparison, cell, measure, best))
        ms = text.milliseconds(cell.ms_per_query if cell else None)
        rows.append((*row, Entry(text=ms, strong=ms == best_ms)))
    columns = (_text_column("System"), *(Column(title=text.plain(m)) for m in info.measures), Column(title=MS_COLUMN))
    return Table(columns=columns, rows=tuple(rows), notes=tuple(notes))


def overview_table(comparison: Comparison) -> Table:
    """Return the table of systems by query sets, with the primary measure of each."""
    query_sets = [info for info in comparison.query_sets if info.measures]
    bests = []
    for info in query_sets:
        means = [mean_of(comparison.cell(info.name, system.name), info.measures[0]) for system in comparison.systems]
        bests.append(_best(means, max, text.value))
    rows = []
    for system in comparison.systems:
        row = [_system_entry(comparison, system.name)]
        for info, best in zip(query_sets, bests, strict=True):
            row.append(_mean_entry(comparison, comparison.cell(info.name, system.name), info.measures[0], best))
        rows.append(tuple(row))
    columns = (Column(title=f"{text.plain(info.name)}: {text.plain(info.measures[0])}") for info in query_sets)
    return Table(columns=(_text_column("System"), *columns), rows=tuple(rows))


def difference_table(comparison: Comparison, info: QuerySetInfo) -> Table | None:
    """Return the table of differences from the baseline in the primary measure; None if there are none."""
    rows = []
    for system in comparison.systems:
        difference = comparison.difference(info.name, system.name, info.measures[0]) if info.measures else None
        if difference is None:
            continue
        n_equal = len(info.queries) - difference.n_better - difference.n_worse
        texts = (
            text.interval(difference.low, difference.high, has_sign=True),
            text.p_value(difference.p),
            text.p_value(difference.p_holm),
            *(f"{n:,}" for n in (difference.n_better, n_equal, difference.n_worse)),
        )
        entry = Entry(text=text.signed(difference.difference), mark=mark_of(difference))
        rows.append((_system_entry(comparison, system.name), entry, *(Entry(text=item) for item in texts)))
    titles = ("Difference", "95% interval", "p", "p (Holm)", "Queries better", "equal", "worse")
    columns = (_text_column("System"), *(Column(title=title) for title in titles))
    return Table(columns=columns, rows=tuple(rows)) if rows else None


def extremes(info: QuerySetInfo, cell: Cell, baseline: Cell) -> tuple[str, Table | None]:
    """Return the queries with the largest gains and losses against the baseline.

    Returns:
        The numbers of gains and losses shown, of how many in all, in words; and the table, or None if all queries are
        equal.
    """
    measure = info.measures[0]
    differences = paired_differences(cell, baseline, measure)
    # Sorting keeps the order of queries with equal differences, so that the same evaluation shows the same queries.
    gains = sorted((q for q in differences if differences[q] > 0), key=lambda q: -differences[q])
    losses = sorted((q for q in differences if differences[q] < 0), key=lambda q: differences[q])
    rows = []
    for query_id in gains[:_N_EXTREMES] + losses[:_N_EXTREMES]:
        change = differences[query_id]
        rows.append(
            (
                Entry(text=text.shortened(info.queries.get(query_id, ""), _QUERY_LENGTH) or text.MISSING),
                Entry(text=text.shortened(query_id, _ID_LENGTH), code=True),
                Entry(text=text.value(baseline.values[measure][query_id])),
                Entry(text=text.value(cell.values[measure][query_id])),
                Entry(text=text.signed(change), mark=text.BETTER if change > 0 else text.WORSE),
            )
        )
    names = (text.plain(baseline.system), text.plain(cell.system), "Change")
    columns = (_text_column("Query"), _text_column("Id"), *(Column(title=name) for name in names))
    shares = ((min(len(changes), _N_EXTREMES), len(changes)) for changes in (gains, losses))
    share = ", ".join(
        f"{n_shown} of {text.count(n_all, noun)}"
        for (n_shown, n_all), noun in zip(shares, ("gain", "loss"), strict=True)
    )
    return share, Table(columns=columns, rows=tuple(rows)) if rows else None


def text_table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, code: Sequence[str] = ()) -> Table:
    """Return a table of texts.

    Args:
        titles: Titles of the columns.
        rows: Rows with a text for each column.
        code: Titles of the columns that are shown as code.
    """
    entries = (
        tuple(
            Entry(text=text.plain(item) or text.MISSING, code=title in code and bool(item))
            for title, item in zip(titles, row, strict=True)
        )
        for row in rows
    )
    return Table(columns=tuple(_text_column(title) for title in titles), rows=tuple(entries))


def precision_remark(comparison: Comparison) -> str:
    """Return a sentence with the arithmetic of the query encoders; empty if no system has one."""
    systems: dict[str, list[str]] = {}
    for system in comparison.systems:
        if precision := system.settings.get("precision"):
            systems.setdefault(str(precision), []).append(system.name)
    if not systems:
        return ""
    if len(systems) == 1:
        return f"Queries are encoded in {next(iter(systems))}."
    parts = (f"{precision} ({', '.join(names)})" for precision, names in systems.items())
    return text.plain(f"Queries are encoded in {'; '.join(parts)}.")


def _text_column(title: str) -> Column:
    return Column(title=title, is_number=False)


def _system_entry(comparison: Comparison, name: str, notes: tuple[int, ...] = ()) -> Entry:
    return Entry(text=text.plain(name), colour=system_styles(comparison)[name].colour, notes=notes)


def _mean_entry(comparison: Comparison, cell: Cell | None, measure: str, best: str) -> Entry:
    mean = mean_of(cell, measure)
    if cell is None or mean is None:
        return Entry(text=text.MISSING)
    interval = comparison.interval(cell.query_set, cell.system, measure)
    shown = text.value(mean)
    return Entry(
        text=shown,
        mark=mark_of(comparison.difference(cell.query_set, cell.system, measure)),
        small=text.interval(interval.low, interval.high) if interval else "",
        strong=shown == best,
    )


def mean_of(cell: Cell | None, measure: str) -> float | None:
    """Return the mean of a measure in a cell; None without the cell or its values."""
    return cell.mean(measure) if cell is not None and cell.values.get(measure) else None


def _best(numbers: Sequence[float | None], choose: Callable[..., float], shown: Callable[[float], str]) -> str:
    """Return the best number as text; empty if there is nothing to compare.

    Entries with this text are shown as the best, even if they differ in digits that are not shown.
    """
    known = [number for number in numbers if number is not None]
    if len(known) < 2 or not any(known):
        return ""
    return shown(choose(known))


def _add_notes(
    comparison: Comparison, info: QuerySetInfo, system: str, cell: Cell | None, notes: list[str]
) -> tuple[int, ...]:
    """Add the problems of a cell to `notes`, unless they are there already, and return their numbers."""
    if cell is not None:
        problems = [text.plain(warning) for warning in cell.warnings]
    else:
        reasons = [s.reason for s in comparison.skipped if s.query_set == info.name and s.system in (system, "")]
        problems = [f"not run: {text.plain(reason)}" for reason in reasons] or ["not run"]
    notes.extend(problem for problem in dict.fromkeys(problems) if problem not in notes)
    return tuple(notes.index(problem) + 1 for problem in dict.fromkeys(problems))
