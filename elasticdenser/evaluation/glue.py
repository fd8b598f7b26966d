"""Measures of an elastic classifier on the dev sets of its GLUE task, at every subnet and with early exits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from elasticdenser.arrays import Array
from elasticdenser.classifiers import ElasticClassifier, ExitRule
from elasticdenser.classifiers.exits import exit_steps
from elasticdenser.datasets.glue import GlueTask, load_glue
from elasticdenser.evaluation.classification import measure_outputs
from elasticdenser.models.flops import exit_flops, layer_flops
from elasticdenser.subnet import Subnet


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of a way to classify: of a subnet, or of early exits.

    Args:
        measures: Measure -> value; of a task with two dev sets, each measure with the name of the set.
        flops: Floating-point operations spent on an example, the mean over the examples.
    """

    measures: dict[str, float]
    flops: float

    @property
    def score(self) -> float:
        """The mean of the measures, as the average of GLUE counts a task."""
        return float(np.mean(list(self.measures.values())))


@dataclass(frozen=True, eq=False)
class _DevSet:
    suffix: str
    labels: Array
    outputs: dict[Subnet, Tensor]
    lengths: list[int]


class DevOutputs:
    """Outputs of all subnets of a classifier for the dev sets of its task, computed once.

    Args:
        classifier: The classifier.
        folder: Folder of GLUE.
        task: Its task.

    Raises:
        DataMissingError: A dev set is not there.
    """

    def __init__(self, classifier: ElasticClassifier, folder: Path, task: GlueTask) -> None:
        self._classifier, self._task = classifier, task
        self._dev_sets = []
        for split in task.dev:
            examples = load_glue(folder, task, split)
            outputs, lengths = classifier.outputs([example.texts for example in examples])
            labels = np.array([example.label for example in examples])
            suffix = f" {split.removeprefix('dev_')}" if len(task.dev) > 1 else ""
            self._dev_sets.append(_DevSet(suffix, labels, outputs, lengths))

    @property
    def n_examples(self) -> int:
        """Number of examples in all dev sets."""
        return sum(len(dev.labels) for dev in self._dev_sets)

    @property
    def full_flops(self) -> float:
        """Operations that the full encoder spends on an example, the mean over the examples."""
        shape = self._classifier.manifest.shape
        costs = [
            shape.n_layers * layer_flops(shape, 1.0, length) + exit_flops(shape)
            for dev in self._dev_sets
            for length in dev.lengths
        ]
        return float(np.mean(costs))

    def of_subnet(self, subnet: Subnet) -> Measured:
        """Return the figures of a subnet."""
        return self._measured([subnet], ExitRule())

    def of_exits(self, subnet: Subnet, rule: ExitRule) -> Measured:
        """Return the figures of early exits before a subnet, at its width."""
        return self._measured(self._classifier.exits_of(subnet), rule)

    def _measured(self, passed: Sequence[Subnet], rule: ExitRule) -> Measured:
        measures: dict[str, float] = {}
        flops: list[int] = []
        for dev in self._dev_sets:
            outputs = [dev.outputs[subnet] for subnet in passed]
            steps = exit_steps(outputs, rule)
            chosen = torch.stack(outputs)[steps, torch.arange(len(steps))]
            found = measure_outputs(dev.labels, chosen.numpy(), self._task.measures)
            measures |= {f"{name}{dev.suffix}": value for name, value in found.items()}
            flops += [
                self._classifier.flops(passed, length)[step]
                for length, step in zip(dev.lengths, steps.tolist(), strict=True)
            ]
        return Measured(measures=measures, flops=float(np.mean(flops)))
