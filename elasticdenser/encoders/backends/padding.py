"""Batches of padded sequences: which sequences share one, and the pooling of what comes out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Padding that costs less than another pass through the model: on a GPU a pass takes as long as some thousand tokens, on
# a CPU as long as it takes to read all weights once.
_FREE_PADDING = {"cpu": 16, "cuda": 4096}
_MAX_PADDING_SHARE = 1 / 8


def length_buckets(lengths: Sequence[int], device_type: str) -> list[list[int]]:
    """Return the numbers of sequences in buckets of similar lengths, shortest first, without the empty sequences.

    A bucket is padded to its longest sequence. Its padding is at most an eighth of its tokens, or what is free.

    Args:
        lengths: Lengths of the sequences.
        device_type: `cpu` or `cuda`.
    """
    free = _FREE_PADDING.get(device_type, _FREE_PADDING["cuda"])
    buckets: list[list[int]] = []
    n_tokens = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[number]
        if not length:
            continue
        n_after = n_tokens + length
        if not buckets or length * (len(buckets[-1]) + 1) - n_after > max(free, _MAX_PADDING_SHARE * n_after):
            buckets.append([])
            n_after = length
        buckets[-1].append(number)
        n_tokens = n_after
    return buckets


def padded(sequences: Sequence[Sequence[int]], padding: int) -> tuple[Tensor, Tensor]:
    """Return sequences that are padded on the right, int64, (n, longest), and the mask of their tokens, bool.

    Padding on the right gives the tokens of every sequence the positions from 0 on, as alone, whatever side the
    tokenizer of the model would pad.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    token_ids = torch.full(mask.shape, padding, dtype=torch.int64)
    token_ids[mask] = torch.tensor([token for sequence in sequences for token in sequence])
    return token_ids, mask


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Return a vector for each sequence, (n, hidden), of the vectors of its tokens.

    Args:
        states: (n, longest, hidden); sequences are padded on the right, and none is empty.
        mask: True for tokens, (n, longest).
        pooling: One of `POOLINGS`.
    """
    lengths = mask.sum(dim=1)
    if pooling == "cls":
        return states[:, 0]
    if pooling == "lasttoken":
        return states[torch.arange(len(states), device=states.device), lengths - 1]
    if pooling == "max":
        return states.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
    weights = mask.to(states.dtype)
    if pooling == "weightedmean":  # Muennighoff 2022, SGPT, eq. 2
        weights = weights * torch.arange(1, mask.shape[1] + 1, device=states.device, dtype=states.dtype)
    sums = (states * weights[..., None]).sum(dim=1)
    divisors = lengths.to(states.dtype).sqrt() if pooling == "mean_sqrt_len_tokens" else weights.sum(dim=1)
    return sums / divisors[:, None]
