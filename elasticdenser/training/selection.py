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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from elasticdenser.artifacts import write_json
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.token_table import TokenTable
from elasticdenser.models.trunk import ElasticTrunk
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import Subnet
from elasticdenser.training.batches import token_ids_of
from elasticdenser.training.dev_sets import DevSet, level0_vectors, measure_subnets
from elasticdenser.training.retention import (
    Measures,
    SnapshotSelection,
    WorstRetention,
    greatest_falls,
    mean_of,
    retention_of,
    worst_retention_of,
)
from elasticdenser.training.snapshots import load_weights
from elasticdenser.training.teacher import Teacher

MAX_FALL = 0.005
"""Greatest fall of a subnet below its best retention: about the noise of a dev set of 1,000 queries."""


def select_snapshot(
    snapshots: Mapping[int, Path],
    dev_sets: Sequence[DevSet],
    encoder: ElasticQueryEncoder,
    model: ElasticBert,
    subnets: Sequence[Subnet],
    cache: Path,
    *,
    teacher: Teacher | None = None,
    for_record: Sequence[Subnet] = (),
    rule: str = "mean",
    progress: Progress = silent,
) -> SnapshotSelection:
    """Measure the subnets of all snapshots and select the best snapshot.

    Args:
        snapshots: Step -> file.
        dev_sets: At least one dev set.
        encoder: The encoder that is trained, which reads the queries.
        model: Takes the weights of each snapshot in turn, on the device it is on.
        subnets: Subnets that are compared, at least one.
        cache: File of the result; snapshots that it has for the same dev sets and subnets are not measured again.
        teacher: The full encoder, of which measures are shares; None is `encoder`.
        for_record: Subnets that are measured but do not count.
        rule: One of `SELECTION_RULES`.
        progress: Called with (activity, done, total).

    Raises:
        BadInputError: The measure of the full encoder is 0, so that there is no retention.
    """
    measured, for_record_names = [*subnets, *for_record], tuple(map(str, for_record))
    fingerprint = fingerprint_of([[dev.fingerprint() for dev in dev_sets], list(map(str, measured))])
    teacher = teacher or encoder
    full = {dev.name: dev.value(teacher.encode(dev.texts)) for dev in dev_sets}
    if failed := [name for name, value in full.items() if not value > 0]:
        raise BadInputError(
            f"the full encoder itself has {failed[0]} = 0, expected a value above 0: choose another dev set"
        )
    sequences = {dev.name: token_ids_of(encoder, dev.texts) for dev in dev_sets}
    level0 = {}
    if model.shape.level0:
        table = TokenTable(model.table)
        level0 = {dev.name: dev.value(level0_vectors(table, sequences[dev.name])) for dev in dev_sets}

    def measured_on(dev: DevSet) -> dict[str, float]:
        return measure_subnets(model, measured, dev, sequences[dev.name])

    return compare_snapshots(
        snapshots,
        model,
        {dev.name: partial(measured_on, dev) for dev in dev_sets},
        cache,
        fingerprint,
        full=full,
        level0=level0,
        for_record=for_record_names,
        rule=rule,
        progress=progress,
    )


def compare_snapshots(
    snapshots: Mapping[int, Path],
    model: ElasticTrunk,
    dev_sets: Mapping[str, Callable[[], Mapping[str, float]]],
    cache: Path,
    fingerprint: str,
    *,
    full: Mapping[str, float],
    level0: Mapping[str, float] | None = None,
    for_record: tuple[str, ...] = (),
    rule: str = "mean",
    progress: Progress = silent,
) -> SnapshotSelection:
    """Measure all snapshots and select the best one; what a subnet is compared with, `full` says.

    Args:
        snapshots: Step -> file.
        model: Takes the weights of each snapshot in turn.
        dev_sets: Dev set -> function that measures the subnets with the model's current weights: subnet -> measure.
        cache: File of the result; snapshots that it has under the same fingerprint are not measured again.
        fingerprint: Stands for dev sets and subnets.
        full: Dev set -> measure that those of the subnets are shares of.
        level0: Dev set -> measure of level 0.
        for_record: Subnets that do not count.
        rule: One of `SELECTION_RULES`.
        progress: Called with (activity, done, total).
    """
    cached = _read_cache(cache, fingerprint)
    values: dict[int, Measures] = {}
    for done, (step, path) in enumerate(snapshots.items()):
        progress("Measuring snapshots", done * len(dev_sets), len(snapshots) * len(dev_sets))
        if step in cached:
            values[step] = cached[step]
        else:
            load_weights(path, model)
            by_dev_set: dict[str, Mapping[str, float]] = {}
            for number, (name, measure) in enumerate(dev_sets.items(), done * len(dev_sets) + 1):
                by_dev_set[name] = measure()
                progress("Measuring snapshots", number, len(snapshots) * len(dev_sets))
            values[step] = by_dev_set
        selected = best_step(
            {step: retention_of(full, values[step], for_record) for step in values},
            {step: worst_retention_of(full, values[step], for_record) for step in values}
            if rule == "mean-and-worst"
            else None,
        )
        selection = SnapshotSelection(
            selected=selected, full=full, values=values, level0=level0 or {}, for_record=for_record
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
    falls = greatest_falls(retention)
    without_collapse = [step for step in retention if falls[step] <= MAX_FALL]

    def quality(step: int) -> float:
        mean = mean_of(retention[step])
        if worst is None:
            return mean
        return (mean + mean_of({name: subnet.retention for name, subnet in worst[step].items()})) / 2

    return max(without_collapse or retention, key=lambda step: (quality(step), step))


def _read_cache(path: Path, fingerprint: str) -> dict[int, Measures]:
    """Return step -> measures of the snapshots in the file, if it is of this fingerprint."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if content["fingerprint"] != fingerprint:
            return {}
        return {snapshot["step"]: snapshot["values"] for snapshot in content["snapshots"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # absent, or of another version: measured again
