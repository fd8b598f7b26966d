"""pQRNN in torch: hashed features of words, a bottleneck, bidirectional QRNN layers, and attention pooling.

PRADO: Kaliamoorthi, Ravi and Kozareva (EMNLP 2019). pQRNN: Kaliamoorthi, Siddhant, Li and Johnson (2021), Distilling
Large Language Models into Tiny and Effective Students using pQRNN. QRNN: Bradbury, Merity, Xiong and Socher (2017).
There is no table of word vectors: the features are those of `WordProjection`.

    features   int8 or float, (n, length, n_features), padded on the right
    mask       bool, (n, length): True where there is a word; at least one in each row
    states     float, (n, length, model.dim): for taggers; zeros at the padding
    vectors    float, (n, model.dim): for classifiers and encoders, by `PQRNN.pool`

A text's states do not depend on the other texts of its batch, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from elasticdenser.models.pqrnn_manifest import PQRNNSettings
from elasticdenser.models.projection import WordProjection

__all__ = ["PQRNN", "BidirectionalQRNN", "PQRNNSettings", "PQRNNVectors", "word_features"]


class PQRNN(nn.Module):
    """pQRNN, without a head.

    Attributes:
        settings: Its shape.
        dim: Numbers of a state and of a vector: both directions side by side.

    Args:
        settings: Its shape.
    """

    def __init__(self, settings: PQRNNSettings) -> None:
        super().__init__()
        self.settings, self.dim = settings, 2 * settings.hidden
        self.bottleneck = nn.Linear(settings.n_features, settings.bottleneck)
        n_inputs = [settings.bottleneck] + [self.dim] * (settings.n_layers - 1)
        self.layers = nn.ModuleList(
            BidirectionalQRNN(n, settings.hidden, settings.kernel, settings.zoneout) for n in n_inputs
        )
        self.attention = nn.Linear(self.dim, 1) if settings.pooling == "attention" else None
        self.dropout = nn.Dropout(settings.dropout)
        nn.init.kaiming_uniform_(self.bottleneck.weight, nonlinearity="relu")
        nn.init.zeros_(self.bottleneck.bias)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return the states of all words; see the module.

        Args:
            features: int8 or float, (n, length, n_features).
            mask: bool, (n, length).

        Returns:
            (n, length, dim).
        """
        present = mask.unsqueeze(-1)
        states: Tensor = torch.relu(self.bottleneck(features.to(self.bottleneck.weight.dtype)))
        states = self.dropout(states) * present
        for layer in self.layers:
            states = self.dropout(layer(states, present))
        return states

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return a vector for each text.

        Args:
            states: (n, length, dim), as `forward` returns them.
            mask: bool, (n, length).

        Returns:
            (n, dim), not normalised.
        """
        if self.attention is None:
            return states.sum(dim=1) / mask.sum(dim=1, keepdim=True)
        scores: Tensor = self.attention(states).squeeze(-1)
        weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1)
        return torch.einsum("nl,nld->nd", weights, states)


class PQRNNVectors(nn.Module):
    """pQRNN with a linear head, which gives the vector of a text.

    Args:
        settings: Shape of the pQRNN.
        dim: Dimensions of a vector.
    """

    def __init__(self, settings: PQRNNSettings, dim: int) -> None:
        super().__init__()
        self.trunk = PQRNN(settings)
        self.head = nn.Linear(self.trunk.dim, dim)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return (n, dim), not normalised; the arguments are those of `PQRNN`."""
        vectors: Tensor = self.head(self.trunk.pool(self.trunk(features, mask), mask))
        return vectors


class BidirectionalQRNN(nn.Module):
    """QRNN layer with fo-pooling in both directions.

    Args:
        n_inputs: Numbers of a state of the layer before.
        hidden: States in each direction.
        kernel: Words that a gate sees.
        zoneout: Probability with which a state keeps its value in training.
    """

    def __init__(self, n_inputs: int, hidden: int, kernel: int, zoneout: float) -> None:
        super().__init__()
        self.kernel, self.zoneout = kernel, zoneout
        # The inputs are `kernel` words side by side, the furthest first; the outputs candidate, forget and output gate.
        self.forwards = nn.Linear(kernel * n_inputs, 3 * hidden)
        self.backwards = nn.Linear(kernel * n_inputs, 3 * hidden)
        for gates in (self.forwards, self.backwards):
            nn.init.xavier_uniform_(gates.weight)
            nn.init.zeros_(gates.bias)

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """Return the states of the layer, (n, length, 2 * hidden), zeros at the padding.

        Args:
            states: (n, length, n_inputs), zeros at the padding.
            present: bool, (n, length, 1): True where there is a word.
        """
        # Backwards, the padding comes first. Its candidates are zeros, which leave the first state what it is: zeros.
        both = torch.stack([self._gates(states, self.forwards), self._gates(states.flip(1), self.backwards)])
        both_present = torch.stack([present, present.flip(1)])
        candidate, forget, output = both.chunk(3, dim=-1)
        candidate, forget = torch.tanh(candidate) * both_present, torch.sigmoid(forget)
        if self.training and self.zoneout:
            forget = torch.where(torch.rand_like(forget) < self.zoneout, torch.ones_like(forget), forget)
        cells = _accumulated(forget, (1 - forget) * candidate)
        left, right = cells * torch.sigmoid(output) * both_present
        return torch.cat([left, right.flip(1)], dim=-1)

    def _gates(self, states: Tensor, linear: nn.Linear) -> Tensor:
        """Return the gates of each word before their activation, (n, length, 3 * hidden)."""
        length = states.shape[1]
        before = nn.functional.pad(states, (0, 0, self.kernel - 1, 0))
        gates: Tensor = linear(torch.cat([before[:, place : place + length] for place in range(self.kernel)], dim=-1))
        return gates


def _accumulated(forget: Tensor, added: Tensor) -> Tensor:
    """Return c with c[t] = forget[t] * c[t - 1] + added[t] along the second last dimension, and 0 before its start."""
    cell = torch.zeros_like(added[..., 0, :])
    cells = []
    for gate, new in zip(forget.unbind(dim=-2), added.unbind(dim=-2), strict=True):
        cell = gate * cell + new
        cells.append(cell)
    return torch.stack(cells, dim=-2)


def word_features(texts: Sequence[Sequence[str]], projection: WordProjection) -> tuple[Tensor, Tensor]:
    """Return the input of a batch of texts, each of at least one word.

    Args:
        texts: The words of each text.
        projection: Features of words.

    Returns:
        The features, int8, (n, length, n_features), zeros at the padding; and the mask, bool, (n, length).
    """
    # Words repeat within a batch: each is hashed once.
    numbers = {word: number for number, word in enumerate(dict.fromkeys(word for words in texts for word in words))}
    rows = torch.from_numpy(projection(list(numbers)))
    lengths = torch.tensor([len(words) for words in texts])
    mask = torch.arange(int(lengths.max())) < lengths.unsqueeze(-1)
    features = torch.zeros(*mask.shape, projection.settings.n_features, dtype=torch.int8)
    features[mask] = rows[torch.tensor([numbers[word] for words in texts for word in words])]
    return features, mask
