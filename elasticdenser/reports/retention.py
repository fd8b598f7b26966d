"""What the sizes of one system keep of its largest size's quality: retention, with typing errors and without."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from elasticdenser.evaluation.comparison import Comparison, QuerySetInfo, SystemInfo
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Column, Entry, Table
from elasticdenser.reports.palette import looks_of

MEAN_COLUMN, MS_COLUMN = "Mean", "ms/query"


@dataclass(frozen=True, kw_only=True)
class Retention:
    """The sizes of a system, compared with the largest on each query set's main measure.

    Attributes:
        comparison: What an evaluation found.
        name: What the sizes share.
        sizes: At least two, the largest first.
        query_sets: Those without typing errors on which the largest size found something.
        mistyped: Number of typing errors -> origin -> query set with as many, of the same measure.
    """

    comparison: Comparison
    name: str
    sizes: Sequence[SystemInfo]
    query_sets: Sequence[QuerySetInfo]
    mistyped: Mapping[int, Mapping[str, QuerySetInfo]]

    @property
    def largest(self) -> SystemInfo:
        """The size that the others are shares of."""
        return self.sizes[0]

    def share(self, size: SystemInfo, clean: QuerySetInfo, n_errors: int = 0) -> float | None:
        """Return what a size has, with typing errors, as a share of what the largest has without."""
        info = self.mistyped[n_errors][clean.origin] if n_errors else clean
        mean = _mean(self.comparison, info, size, clean.measures[0])
        full = _mean(self.comparison, clean, self.largest, clean.measures[0])
        return mean / full if mean is not None and full else None

    def mean_share(self, size: SystemInfo, n_errors: int = 0) -> float | None:
        """Return the mean share over the query sets; None where one is missing, as others would say another thing."""
        return _average(self.share(size, clean, n_errors) for clean in self.with_errors(n_errors))

    def with_errors(self, n_errors: int) -> list[QuerySetInfo]:
        """Return the query sets that there are with that many typing errors too."""
        return [clean for clean in self.query_sets if not n_errors or clean.origin in self.mistyped[n_errors]]

    def milliseconds(self, size: SystemInfo) -> float | None:
        """Return the mean time of a query over the query sets; None where one was not timed."""
        cells = (self.comparison.cell(info.name, size.name) for info in self.query_sets)
        return _average(cell.ms_per_query if cell else None for cell in cells)


def retentions(comparison: Comparison) -> list[Retention]:
    """Return what there is to say of each system that has several sizes."""
    families: dict[str, list[SystemInfo]] = {}
    for system in comparison.systems:
        if system.size_of:
            families.setdefault(system.size_of, []).append(system)
    found = (_retention(comparison, name, sizes) for name, sizes in families.items() if len(sizes) > 1)
    return [retention for retention in found if retention.query_sets]


def retention_table(found: Retention) -> Table:
    """Return sizes by query sets, in per cent, with the means, those with typing errors, and times."""
    looks = looks_of(found.comparison)
    heads = [f"{text.plain(info.name)}: {text.plain(info.measures[0])}" for info in found.query_sets]
    heads += [MEAN_COLUMN, *(text.count(number, "error") for number in found.mistyped), MS_COLUMN]
    rows = []
    for size in found.sizes:
        shares = [found.share(size, info) for info in found.query_sets]
        shares += [found.mean_share(size, number) for number in (0, *found.mistyped)]
        entries = (Entry(text=text.percent(share)) for share in shares)
        ms = Entry(text=text.milliseconds(found.milliseconds(size)))
        rows.append((Entry(text=text.plain(size.size or size.name), colour=looks[size.name].colour), *entries, ms))
    columns = (Column(title="Size", is_number=False), *(Column(title=head) for head in heads))
    return Table(columns=columns, rows=tuple(rows))


def retention_rows(found: Retention) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table as plain text, for the terminal."""
    table = retention_table(found)
    return [column.title for column in table.columns], [[entry.text for entry in row] for row in table.rows]


def _retention(comparison: Comparison, name: str, sizes: Sequence[SystemInfo]) -> Retention:
    clean: dict[str, QuerySetInfo] = {}
    for info in comparison.query_sets:
        if not info.typing_errors and info.measures and _mean(comparison, info, sizes[0], info.measures[0]):
            clean.setdefault(info.origin or info.name, info)
    mistyped: dict[int, dict[str, QuerySetInfo]] = {}
    for info in sorted(comparison.query_sets, key=lambda info: info.typing_errors):
        without = clean.get(info.origin)
        if info.typing_errors and without is not None and without.measures[0] in info.measures:
            mistyped.setdefault(info.typing_errors, {}).setdefault(info.origin, info)
    return Retention(comparison=comparison, name=name, sizes=sizes, query_sets=list(clean.values()), mistyped=mistyped)


def _mean(comparison: Comparison, info: QuerySetInfo, system: SystemInfo, measure: str) -> float | None:
    cell = comparison.cell(info.name, system.name)
    return cell.mean(measure) if cell is not None and cell.values.get(measure) else None


def _average(numbers: Iterable[float | None]) -> float | None:
    known = list(numbers)
    present = [number for number in known if number is not None]
    return sum(present) / len(present) if present and len(present) == len(known) else None
