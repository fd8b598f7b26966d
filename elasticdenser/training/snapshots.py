"""Snapshots of a model in training: its weights at some steps, in float16, from which the best one is selected later.

A snapshot is a file `step-000500.safetensors`. It holds what training changes: not level 0, and token vectors only
where these are trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BuildError
from elasticdenser.models.trunk import ElasticTrunk

_PREFIX, _SUFFIX = "step-", ".safetensors"


def snapshot_file(folder: Path, step: int) -> Path:
    """Return the path of the snapshot of a step."""
    return folder / f"{_PREFIX}{step:06d}{_SUFFIX}"


def snapshots_in(folder: Path) -> dict[int, Path]:
    """Return the snapshots of a folder by step, rising."""
    files = folder.glob(f"{_PREFIX}*{_SUFFIX}")
    return dict(sorted((int(path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)), path) for path in files))


def save_weights(path: Path, model: ElasticTrunk, *, dtype: torch.dtype = torch.float32, tokens: bool = False) -> None:
    """Save the weights that training changes.

    Args:
        path: The file.
        model: The model, on any device.
        dtype: Type of the saved weights.
        tokens: Whether token vectors are saved too.

    Raises:
        BuildError: A file cannot be written.
    """
    trained = {
        name: weights.detach().to("cpu", dtype).contiguous()
        for name, weights in model.state_dict().items()
        if name != "table" and (tokens or name != "tokens")
    }
    with explained_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "wb") as file:
        file.write(save(trained))


def load_weights(path: Path, model: ElasticTrunk) -> None:
    """Give a model the weights that `save_weights` saved.

    Raises:
        BuildError: The file is missing, damaged, or of another model.
    """
    with readable_file(path):
        trained: dict[str, Tensor] = load_file(path)
        unchanged = {name: weights for name, weights in model.state_dict().items() if name in ("tokens", "table")}
        model.load_state_dict(unchanged | trained)


@contextmanager
def readable_file(path: Path) -> Iterator[None]:
    """Turn any error of a block that loads weights into a BuildError that names the file and the way out.

    Raises:
        BuildError: The block fails.
    """
    try:
        yield
    except Exception as error:  # the loaders have many kinds of errors
        raise BuildError(f"{path} cannot be read ({error}): remove it, then run the same command again") from error
