"""Retention: the share of the largest subnet's quality that each subnet retains, with and without slips in queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from elasticdenser.evaluation.comparison import Comparison, QuerySetInfo, SystemInfo
from elasticdenser.reports import text
from elasticdenser.reports.blocks import Column, Entry, Table
from elasticdenser.reports.palette import system_styles
from elasticdenser.reports.tables import MS_COLUMN, mean_of

MEAN_COLUMN = "Mean"


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Subnets of a family of systems, compared with the largest on the primary measure of each query set.

    Attributes:
        comparison: Results of the evaluation.
        family: Name that the systems share.
        systems: At least two systems, the one with the largest subnet first.
        query_sets: Query sets without slips on which the largest subnet has a quality above 0.
        with_slips: Slips, such as `1 error` -> origin -> query set with these slips and the same measure.
    """

    comparison: Comparison
    family: str
    systems: Sequence[SystemInfo]
    query_sets: Sequence[QuerySetInfo]
    with_slips: Mapping[str, Mapping[str, QuerySetInfo]]

    @property
    def largest(self) -> SystemInfo:
        """The system with the largest subnet."""
        return self.systems[0]

    def share(self, system: SystemInfo, clean: QuerySetInfo, slips: str = "") -> float | None:
        """Return the quality of a subnet with slips as a share of the largest subnet's without them."""
        info = self.with_slips[slips][clean.origin] if slips else clean
        mean = _mean(self.comparison, info, system, clean.measures[0])
        of_largest = _mean(self.comparison, clean, self.largest, clean.measures[0])
        return mean / of_largest if mean is not None and of_largest else None

    def mean_share(self, system: SystemInfo, slips: str = "") -> float | None:
        """Return the mean share over the query sets; None if one is missing, as the others alone would mislead."""
        return _mean_of_all(self.share(system, clean, slips) for clean in self.existing_with(slips))

    def existing_with(self, slips: str) -> list[QuerySetInfo]:
        """Return the query sets that exist with these slips too."""
        return [clean for clean in self.query_sets if not slips or clean.origin in self.with_slips[slips]]

    def milliseconds(self, system: SystemInfo) -> float | None:
        """Return the mean time per query over the query sets; None if one was not timed."""
        cells = (self.comparison.cell(info.name, system.name) for info in self.query_sets)
        return _mean_of_all(cell.ms_per_query if cell else None for cell in cells)


def retentions(comparison: Comparison) -> list[Retention]:
    """Return the retention of each family of systems with several subnets."""
    families: dict[str, list[SystemInfo]] = {}
    for system in comparison.systems:
        if system.family:
            families.setdefault(system.family, []).append(system)
    candidates = (_retention(comparison, family, systems) for family, systems in families.items() if len(systems) > 1)
    return [retention for retention in candidates if retention.query_sets]


def retention_table(retention: Retention) -> Table:
    """Return the table of subnets by query sets, in per cent, with means, figures with slips, and times."""
    styles = system_styles(retention.comparison)
    headings = [f"{text.plain(info.name)}: {text.plain(info.measures[0])}" for info in retention.query_sets]
    headings += [MEAN_COLUMN, *map(text.plain, retention.with_slips), MS_COLUMN]
    rows = []
    for system in retention.systems:
        shares = [retention.share(system, info) for info in retention.query_sets]
        shares += [retention.mean_share(system, slips) for slips in ("", *retention.with_slips)]
        name = Entry(text=text.plain(system.subnet or system.name), colour=styles[system.name].colour)
        entries = (Entry(text=text.percent(share)) for share in shares)
        rows.append((name, *entries, Entry(text=text.milliseconds(retention.milliseconds(system)))))
    columns = (Column(title="Subnet", is_number=False), *(Column(title=heading) for heading in headings))
    return Table(columns=columns, rows=tuple(rows))


def retention_rows(retention: Retention) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the retention table as plain text, for the terminal."""
    table = retention_table(retention)
    return [column.title for column in table.columns], [[entry.text for entry in row] for row in table.rows]


def _retention(comparison: Comparison, family: str, systems: Sequence[SystemInfo]) -> Retention:
    """Match the query sets with slips to those without, by their origin; those with fewer typing errors come first."""
    clean: dict[str, QuerySetInfo] = {}
    for info in comparison.query_sets:
        if not info.slips and info.measures and _mean(comparison, info, systems[0], info.measures[0]):
            clean.setdefault(info.origin or info.name, info)
    with_slips: dict[str, dict[str, QuerySetInfo]] = {}
    for info in sorted(comparison.query_sets, key=lambda info: (bool(info.perturbation), info.typing_errors)):
        without_slips = clean.get(info.origin)
        if info.slips and without_slips is not None and without_slips.measures[0] in info.measures:
            with_slips.setdefault(info.slips, {}).setdefault(info.origin, info)
    query_sets = list(clean.values())
    return Retention(
        comparison=comparison, family=family, systems=systems, query_sets=query_sets, with_slips=with_slips
    )


def _mean(comparison: Comparison, info: QuerySetInfo, system: SystemInfo, measure: str) -> float | None:
    return mean_of(comparison.cell(info.name, system.name), measure)


def _mean_of_all(numbers: Iterable[float | None]) -> float | None:
    """Return the mean; None if there are no numbers or one is missing."""
    values = list(numbers)
    present = [number for number in values if number is not None]
    return sum(present) / len(present) if present and len(present) == len(values) else None
