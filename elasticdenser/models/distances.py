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

N_BUCKETS = 32
"""Number of buckets; transformers computes with so many, whatever the config says."""

_KEY = "relative_attention_num_buckets"


def has_distance_bias(config: Mapping[str, Any]) -> bool:
    """Return whether the attention of a supported model depends on distances; `config` is that of `config.json`.

    Raises:
        ModelError: It does, with another number of buckets.
    """
    if config.get("model_type") != "mpnet":
        return False
    value = config.get(_KEY, N_BUCKETS)
    if value != N_BUCKETS:
        raise ModelError(f"the model's config.json has {_KEY} = {value!r}, expected {N_BUCKETS}: fetch the model again")
    return True


def _bucket(distance: int) -> int:
    """Return the bucket of a distance from a query to a key behind it, or, below 0, before it.

    Half of the buckets are for keys behind the query. Half of each half hold one distance each, the others ranges whose
    lengths grow by a factor.
    """
    half, n_exact, length = N_BUCKETS // 2, N_BUCKETS // 4, abs(distance)
    bucket = length
    if length >= n_exact:
        share = log(length / n_exact) / log(MAX_DISTANCE / n_exact)
        bucket = min(n_exact + int(share * (half - n_exact)), half - 1)
    return bucket + (half if distance > 0 else 0)


BUCKETS = [_bucket(distance) for distance in range(-MAX_DISTANCE, MAX_DISTANCE + 1)]
"""Bucket of each distance from -`MAX_DISTANCE` to `MAX_DISTANCE`."""
