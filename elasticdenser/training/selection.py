"""The choice of a snapshot by retrieval: what each size is worth on dev sets, not how near its vectors come.

Retention is what a size keeps of the full encoder's measure, the mean over the dev sets. The rule: among the snapshots
at which no size falls more than `MOST_LOST` below its best over all snapshots, the one with the best mean over the
sizes; where every snapshot has such a size, the best mean. One collapsed size would hide in a mean alone. The largest
size does not count: in use it is the full encoder itself. What was trained of it is measured for the record.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from elasticdenser.training.data import token_ids_of
from elasticdenser.training.dev_sets import DevSet, value_of_table, values_of_sizes
from elasticdenser.training.snapshots import load_weights

MOST_LOST = 0.005
"""How far a size may fall below its best retention over all snapshots."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the snapshots are worth.

    Args:
        chosen: Step of the best snapshot.
        full: Dev set -> measure of the full encoder.
        values: Step -> dev set -> size -> measure.
        level0: Dev set -> measure of level 0, which is no part of the snapshots; empty where there is none.
        apart: Sizes that were measured but do not count.
    """

    chosen: int
    full: Mapping[str, float]
    values: Mapping[int, Mapping[str, Mapping[str, float]]]
    level0: Mapping[str, float]
    apart: tuple[str, ...] = ()

    def retention(self, step: int) -> dict[str, float]:
        """Return the retention of each size that counts at a step."""
        return _retention(self.full, self.values[step], self.apart)

    def retention_of_all(self, step: int) -> dict[str, float]:
        """Return the retention of each size that counts at a step, and of level 0 if there is one."""
        of_table = [value / self.full[dev] for dev, value in self.level0.items()]
        return self.retention(step) | ({str(LEVEL_0): sum(of_table) / len(of_table)} if of_table else {})

    def retention_apart(self, step: int) -> dict[str, float]:
        """Return the retention of the sizes that were measured for the record."""
        counted = self.retention(step)
        every = _retention(self.full, self.values[step])
        return {size: value for size, value in every.items() if size not in counted}

    def to_json(self) -> dict[str, Any]:
        """Return all of it, with what follows from it."""
        means = {step: self.retention(step) for step in self.values}
        falls = _falls(means)
        return {
            "chosen": self.chosen,
            "full": dict(self.full),
            "level0": dict(self.level0),
            "snapshots": [
                {
                    "step": step,
                    "mean_retention": _mean(means[step]),
                    "most_lost": falls[step],
                    "retention": means[step],
                    "retention_apart": self.retention_apart(step),
                    "values": self.values[step],
                }
                for step in self.values
            ],
        }


def choose(
    snapshots: Mapping[int, Path],
    dev_sets: Sequence[DevSet],
    encoder: ElasticQueryEncoder,
    model: ElasticBert,
    sizes: Sequence[Subnet],
    kept: Path,
    *,
    also: Sequence[Subnet] = (),
    progress: Progress = silent,
) -> Choice:
    """Measure all sizes of all snapshots and choose one.

    Args:
        snapshots: Step -> file.
        dev_sets: At least one.
        encoder: The full encoder.
        model: Takes the weights of each snapshot in turn, on the device it is on.
        sizes: Those that are compared, at least one.
        kept: File for what was found; snapshots that it has already, over the same dev sets, are not measured again.
        also: Sizes that are measured but do not count.
        progress: Called with (what, done, of how many).

    Raises:
        BadInputError: The full encoder finds nothing, so that there is nothing to keep.
    """
    measured, apart = [*sizes, *also], tuple(map(str, also))
    of = fingerprint_of([[dev.fingerprint() for dev in dev_sets], list(map(str, measured))])
    full = {dev.name: dev.value(encoder.encode(dev.texts)) for dev in dev_sets}
    if useless := [name for name, value in full.items() if not value > 0]:
        raise BadInputError(f"the full encoder itself has {useless[0]} = 0: give another dev set")
    sequences = {dev.name: token_ids_of(encoder, dev.texts) for dev in dev_sets}
    level0 = {}
    if model.shape.level0:
        table = TokenTable(model.table)
        level0 = {dev.name: value_of_table(table, dev, sequences[dev.name]) for dev in dev_sets}
    before = _kept(kept, of)
    values: dict[int, dict[str, dict[str, float]]] = {}
    for done, (step, path) in enumerate(snapshots.items()):
        progress("Measuring snapshots", done, len(snapshots))
        if step in before:
            values[step] = before[step]
        else:
            load_weights(path, model)
            values[step] = {dev.name: values_of_sizes(model, measured, dev, sequences[dev.name]) for dev in dev_sets}
        best = pick({step: _retention(full, its, apart) for step, its in values.items()})
        choice = Choice(chosen=best, full=full, values=values, level0=level0, apart=apart)
        write_json(kept, {"of": of, **choice.to_json()})
    progress("Measuring snapshots", len(snapshots), len(snapshots))
    return choice


def pick(retention: Mapping[int, Mapping[str, float]]) -> int:
    """Return the step of the best snapshot, by the rule of this module; of equal ones the last.

    Args:
        retention: Step -> size -> retention.
    """
    falls = _falls(retention)
    even = [step for step in retention if falls[step] <= MOST_LOST]
    return max(even or retention, key=lambda step: (_mean(retention[step]), step))


def _falls(retention: Mapping[int, Mapping[str, float]]) -> dict[int, float]:
    """Return for each step by how much its worst size falls below that size's best."""
    best = {size: max(its[size] for its in retention.values()) for size in next(iter(retention.values()))}
    return {step: max(best[size] - its[size] for size in best) for step, its in retention.items()}


def _retention(
    full: Mapping[str, float], values: Mapping[str, Mapping[str, float]], apart: Sequence[str] = ()
) -> dict[str, float]:
    sizes = [size for size in next(iter(values.values())) if size not in apart]
    return {size: sum(values[dev][size] / full[dev] for dev in values) / len(values) for size in sizes}


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


def _kept(path: Path, of: str) -> dict[int, dict[str, dict[str, float]]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {its["step"]: its["values"] for its in found["snapshots"]} if found["of"] == of else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
