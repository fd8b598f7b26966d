"""Models of intents and slots: a body that reads words, a head for the intent, and one for the tags of the words.

The parts are those of Kaliamoorthi et al. (2021), with any of three bodies: the full encoder, which teaches; pQRNN; and
an LSTM with pretrained token vectors, the baseline of the paper.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from elasticdenser.errors import ModelError
from elasticdenser.models.intent_bodies import FullEncoderBody, LSTMBody, LSTMSettings
from elasticdenser.models.pqrnn import PQRNN, PQRNNSettings
from elasticdenser.models.projection import ProjectionSettings
from elasticdenser.models.shape import ElasticShape


class Body(Protocol):
    """Part of a model that gives states of words.

    Attributes:
        dim: Numbers of a state.
    """

    dim: int

    def __call__(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return the states, (n, length, dim)."""

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return a vector for each text, (n, dim)."""


@dataclass(frozen=True, kw_only=True)
class PQRNNBody:
    """Shape of a pQRNN and of the features that it reads.

    Args:
        model: Shape of the pQRNN.
        projection: Settings of the features.

    Raises:
        ModelError: They have different numbers of features.
    """

    model: PQRNNSettings = field(default_factory=PQRNNSettings)
    projection: ProjectionSettings = field(default_factory=ProjectionSettings)

    def __post_init__(self) -> None:
        if self.model.n_features != self.projection.n_features:
            raise ModelError(
                f"got a pQRNN of {self.model.n_features} features and a projection to {self.projection.n_features}, "
                "expected the same number: give n_features in both tables, or in neither"
            )


@dataclass(frozen=True, kw_only=True)
class IntentShape:
    """Shape of a model; exactly one of the bodies is given.

    Args:
        encoder: Shape of a full encoder.
        pqrnn: Shape of a pQRNN.
        lstm: Shape of an LSTM.

    Raises:
        ModelError: None or several are given.
    """

    encoder: ElasticShape | None = None
    pqrnn: PQRNNBody | None = None
    lstm: LSTMSettings | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.encoder, self.pqrnn, self.lstm)) != 1:
            raise ModelError("got none or several of encoder, pqrnn and lstm, expected one of them")

    @property
    def kind(self) -> str:
        """Name of the body: `encoder`, `pqrnn` or `lstm`."""
        return next(iter(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """Return the body that is given, as JSON holds it."""
        bodies = {name: value for name, value in asdict(self).items() if value is not None}
        return bodies if self.encoder is None else {"encoder": self.encoder.to_json()}


@dataclass(frozen=True, kw_only=True, eq=False)
class WordInputs:
    """Texts as a body reads them.

    Args:
        values: Token ids, int64, (n, length), or features, int8, (n, length, n_features).
        mask: bool, (n, length): True where there is a token or word.
        places: int64, (n, n_words): the place of each word, of several tokens the first; 0 at the padding.
        word_mask: bool, (n, n_words): True where there is a word.
    """

    values: Tensor
    mask: Tensor
    places: Tensor
    word_mask: Tensor

    def part(self, rows: slice, device: torch.device) -> WordInputs:
        """Return some texts on a device."""
        return WordInputs(
            values=self.values[rows].to(device),
            mask=self.mask[rows].to(device),
            places=self.places[rows].to(device),
            word_mask=self.word_mask[rows].to(device),
        )


class IntentModel(nn.Module):
    """Model of intents and slots.

    Args:
        shape: Its body.
        n_intents: Number of intents.
        n_tags: Number of tags of words.
        dropout: Probability with which a number that a head takes is dropped in training.
    """

    def __init__(self, shape: IntentShape, n_intents: int, n_tags: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape, self.body = shape, _new_body(shape)
        dim = cast("Body", self.body).dim
        self.intent_head, self.tag_head = nn.Linear(dim, n_intents), nn.Linear(dim, n_tags)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: WordInputs) -> tuple[Tensor, Tensor]:
        """Return logits of the intents, (n, n_intents), and of the tags of the words, (n, n_words, n_tags)."""
        body = cast("Body", self.body)
        states = body(inputs.values, inputs.mask)
        vectors = body.pool(states, inputs.mask)
        words = states.gather(1, inputs.places.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        return self.intent_head(self.dropout(vectors)), self.tag_head(self.dropout(words))


def _new_body(shape: IntentShape) -> nn.Module:
    if shape.pqrnn is not None:
        return PQRNN(shape.pqrnn.model)
    if shape.lstm is not None:
        return LSTMBody(shape.lstm)
    if shape.encoder is not None:
        return FullEncoderBody(shape.encoder)
    raise ValueError("got a shape without a body")
