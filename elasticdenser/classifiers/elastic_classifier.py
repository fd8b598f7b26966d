"""Elastic classifier: classes or numbers of texts and pairs of texts, at any subnet, with early exits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from elasticdenser.classifiers.exits import ExitRule, flops_at_exits, run_until_exit
from elasticdenser.classifiers.inputs import InputTokenizer, TextOrPair
from elasticdenser.encoders.base import max_batch_tokens
from elasticdenser.encoders.devices import resolve_device
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.classifier_files import load_classifier
from elasticdenser.models.classifier_manifest import ClassifierManifest, trained_subnets_of
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.subnet import Subnet

_NO_EXITS = ExitRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Answer for one input.

    Args:
        label: Name of the most probable class; empty for a regression.
        value: The number of a regression; None for classes.
        probabilities: Class -> probability, in the order of the classes; empty for a regression.
        subnet: Subnet whose exit gave the answer.
        flops: Floating-point operations that it cost, without padding; see `models.flops`.
    """

    label: str
    value: float | None
    probabilities: dict[str, float]
    subnet: Subnet
    flops: int

    @property
    def probability(self) -> float:
        """Probability of the label; 1 for a regression."""
        return self.probabilities.get(self.label, 1.0)


class ElasticClassifier:
    """Classifier whose subnet is chosen per call; computes in float32 by torch; safe to use from several threads.

    Use `from_pretrained`.

    Args:
        folder: Folder of the classifier, with its tokenizer.
        model: The model, on the device to compute on.
        manifest: Its manifest.

    Raises:
        ModelError: The tokenizer cannot be used.
    """

    def __init__(self, folder: Path, model: ElasticLogits, manifest: ClassifierManifest) -> None:
        self.folder, self.manifest, self._model = folder, manifest, model
        self._device = model.tokens.device
        settings = manifest.settings
        self._tokenizer = InputTokenizer(folder, manifest.shape.vocabulary, settings.max_length)

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str = "auto") -> Self:
        """Load a classifier that `elasticdenser train` made.

        Args:
            path: Its folder.
            device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`.

        Raises:
            ModelError: The files cannot be used, or there is no such device here.
        """
        folder = Path(path).expanduser().absolute()
        if not folder.is_dir():
            raise ModelError(f"there is no folder {folder}: give one that `elasticdenser train` made from a recipe")
        model, manifest = load_classifier(folder)
        return cls(folder, model.to(resolve_device(device)), manifest)

    def __repr__(self) -> str:
        return f"<ElasticClassifier {str(self.folder)!r}: {self.task}, {len(self.subnets)} subnets>"

    @property
    def task(self) -> str:
        """Name of its task."""
        return self.manifest.settings.task

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty for a regression."""
        return self.manifest.settings.labels

    @property
    def subnets(self) -> list[Subnet]:
        """The trained subnets, from large to small."""
        return trained_subnets_of(self.manifest.settings)

    def resolve_subnet(self, subnet: str | Subnet | None) -> Subnet:
        """Return the subnet that a spelling names; None is the largest.

        Raises:
            QueryError: The classifier has no such subnet.
        """
        resolved = self.subnets[0] if subnet is None else Subnet.parse(subnet)
        if resolved not in self.subnets:
            known = ", ".join(map(str, self.subnets))
            raise QueryError(f"got subnet {resolved}, expected one of this classifier's: {known}")
        return resolved

    def exits_of(self, subnet: Subnet) -> list[Subnet]:
        """Return the trained subnets of the same width up to a subnet: the exits before it, and itself."""
        exits = [exit_ for exit_ in self.subnets if exit_.width == subnet.width and exit_.depth <= subnet.depth]
        return sorted(exits)

    def classify(
        self,
        inputs: Sequence[TextOrPair],
        subnet: str | Subnet | None = None,
        exits: ExitRule | None = None,
    ) -> list[Prediction]:
        """Classify texts, or pairs of texts, in the calling thread.

        Args:
            inputs: Texts, or pairs of texts.
            subnet: A subnet of the classifier, such as `w0.5-d3`; None is the largest.
            exits: Rule by which inputs may leave at an exit before that of the subnet, at the same width.

        Raises:
            QueryError: `inputs` is one string or holds something else than texts and pairs, the classifier has no such
                subnet, or the rule does not fit it.
        """
        if isinstance(inputs, str):
            raise QueryError("got one string, expected a list of texts or pairs: use [text]")
        resolved, rule = self.resolve_subnet(subnet), exits or _NO_EXITS
        rule.check(self._model.shape.dim)
        passed = [resolved] if exits is None else self.exits_of(resolved)
        sequences = self._tokenizer.tokenize(inputs)
        outputs = torch.empty(len(sequences), self._model.shape.dim)
        left_at = torch.zeros(len(sequences), dtype=torch.int64)
        depths = [exit_.depth for exit_ in passed]
        for rows in self._batches(sequences):
            token_ids, mask = self._padded([sequences[row] for row in rows])
            found, steps = run_until_exit(self._model, token_ids, mask, resolved.width, depths, rule)
            outputs[rows], left_at[rows] = found.cpu(), steps
        if not outputs.isfinite().all():
            raise ModelError(f"the classifier {self.folder} gives numbers that are not finite: train it again")
        return [
            self._prediction(output, passed[step], self.flops(passed, len(sequence))[step])
            for output, step, sequence in zip(outputs, left_at.tolist(), sequences, strict=True)
        ]

    @torch.inference_mode()
    def outputs(self, inputs: Sequence[TextOrPair]) -> tuple[dict[Subnet, Tensor], list[int]]:
        """Return the outputs of all trained subnets, float32, (n, n_outputs), and the lengths of the inputs in tokens.

        Logits of the classes, or shares of a regression's highest number.
        """
        sequences, model = self._tokenizer.tokenize(inputs), self._model
        outputs = {subnet: torch.empty(len(sequences), model.shape.dim) for subnet in self.subnets}
        for rows in self._batches(sequences):
            token_ids, mask = self._padded([sequences[row] for row in rows])
            for width in dict.fromkeys(subnet.width for subnet in self.subnets):
                depths = [subnet.depth for subnet in self.subnets if subnet.width == width]
                for depth, found in model.at_depths(token_ids, mask, width, depths).items():
                    outputs[Subnet(width, depth)][rows] = found.cpu()
        return outputs, [len(sequence) for sequence in sequences]

    def flops(self, passed: Sequence[Subnet], length: int) -> list[int]:
        """Return the operations that an input of `length` tokens has cost at each of the exits of one width.

        Args:
            passed: The exits, as `exits_of` returns them; a single one is the cost of a subnet without early exits.
            length: Tokens of the input.
        """
        return flops_at_exits(self._model, passed[0].width, [subnet.depth for subnet in passed], length)

    def _batches(self, sequences: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return the numbers of sequences in batches of a bounded number of tokens, padding included."""
        batches: list[list[int]] = []
        limit = max_batch_tokens(self._device.type)
        for row in sorted(range(len(sequences)), key=lambda row: len(sequences[row])):
            if not batches or (len(batches[-1]) + 1) * len(sequences[row]) > limit:
                batches.append([])
            batches[-1].append(row)
        return batches

    def _padded(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        token_ids = torch.zeros(mask.shape, dtype=torch.int64)
        token_ids[mask] = torch.tensor([token for sequence in sequences for token in sequence])
        return token_ids.to(self._device), mask.to(self._device)

    def _prediction(self, output: Tensor, subnet: Subnet, flops: int) -> Prediction:
        settings = self.manifest.settings
        if settings.is_regression:
            value = settings.highest * float(output[0])
            return Prediction(label="", value=value, probabilities={}, subnet=subnet, flops=flops)
        probabilities = dict(zip(settings.labels, output.softmax(dim=0).tolist(), strict=True))
        label = max(probabilities, key=probabilities.__getitem__)
        return Prediction(label=label, value=None, probabilities=probabilities, subnet=subnet, flops=flops)
