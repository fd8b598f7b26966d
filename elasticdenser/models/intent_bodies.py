"""Bodies of intent models beside `PQRNN`: the full encoder, and a bidirectional LSTM over the encoder's token vectors.

All take `(values, mask)` and return a state for each place, (n, length, dim); `pool` makes one vector of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from elasticdenser.models.shape import ElasticShape
from elasticdenser.models.trunk import ElasticTrunk, pooled

_Size = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True, kw_only=True)
class LSTMSettings:
    """Shape of an LSTM.

    Args:
        hidden: States of a layer in each direction.
        n_layers: Number of bidirectional layers.
        vocabulary: Number of tokens; 0 until the encoder is known.
        token_dim: Numbers of a token vector; 0 until the encoder is known.
    """

    hidden: _Size = 256
    n_layers: _Size = 2
    vocabulary: Annotated[int, Meta(ge=0)] = 0
    token_dim: Annotated[int, Meta(ge=0)] = 0


class FullEncoderBody(ElasticTrunk):
    """Full encoder: states of its last layer, of token ids.

    Args:
        shape: Its shape, with the full width and depth alone.
    """

    def __init__(self, shape: ElasticShape) -> None:
        super().__init__(shape)
        self.dim = shape.hidden

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return the states, (n, length, dim), of token ids, int64, (n, length)."""
        depth = self.shape.n_layers
        return self.states_at_depths(values, mask, 1.0, (depth,))[depth]

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return a vector for each text, (n, dim)."""
        return pooled(states, mask, self.shape.pooling)


class LSTMBody(nn.Module):
    """Bidirectional LSTM over token vectors that are not trained.

    Args:
        settings: Its shape, with vocabulary and dimensions of the token vectors.
    """

    def __init__(self, settings: LSTMSettings) -> None:
        super().__init__()
        self.settings, self.dim = settings, 2 * settings.hidden
        self.tokens = nn.Parameter(torch.zeros(settings.vocabulary, settings.token_dim), requires_grad=False)
        self.lstm = nn.LSTM(
            settings.token_dim, settings.hidden, settings.n_layers, batch_first=True, bidirectional=True
        )

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return the states, (n, length, dim), of token ids, int64, (n, length); zeros at the padding."""
        packed = pack_padded_sequence(
            F.embedding(values, self.tokens), mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=values.shape[1])
        return states

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return a vector for each text, (n, dim)."""
        return pooled(states, mask, "mean")
