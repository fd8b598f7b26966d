"""Training on several GPUs, or processes: each takes a part of every batch, and their gradients are averaged.

Started by `torchrun`, which says in the environment who is who; alone, every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from elasticdenser.errors import BadInputError
from elasticdenser.training.data import Batch


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, if it did; yield the device of this one.

    Args:
        device: Of the kind to use; with several GPUs each process gets its own.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # The first process may prepare vectors for hours while the others wait.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=7))
    try:
        yield device
    finally:
        dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process writes what is kept: the only one, or the first of several."""
    return not _several() or dist.get_rank() == 0


def wait_for_first() -> None:
    """Let the first process do its work alone: the others call this before that work, the first after it."""
    if _several():
        dist.barrier()


def my_part(batch: Batch, device: torch.device) -> Batch:
    """Return this process's share of a batch, on a device; the bank stays whole.

    Raises:
        BadInputError: There are fewer texts than processes.
    """
    rows = slice(None)
    if _several():
        if len(batch.targets) < dist.get_world_size():
            message = f"got a batch of {len(batch.targets)} texts for {dist.get_world_size()} processes"
            raise BadInputError(f"{message}; expected at least one for each: raise `batch` or start fewer")
        rows = slice(dist.get_rank(), None, dist.get_world_size())
    return replace(
        batch,
        token_ids=batch.token_ids[rows].to(device),
        mask=batch.mask[rows].to(device),
        targets=batch.targets[rows].to(device),
        bank=batch.bank.to(device),
    )


def share_of(part: Batch, whole: Batch) -> float:
    """Return by how much the mean over a part counts, so that the average over processes is the mean of the whole."""
    return len(part.targets) * dist.get_world_size() / len(whole.targets) if _several() else 1.0


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their means over the processes, in place."""
    if not _several():
        return
    for tensor in tensors:
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
