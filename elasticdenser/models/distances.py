"""Attention biases by the distance between two tokens, as MPNet has them (Song et al. 2020).

MPNet learns a bias for each head and each of a few buckets of distances (T5, Raffel et al. 2020, section 2.1); all
layers share them. Here each distance has a column of its own, as far as the buckets tell distances apart, and each
layer its own copy: what computes attention needs no buckets, and layers may order their heads as they like. It does not
import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any

from elasticdenser.errors import ModelError

TABLE = "encoder.relative_attention_bias.weight"
"""Name of MPNet's weights, (n_buckets, n_heads)."""

MAX_DISTANCE = 128
"""Distance from which on MPNet does not tell distances apart; no config changes it."""

_KEY, _BUCKETS = "relative_attention_num_buckets", 32
"""transformers always computes with 32 buckets, whatever the config says."""


def has_distance_bias(config: Mapping[str, Any]) -> bool:
    """Return whether the attention of a supported model depends on distances; `config` is that of `config.json`."""
    return config.get("model_type") == "mpnet"


def n_buckets_of(config: Mapping[str, Any]) -> int:
    """Return the number of buckets of such a model.

    Raises:
        ModelError: `config.json` has another one than all such models.
    """
    value = config.get(_KEY, _BUCKETS)
    if value != _BUCKETS or type(value) is not int:
        raise ModelError(f"the model's config.json has {_KEY} = {value!r}, expected {_BUCKETS}: fetch the model again")
    return value


def buckets(n_buckets: int) -> list[int]:
    """Return the bucket of each distance from -`MAX_DISTANCE` to `MAX_DISTANCE`, from a query to a key behind it.

    Half of the buckets are for keys behind the query. Half of each half hold one distance each, the others ranges whose
    lengths grow by a factor.
    """
    half = n_buckets // 2
    return [
        (half if distance > 0 else 0) + _bucket(abs(distance), half)
        for distance in range(-MAX_DISTANCE, MAX_DISTANCE + 1)
    ]


def _bucket(distance: int, n_buckets: int) -> int:
    n_exact = n_buckets // 2
    if distance < n_exact:
        return distance
    share = log(distance / n_exact) / log(MAX_DISTANCE / n_exact)
    return min(n_exact + int(share * (n_buckets - n_exact)), n_buckets - 1)
