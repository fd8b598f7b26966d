"""Cost of a training, and the step where it resumes, in words for the log."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.shape import ElasticShape
from elasticdenser.progress import Progress
from elasticdenser.training.checkpoints import LOG
from elasticdenser.training.loop import StepLoop
from elasticdenser.training.recipe import Recipe
from elasticdenser.training.subnet_training import supports_bfloat16, trained_subnets

_REFERENCE_STEPS, _REFERENCE_BATCH, _REFERENCE_LAYERS, _REFERENCE_HIDDEN = 2000, 128, 6, 384
"""A training that takes about an hour on two cores that compute in bfloat16: all subnets of all-MiniLM-L6-v2."""

_FLOAT32_FACTOR = 2.5
"""Factor on cores that do not (AMD EPYC with AVX2: 3.9 s for a step of 64 texts on one core)."""

_TIMED_STEPS = 3
"""Steps that are timed to say how long the others will take."""


def planned_work(recipe: Recipe, model: ElasticBert, n_texts: int, device: torch.device) -> str:
    """Return the stages of a training with their numbers, and on a CPU an estimate of its duration."""
    stages = []
    if recipe.table is not None:
        read = f"vectors of {model.shape.vocabulary:,} tokens, " if recipe.table.start == "outputs" else ""
        stages.append(f"level 0: {read}a fit to all {n_texts:,} texts, and {recipe.table.steps:,} steps")
    if not recipe.init.model:
        n_batches = min(recipe.init.exit_batches, -(-n_texts // recipe.init.batch))
        stages.append(f"initialisation: {n_batches} batches of {recipe.init.batch} texts")
    distil, n_subnets = recipe.distil, len(trained_subnets(model, recipe.distil))
    n_at_once = min(distil.n_sampled_subnets or n_subnets, n_subnets)
    stages.append(
        f"distillation: {distil.steps:,} steps of {distil.batch} texts with {n_at_once} of {n_subnets} subnets"
    )
    if recipe.dev_sets:
        stages.append(f"selection: the last {recipe.candidates} snapshots on {len(recipe.dev_sets)} dev sets")
    estimate = ""
    if device.type == "cpu":
        hours = estimated_hours(model.shape, distil.steps, distil.batch) * n_at_once / n_subnets
        if not (distil.bfloat16 and supports_bfloat16(device)):
            hours *= _FLOAT32_FACTOR
        estimate = f"; distillation takes about {duration(3600 * hours)} on two cores, for short texts"
    return "; ".join(stages) + estimate


def estimated_hours(shape: ElasticShape, steps: int, batch: int) -> float:
    """Return about how many hours two cores take for the distillation in bfloat16, in proportion to the weights."""
    size = shape.n_layers * shape.hidden**2 / (_REFERENCE_LAYERS * _REFERENCE_HIDDEN**2)
    return size * steps / _REFERENCE_STEPS * batch / _REFERENCE_BATCH


def time_steps(loop: StepLoop[Any, Any], interval: int, progress: Progress) -> str:
    """Take a few steps, and return how long the others will take; empty if a snapshot or the end comes before.

    Args:
        loop: The training, at any step.
        interval: Steps between snapshots.
        progress: Called with (activity, done, total).
    """
    start, steps = loop.step, loop.settings.steps
    first, last = start + 1, start + 1 + _TIMED_STEPS  # the first step also warms up
    if start % interval == 0 < start or last >= min(steps, (start // interval + 1) * interval):
        return ""
    loop.run(until=first, progress=progress)
    started = monotonic()
    loop.run(until=last, progress=progress)
    step_s = (monotonic() - started) / _TIMED_STEPS
    return f"{step_s:.2g} s a step: about {duration(step_s * (steps - last))} for the other {steps - last:,} steps"


def resumption(folder: Path, recipe: Recipe) -> str:
    """Return where a training resumes in its folder; empty for a new one."""
    parts = []
    if recipe.table is not None and (step := last_step(folder / "table")):
        parts.append(f"level 0 at step {step:,} of {recipe.table.steps:,}")
    if step := last_step(folder):
        parts.append(f"distillation at step {step:,} of {recipe.distil.steps:,}")
    elif (folder / "start.safetensors").exists():
        parts.append("the subnets are initialised")
    return f"resumes in {folder}: {', '.join(parts)}" if parts else ""


def last_step(folder: Path) -> int:
    """Return the step of the last checkpoint in a folder, from its log of losses; 0 without one."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return 0  # absent, or cut by a kill: the checkpoint says it later


def duration(seconds: float) -> str:
    """Return a duration in words: `40 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
