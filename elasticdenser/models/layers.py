"""Building blocks of the transformers in torch: packed batches, linear layers, attention and pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
"""A linear layer, with the activation of its outputs if there is one."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Sequences laid end to end, without padding between them; attention stays within each sequence.

    Padding tokens after the last sequence round the number of tokens up, because oneDNN compiles a kernel for every
    number that it meets: without the rounding, that takes more time than it saves, and up to a gigabyte of memory.

    Args:
        token_ids: int64, (n_tokens,).
        positions: int64, (n_tokens,), from 0 within each sequence.
        groups: For each run of sequences of equal length: (first token, number of sequences, length).
    """

    token_ids: Tensor
    positions: Tensor
    groups: list[tuple[int, int, int]]

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int]], device: torch.device) -> PackedBatch:
        """Pack sequences of token ids; those of equal length should stand together."""
        groups, start = [], 0
        for length, run in groupby(len(sequence) for sequence in sequences):
            count = sum(1 for _ in run)
            groups.append((start, count, length))
            start += count * length
        token_ids = torch.zeros(_rounded(start), dtype=torch.int64)
        token_ids[:start] = torch.tensor([token for sequence in sequences for token in sequence])
        positions = torch.zeros_like(token_ids)
        positions[:start] = torch.cat([torch.arange(length).repeat(count) for _, count, length in groups])
        return cls(token_ids.to(device), positions.to(device), groups)


def _rounded(n_tokens: int) -> int:
    """Return the number of tokens to pad a batch to; the steps keep the padding small."""
    step = 8 if n_tokens <= 64 else 32 if n_tokens <= 256 else 64
    return -(-n_tokens // step) * step


def make_linear(weight: Tensor, bias: Tensor, activation: str = "none") -> Linear:
    """Return `x -> activation(x @ weight.T + bias)` for inference.

    On a CPU the weight is reordered once into the blocks that oneDNN wants, and GELU is applied while the result is
    still in cache, which is about a tenth faster than `torch.nn.functional.linear`. oneDNN chooses its kernel by the
    number of rows: those of AMX, in bfloat16, add up in different orders, so that a row's result depends on the batch.

    Args:
        weight: (n_outputs, n_inputs), of the dtype to compute in.
        bias: (n_outputs,).
        activation: `none`, `gelu`, `gelu_tanh` or `relu`.
    """
    operations = torch.ops.mkldnn
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if weight.dtype == torch.bfloat16:  # which oneDNN does not compute on processors without AVX-512
        has_onednn = has_onednn and operations._is_mkldnn_bf16_supported()
    if weight.device.type == "cpu" and has_onednn and activation != "gelu_tanh":
        reordered = operations._reorder_linear_weight(weight.contiguous(), None)
        return lambda x: operations._linear_pointwise(x, reordered, bias, activation, [], "none")  # type: ignore[no-any-return]
    activate = ACTIVATIONS[activation]
    return lambda x: activate(F.linear(x, weight, bias))


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}
"""The functions of our names of activations; `none` changes nothing."""


def attend(qkv: Tensor, batch: PackedBatch, n_heads: int, distance_bias: Tensor | None = None) -> Tensor:
    """Return softmax(Q K^T / sqrt(d) + B) V within each sequence (Vaswani et al. 2017, eq. 1).

    Args:
        qkv: (n_tokens, 3 * hidden), the projections side by side.
        batch: The sequences.
        n_heads: Number of attention heads.
        distance_bias: Biases B by the distance of two tokens, as `pair_biases` reads them; None for 0.

    Returns:
        (n_tokens, hidden), of the dtype of `qkv`; zeros for the padding tokens.
    """
    output = qkv.new_zeros(qkv.shape[0], qkv.shape[1] // 3)
    for start, count, length in batch.groups:
        group = qkv[start : start + count * length].view(count, length, 3, n_heads, -1)
        query, key, value = group.permute(2, 0, 3, 1, 4)
        biases = None if distance_bias is None else pair_biases(distance_bias, length)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=biases)
        output[start : start + count * length] = attended.transpose(1, 2).reshape(count * length, -1)
    return output


def pair_biases(distance_bias: Tensor, length: int) -> Tensor:
    """Return the attention bias of each pair of tokens of a sequence, (n_heads, length, length): query, then key.

    Args:
        distance_bias: (n_heads, 2 * max_distance + 1): biases of keys from that far before the query to
            that far behind it.
        length: Number of tokens.
    """
    max_distance = distance_bias.shape[1] // 2
    position = torch.arange(length, device=distance_bias.device)
    distance = (position - position[:, None]).clamp(-max_distance, max_distance)
    return distance_bias[:, distance + max_distance]


def pool(hidden: Tensor, batch: PackedBatch, pooling: str) -> Tensor:
    """Return a vector for each sequence, float32, (n_sequences, hidden): the mean of its tokens or its first token."""
    vectors = []
    for start, count, length in batch.groups:
        group = hidden[start : start + count * length].view(count, length, -1)
        vectors.append(group[:, 0] if pooling == "cls" else group.mean(dim=1))
    return torch.cat(vectors)
