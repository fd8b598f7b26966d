"""Checkpoints of a training: its whole state in one file, which is replaced atomically, and a log of losses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BadInputError
from elasticdenser.training.settings import LoopSettings, settings_to_json

CHECKPOINT = "checkpoint.pt"
LOG = "losses.jsonl"
WAY_OUT = "train in another folder, or remove it"
"""End of each message about a checkpoint that cannot be used."""


def read_checkpoint(folder: Path, settings: LoopSettings, device: torch.device) -> dict[str, Any] | None:
    """Return the state that `write_checkpoint` saved, or None where there is no checkpoint.

    Args:
        folder: Folder of the run; created if it is missing.
        settings: Settings of the training that resumes; the checkpoint must have the same.
        device: Where the tensors go.

    Raises:
        BadInputError: The checkpoint is damaged, or of a training with other settings.
        BuildError: A file cannot be written.
    """
    with explained_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    expected = settings_to_json(settings)
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        saved: dict[str, Any] = state.pop("settings")
        changed = [name for name in expected | saved if saved.get(name) != expected.get(name)]
    except Exception as error:  # the loader has many kinds of errors
        raise BadInputError(f"this checkpoint cannot be used ({error}): {WAY_OUT}", path) from error
    if changed:
        message = f"this checkpoint is of a training with other settings ({', '.join(changed)}): {WAY_OUT}"
        raise BadInputError(message, path)
    return state


def write_checkpoint(folder: Path, settings: LoopSettings, state: Mapping[str, Any], losses: Mapping[str, Any]) -> None:
    """Replace the checkpoint, and add a line to the log of losses.

    Args:
        folder: Folder of the run.
        settings: Settings of the training.
        state: All that the training resumes from: tensors, numbers and dictionaries of them.
        losses: The line of the log.

    Raises:
        BuildError: A file cannot be written.
    """
    with explained_os_errors(folder):
        with atomic_write(folder / CHECKPOINT, "wb") as file:
            torch.save({"settings": settings_to_json(settings), **state}, file)
        with open(folder / LOG, "a", encoding="utf-8") as log:
            log.write(json.dumps(losses) + "\n")
