"""Snapshots of a model in training: its weights at some steps, float16, so that the best can be chosen afterwards.

A snapshot is `step-000500.safetensors` and holds what training changes: not level 0, and token vectors only where these
are trained.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BuildError
from elasticdenser.models.elastic import ElasticBert

_PREFIX, _SUFFIX = "step-", ".safetensors"


def snapshot_file(folder: Path, step: int) -> Path:
    """Return where the snapshot of a step is kept."""
    return folder / f"{_PREFIX}{step:06d}{_SUFFIX}"


def snapshots_in(folder: Path) -> dict[int, Path]:
    """Return the snapshots of a folder by step, rising."""
    files = folder.glob(f"{_PREFIX}*{_SUFFIX}")
    return dict(sorted((int(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)), path) for path in files))


def save_weights(path: Path, model: ElasticBert, *, dtype: torch.dtype = torch.float32, tokens: bool = False) -> None:
    """Keep what training changes of a model.

    Args:
        path: Where.
        model: On any device.
        dtype: Of what is kept.
        tokens: Whether token vectors are among it.

    Raises:
        BuildError: The disk refuses.
    """
    kept = {
        name: weights.detach().to("cpu", dtype).contiguous()
        for name, weights in model.state_dict().items()
        if name != "table" and (tokens or name != "tokens")
    }
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        file.write(save(kept))


def load_weights(path: Path, model: ElasticBert) -> None:
    """Give a model the weights that `save_weights` kept.

    Raises:
        BuildError: The file is missing, damaged, or of another model.
    """
    try:
        kept: dict[str, Tensor] = load_file(path)
        unchanged = {name: weights for name, weights in model.state_dict().items() if name in ("tokens", "table")}
        model.load_state_dict(unchanged | kept)
    except Exception as error:  # the loader has many kinds of errors
        raise BuildError(f"{path} cannot be read ({error}): remove it, and run the same command again") from error
