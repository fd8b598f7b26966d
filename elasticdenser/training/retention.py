"""Figures of snapshots on dev sets: each subnet's measure as a share of another one, such as the full encoder's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from elasticdenser.subnet import LEVEL_0

Measures = Mapping[str, Mapping[str, float]]
"""Dev set -> subnet -> measure."""


@dataclass(frozen=True, kw_only=True)
class WorstRetention:
    """Lowest retention of a subnet over the dev sets.

    Args:
        dev_set: Name of the dev set.
        retention: The subnet's measure there, as a share of the full encoder's.
    """

    dev_set: str
    retention: float


@dataclass(frozen=True, kw_only=True)
class SnapshotSelection:
    """Measures of the snapshots on the dev sets, and the step that was selected.

    Args:
        selected: Step of the best snapshot.
        full: Dev set -> measure of the full encoder.
        values: Step -> dev set -> subnet -> measure.
        level0: Dev set -> measure of level 0, which is not part of the snapshots; empty where there is none.
        for_record: Subnets that were measured but do not count.
    """

    selected: int
    full: Mapping[str, float]
    values: Mapping[int, Measures]
    level0: Mapping[str, float]
    for_record: tuple[str, ...] = ()

    def retention(self, step: int) -> dict[str, float]:
        """Return the retention at a step of each subnet that counts."""
        return retention_of(self.full, self.values[step], self.for_record)

    def retention_with_level0(self, step: int) -> dict[str, float]:
        """Return the retention at a step of each subnet that counts, and of level 0 if there is one."""
        shares = {dev: value / self.full[dev] for dev, value in self.level0.items()}
        return self.retention(step) | ({str(LEVEL_0): mean_of(shares)} if shares else {})

    def worst_retention(self, step: int) -> dict[str, WorstRetention]:
        """Return the lowest retention at a step of each subnet that counts, and of level 0 if there is one."""
        worst = worst_retention_of(self.full, self.values[step], self.for_record)
        if self.level0:
            level0 = {dev: {str(LEVEL_0): value} for dev, value in self.level0.items()}
            worst |= worst_retention_of(self.full, level0)
        return worst

    def retention_for_record(self, step: int) -> dict[str, float]:
        """Return the retention at a step of the subnets that do not count."""
        all_retention = retention_of(self.full, self.values[step])
        return {subnet: all_retention[subnet] for subnet in self.for_record}

    def report(self) -> str:
        """Return the retention of each subnet at the selected step, and its worst dev set, as lines of text."""
        worst = self.worst_retention(self.selected)
        lines = [f"step {self.selected:,} selected; retention, and the lowest over the dev sets:"]
        for name, mean in self.retention_with_level0(self.selected).items():
            lines.append(f"{name:>10}  {mean:.4f}  {worst[name].retention:.4f}  {worst[name].dev_set}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return all figures, including retention, its mean and the greatest fall of a subnet at each step."""
        retention = {step: self.retention(step) for step in self.values}
        falls = greatest_falls(retention)
        return {
            "selected": self.selected,
            "full": dict(self.full),
            "level0": dict(self.level0),
            "snapshots": [
                {
                    "step": step,
                    "mean_retention": mean_of(retention[step]),
                    "greatest_fall": falls[step],
                    "retention": retention[step],
                    "worst_retention": {name: asdict(worst) for name, worst in self.worst_retention(step).items()},
                    "retention_for_record": self.retention_for_record(step),
                    "values": self.values[step],
                }
                for step in self.values
            ],
        }


def greatest_falls(retention: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return for each step the greatest fall of a subnet below its best retention over all steps."""
    subnets = next(iter(retention.values()))
    best = {subnet: max(by_subnet[subnet] for by_subnet in retention.values()) for subnet in subnets}
    return {step: max(best[subnet] - by_subnet[subnet] for subnet in subnets) for step, by_subnet in retention.items()}


def retention_of(full: Mapping[str, float], values: Measures, left_out: Sequence[str] = ()) -> dict[str, float]:
    """Return the mean share of each subnet over the dev sets."""
    subnets = [subnet for subnet in next(iter(values.values())) if subnet not in left_out]
    return {subnet: sum(values[dev][subnet] / full[dev] for dev in values) / len(values) for subnet in subnets}


def worst_retention_of(
    full: Mapping[str, float], values: Measures, left_out: Sequence[str] = ()
) -> dict[str, WorstRetention]:
    """Return the lowest share of each subnet over the dev sets."""
    worst = {}
    for subnet in next(iter(values.values())):
        if subnet not in left_out:
            shares = {dev: values[dev][subnet] / full[dev] for dev in values}
            dev_set = min(shares, key=lambda dev: shares[dev])
            worst[subnet] = WorstRetention(dev_set=dev_set, retention=shares[dev_set])
    return worst


def mean_of(values: Mapping[str, float]) -> float:
    """Return the mean of some values."""
    return sum(values.values()) / len(values)
