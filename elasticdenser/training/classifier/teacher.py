"""Teacher of a classifier: the full encoder, fine-tuned on the labels, and its outputs for all examples.

WORK/teacher-KEY/       KEY is a hash of all that it depends on: recipes that differ in their subnets alone share it
    checkpoint.pt       all that an interrupted fine-tuning resumes from
    outputs-N.f32       its outputs for the N training examples
    outputs-N-COPIES.f32    those for N examples and copies; COPIES is a hash of what makes the copies
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from elasticdenser.arrays import Scores
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.classifier.classifier_training import ClassifierTraining
from elasticdenser.training.classifier.data import ExampleData
from elasticdenser.training.classifier.settings import ClassifierSettings, ClassifierStepSettings
from elasticdenser.training.row_cache import cached_rows
from elasticdenser.training.stages import open_run

_BATCH = 32


def as_training(settings: ClassifierStepSettings) -> ClassifierSettings:
    """Return the settings of a fine-tuning on labels alone."""
    values = {field.name: getattr(settings, field.name) for field in fields(ClassifierStepSettings)}
    return ClassifierSettings(**values, teacher_weight=0.0)


def fine_tune(
    model: ElasticLogits,
    data: ExampleData,
    settings: ClassifierSettings,
    folder: Path,
    plan: dict[str, Any],
    locks: ExitStack,
    *,
    device: torch.device,
    save_every_s: float,
    progress: Progress = silent,
) -> None:
    """Fine-tune the full encoder, or resume.

    Args:
        model: The teacher, of one subnet; trained in place.
        data: Examples, without copies.
        settings: Settings of the fine-tuning.
        folder: Its folder.
        plan: All that it depends on.
        locks: Takes the lock on the folder.
        device: Where to compute.
        save_every_s: Seconds between checkpoints.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: Another process has the folder, or a file cannot be written.
    """
    if parallel.is_main_process():
        open_run(folder, plan, locks)
    training = _FineTuning(model, data, settings, folder, device)
    training.run(save_every_s=save_every_s, progress=progress)
    model.eval()


def teacher_outputs(
    model: ElasticLogits, data: ExampleData, folder: Path, device: torch.device, progress: Progress = silent
) -> Scores:
    """Return the outputs of the fine-tuned encoder, float32, (n_examples_and_copies, n_outputs), computed only once.

    Args:
        model: The fine-tuned encoder.
        data: Examples, with their copies if there is an augmentation.
        folder: Folder of the fine-tuning, whose lock is held.
        device: Where to compute.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: A file is damaged or cannot be written.
    """
    copies = "" if data.augmentation is None else f"-{data.augmentation.key}"
    path = folder / f"outputs-{len(data)}{copies}.f32"
    compute = partial(_outputs, model, data, device)
    report = partial(progress, "Outputs of the full encoder")
    shape = (len(data), model.shape.dim)
    with parallel.main_process_first():
        return cached_rows(path, shape, "<f4", compute, report, chunk_rows=1024)


class _FineTuning(ClassifierTraining):
    activity = "Fine-tuning the full encoder"


@torch.inference_mode()
def _outputs(model: ElasticLogits, data: ExampleData, device: torch.device, rows: slice) -> Scores:
    start, stop, _ = rows.indices(len(data))
    batch = data.in_order(start, stop).part(slice(None), device)
    outputs = torch.empty(len(batch), model.shape.dim)
    lengths = batch.mask.sum(dim=1)
    for places in torch.split(lengths.argsort(stable=True), _BATCH):  # of similar lengths, to pad less
        length = int(lengths[places].max())
        token_ids, mask = batch.token_ids[places, :length], batch.mask[places, :length]
        outputs[places.cpu()] = model(token_ids, mask, Subnet(1.0, model.shape.n_layers)).float().cpu()
    return outputs.numpy()
