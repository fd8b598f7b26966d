"""Training in several processes, such as one for each GPU: each takes a part of every batch; gradients are averaged.

The processes are started by `torchrun`, which gives each of them its rank in the environment. Without it, every
function here does nothing.
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
from elasticdenser.training.batches import Batch

_TIMEOUT = timedelta(days=7)
"""Long, because the main process may prepare vectors for hours while the others wait for it."""


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that `torchrun` started, if it did; yield the device of this one.

    Args:
        device: Kind of device to use; with several GPUs each process gets its own.
    """
    if n_processes() == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield device
        _wait_for_all()  # a process that ends while others still communicate with it may be aborted by gloo
    finally:
        dist.destroy_process_group()


def n_processes() -> int:
    """Return the number of processes that `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Return whether this process writes files and logs: the only process, or the first of several."""
    return not _is_distributed() or dist.get_rank() == 0


@contextmanager
def main_process_first() -> Iterator[bool]:
    """Run a block in the main process, then in the others; yield whether this is the main process."""
    is_main = is_main_process()
    if not is_main:
        _wait_for_all()
    yield is_main
    if is_main:
        _wait_for_all()


def local_part(batch: Batch, device: torch.device) -> Batch:
    """Return this process's part of a batch, on a device; the bank stays whole.

    Raises:
        BadInputError: There are fewer texts than processes.
    """
    rows = local_rows(len(batch.targets))
    return replace(
        batch,
        token_ids=batch.token_ids[rows].to(device),
        mask=batch.mask[rows].to(device),
        targets=batch.targets[rows].to(device),
        bank=batch.bank.to(device),
    )


def local_rows(n: int) -> slice:
    """Return which of `n` texts are this process's.

    Raises:
        BadInputError: There are fewer texts than processes.
    """
    if not _is_distributed():
        return slice(None)
    if n < dist.get_world_size():
        message = f"got a batch of {n} texts for {dist.get_world_size()} processes"
        raise BadInputError(f"{message}, expected at least one for each: raise `batch`, or start fewer processes")
    return slice(dist.get_rank(), None, dist.get_world_size())


def loss_weight(part: Batch, whole: Batch) -> float:
    """Return the weight of the mean over a part that makes the average over processes the mean over the whole."""
    return part_weight(len(part.targets), len(whole.targets))


def part_weight(n_part: int, n_whole: int) -> float:
    """Return `loss_weight` for the numbers of texts of a part and of the whole."""
    return n_part * dist.get_world_size() / n_whole if _is_distributed() else 1.0


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their means over the processes, in place."""
    if not _is_distributed():
        return
    for tensor in tensors:
        dist.all_reduce(tensor)
        tensor /= dist.get_world_size()


def _wait_for_all() -> None:
    if _is_distributed():
        dist.barrier()


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
