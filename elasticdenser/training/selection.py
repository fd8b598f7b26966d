"""Snapshot selection: the snapshot whose subnets retrieve best on dev sets becomes the model.

Retention is a subnet's measure as a share of the full encoder's, the mean over the dev sets. Among the snapshots at
which no subnet falls more than `MAX_FALL` below its best retention over all snapshots, the one with the best mean over
the subnets is selected; where every snapshot has such a subnet, the one with the best mean. A mean alone would hide
that a single subnet has collapsed. The full subnet does not count, as the full encoder itself is used in its place; its
trained weights are measured for the record.

With many dev sets a mean over them hides that a subnet fails on one of them. Its worst retention is reported too, and
with the rule `mean-and-worst` a subnet counts with the mean of both. Falls are always those of the mean: the worst of
several dev sets is mostly the noisiest, and would exclude good snapshots.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elasticdenser.artifacts import write_json
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.token_table import TokenTable
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import LEVEL_0, Subnet
from elasticdenser.training.batches import token_ids_of
from elasticdenser.training.dev_sets import DevSet, level0_vectors, measure_subnets
from elasticdenser.training.snapshots import load_weights

MAX_FALL = 0.005
"""Greatest fall of a subnet below its best retention: about the noise of a dev set of 1,000 queries."""

_Measures = Mapping[str, Mapping[str, float]]
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
    values: Mapping[int, _Measures]
    level0: Mapping[str, float]
    for_record: tuple[str, ...] = ()

    def retention(self, step: int) -> dict[str, float]:
        """Return the retention at a step of each subnet that counts."""
        return _retention(self.full, self.values[step], self.for_record)

    def retention_with_level0(self, step: int) -> dict[str, float]:
        """Return the retention at a step of each subnet that counts, and of level 0 if there is one."""
        shares = {dev: value / self.full[dev] for dev, value in self.level0.items()}
        return self.retention(step) | ({str(LEVEL_0): _mean(shares)} if shares else {})

    def worst_retention(self, step: int) -> dict[str, WorstRetention]:
        """Return the lowest retention at a step of each subnet that counts, and of level 0 if there is one."""
        worst = _worst_retention(self.full, self.values[step], self.for_record)
        if self.level0:
            level0 = {dev: {str(LEVEL_0): value} for dev, value in self.level0.items()}
            worst |= _worst_retention(self.full, level0)
        return worst

    def retention_for_record(self, step: int) -> dict[str, float]:
        """Return the retention at a step of the subnets that do not count."""
        all_retention = _retention(self.full, self.values[step])
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
        falls = _greatest_falls(retention)
        return {
            "selected": self.selected,
            "full": dict(self.full),
            "level0": dict(self.level0),
            "snapshots": [
                {
                    "step": step,
                    "mean_retention": _mean(retention[step]),
                    "greatest_fall": falls[step],
                    "retention": retention[step],
                    "worst_retention": {name: asdict(worst) for name, worst in self.worst_retention(step).items()},
                    "retention_for_record": self.retention_for_record(step),
                    "values": self.values[step],
                }
                for step in self.values
            ],
        }


def select_snapshot(
    snapshots: Mapping[int, Path],
    dev_sets: Sequence[DevSet],
    encoder: ElasticQueryEncoder,
    model: ElasticBert,
    subnets: Sequence[Subnet],
    cache: Path,
    *,
    for_record: Sequence[Subnet] = (),
    rule: str = "mean",
    progress: Progress = silent,
) -> SnapshotSelection:
    """Measure the subnets of all snapshots and select the best snapshot.

    Args:
        snapshots: Step -> file.
        dev_sets: At least one dev set.
        encoder: The full encoder.
        model: Takes the weights of each snapshot in turn, on the device it is on.
        subnets: Subnets that are compared, at least one.
        cache: File of the result; snapshots that it has for the same dev sets and subnets are not measured again.
        for_record: Subnets that are measured but do not count.
        rule: One of `SELECTION_RULES`.
        progress: Called with (activity, done, total).

    Raises:
        BadInputError: The measure of the full encoder is 0, so that there is no retention.
    """
    measured, for_record_names = [*subnets, *for_record], tuple(map(str, for_record))
    fingerprint = fingerprint_of([[dev.fingerprint() for dev in dev_sets], list(map(str, measured))])
    full = {dev.name: dev.value(encoder.encode(dev.texts)) for dev in dev_sets}
    if failed := [name for name, value in full.items() if not value > 0]:
        raise BadInputError(
            f"the full encoder itself has {failed[0]} = 0, expected a value above 0: choose another dev set"
        )
    sequences = {dev.name: token_ids_of(encoder, dev.texts) for dev in dev_sets}
    level0 = {}
    if model.shape.level0:
        table = TokenTable(model.table)
        level0 = {dev.name: dev.value(level0_vectors(table, sequences[dev.name])) for dev in dev_sets}
    cached = _read_cache(cache, fingerprint)
    values: dict[int, _Measures] = {}
    for done, (step, path) in enumerate(snapshots.items()):
        progress("Measuring snapshots", done * len(dev_sets), len(snapshots) * len(dev_sets))
        if step in cached:
            values[step] = cached[step]
        else:
            load_weights(path, model)
            by_dev_set: dict[str, dict[str, float]] = {}
            for number, dev in enumerate(dev_sets, done * len(dev_sets) + 1):
                by_dev_set[dev.name] = measure_subnets(model, measured, dev, sequences[dev.name])
                progress("Measuring snapshots", number, len(snapshots) * len(dev_sets))
            values[step] = by_dev_set
        selected = best_step(
            {step: _retention(full, values[step], for_record_names) for step in values},
            {step: _worst_retention(full, values[step], for_record_names) for step in values}
            if rule == "mean-and-worst"
            else None,
        )
        selection = SnapshotSelection(
            selected=selected, full=full, values=values, level0=level0, for_record=for_record_names
        )
        write_json(cache, {"fingerprint": fingerprint, **selection.to_json()})
    progress("Measuring snapshots", len(snapshots) * len(dev_sets), len(snapshots) * len(dev_sets))
    return selection


def best_step(
    retention: Mapping[int, Mapping[str, float]],
    worst: Mapping[int, Mapping[str, WorstRetention]] | None = None,
) -> int:
    """Return the step of the best snapshot, by the rule of this module; of equal ones the last.

    Args:
        retention: Step -> subnet -> retention.
        worst: Step -> subnet -> worst retention, which counts as much as the mean; None does not count it.
    """
    falls = _greatest_falls(retention)
    without_collapse = [step for step in retention if falls[step] <= MAX_FALL]

    def quality(step: int) -> float:
        mean = _mean(retention[step])
        if worst is None:
            return mean
        return (mean + _mean({name: subnet.retention for name, subnet in worst[step].items()})) / 2

    return max(without_collapse or retention, key=lambda step: (quality(step), step))


def _greatest_falls(retention: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return for each step the greatest fall of a subnet below its best retention over all steps."""
    subnets = next(iter(retention.values()))
    best = {subnet: max(by_subnet[subnet] for by_subnet in retention.values()) for subnet in subnets}
    return {step: max(best[subnet] - by_subnet[subnet] for subnet in subnets) for step, by_subnet in retention.items()}


def _retention(full: Mapping[str, float], values: _Measures, left_out: Sequence[str] = ()) -> dict[str, float]:
    subnets = [subnet for subnet in next(iter(values.values())) if subnet not in left_out]
    return {subnet: sum(values[dev][subnet] / full[dev] for dev in values) / len(values) for subnet in subnets}


def _worst_retention(
    full: Mapping[str, float], values: _Measures, left_out: Sequence[str] = ()
) -> dict[str, WorstRetention]:
    worst = {}
    for subnet in next(iter(values.values())):
        if subnet not in left_out:
            shares = {dev: values[dev][subnet] / full[dev] for dev in values}
            dev_set = min(shares, key=lambda dev: shares[dev])
            worst[subnet] = WorstRetention(dev_set=dev_set, retention=shares[dev_set])
    return worst


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def _read_cache(path: Path, fingerprint: str) -> dict[int, _Measures]:
    """Return step -> measures of the snapshots in the file, if it is of this fingerprint."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if content["fingerprint"] != fingerprint:
            return {}
        return {snapshot["step"]: snapshot["values"] for snapshot in content["snapshots"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # absent, or of another version: measured again
