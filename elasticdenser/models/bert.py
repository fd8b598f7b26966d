"""Transformer encoder for inference: BERT (Devlin et al. 2019) and its siblings.

Matrix products run in the requested dtype; the residual stream, layer norms and pooling stay in float32, which keeps
bfloat16 vectors within a cosine of 0.9999 of float32 ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import (
    ANY,
    ARCHITECTURES,
    activation_of,
    check_supported,
    count_of,
    expected_shapes,
    fits_shape,
    norm_eps,
)
from elasticdenser.models.distances import BUCKETS, TABLE, has_distance_bias
from elasticdenser.models.layers import Linear, PackedBatch, attend, make_linear, pool
from elasticdenser.models.model_files import first_position, read_config
from elasticdenser.models.weights_files import weights_file

Norm = tuple[Tensor, Tensor]
"""Weight and bias of a layer norm, float32, (hidden,) each."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of a layer, ready for inference: matrix products in the dtype of the encoder, norms in float32.

    The biases by distance, if there are any, are as `pair_biases` reads them, in the dtype of the encoder.
    """

    query_key_value: Linear
    attention_output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm
    distance_bias: Tensor | None = None


class Bert:
    """Transformer encoder ready for inference; safe to call from several threads.

    Args:
        tokens: float32, (vocabulary, hidden).
        positions: float32, (n_positions, hidden).
        norm: Layer norm of the embeddings.
        layers: Layers, first to last.
        n_heads: Attention heads of every layer.
        eps: Added to variances in the layer norms.
        dtype: Arithmetic of the matrix products.
    """

    def __init__(
        self,
        *,
        tokens: Tensor,
        positions: Tensor,
        norm: Norm,
        layers: Sequence[Layer],
        n_heads: int,
        eps: float,
        dtype: torch.dtype,
    ) -> None:
        self.tokens, self.positions, self.norm = tokens, positions, norm
        self.n_heads, self.n_layers, self.dtype = n_heads, len(layers), dtype
        self.device = tokens.device
        self._layers, self._eps = layers, eps

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, device: torch.device) -> Bert:
        """Read the model in `folder`.

        Raises:
            ModelError: Files are missing or damaged, or the model is not supported.
        """
        return cls.from_weights(*read_model(folder), dtype, device)

    @classmethod
    def from_weights(
        cls, config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
    ) -> Bert:
        """Make a model from the content of a `config.json` and tensors by name.

        Raises:
            ModelError: The model is not supported, or a weight is missing or has another shape than the config says.
        """
        check_supported(config)
        Weights(weights).check(config)
        reader = _Reader(config, weights, dtype, device)
        distance_bias = reader.distance_bias()
        return cls(
            tokens=reader.tokens(),
            positions=reader.positions(),
            norm=reader.norm("embeddings.LayerNorm"),
            layers=[
                reader.layer(number, distance_bias)
                for number in range(count_of(config, "num_hidden_layers", "n_layers"))
            ],
            n_heads=count_of(config, "num_attention_heads", "n_heads"),
            eps=norm_eps(config),
            dtype=dtype,
        )

    @torch.inference_mode()
    def pooled_vectors(self, sequences: Sequence[Sequence[int]], pooling: str) -> Tensor:
        """Return a vector for each sequence of token ids.

        A vector depends on the other sequences only as far as a row of a matrix product depends on the number of rows;
        see `make_linear`.

        Args:
            sequences: Token ids with special tokens; sequences of equal length should stand together.
            pooling: `mean` or `cls`.

        Returns:
            float32, (n_sequences, hidden), not normalised, on the CPU.
        """
        batch = PackedBatch.of(sequences, self.device)
        return pool(self._after(self._layers, self._embedded(batch), batch), batch, pooling).cpu()

    @torch.inference_mode()
    def states_after(self, sequences: Sequence[Sequence[int]], n_layers: int) -> Tensor:
        """Return the hidden states after the first layers, of which `pooled_from_states` makes the vectors.

        Args:
            sequences: As for `pooled_vectors`.
            n_layers: Number of layers.

        Returns:
            float32, (n_tokens, hidden), of the sequences end to end, on the CPU.
        """
        batch = PackedBatch.of(sequences, self.device)
        states = self._after(self._layers[:n_layers], self._embedded(batch), batch)
        return states[: sum(map(len, sequences))].cpu()

    @torch.inference_mode()
    def pooled_from_states(
        self, sequences: Sequence[Sequence[int]], states: Tensor, n_layers: int, pooling: str
    ) -> Tensor:
        """Return what `pooled_vectors` returns, computed from the states that `states_after` returned."""
        batch = PackedBatch.of(sequences, self.device)
        hidden = self.tokens.new_zeros(len(batch.token_ids), states.shape[1])
        hidden[: len(states)] = states
        return pool(self._after(self._layers[n_layers:], hidden, batch), batch, pooling).cpu()

    def _embedded(self, batch: PackedBatch) -> Tensor:
        """Return the hidden states before the first layer."""
        embedded = F.embedding(batch.token_ids, self.tokens) + F.embedding(batch.positions, self.positions)
        return self._normed(embedded, self.norm)

    def _after(self, layers: Sequence[Layer], hidden: Tensor, batch: PackedBatch) -> Tensor:
        """Return the hidden states after some layers."""
        for layer in layers:
            attended = attend(layer.query_key_value(hidden.to(self.dtype)), batch, self.n_heads, layer.distance_bias)
            hidden = self._normed(hidden + layer.attention_output(attended), layer.attention_norm)
            up = layer.up(hidden.to(self.dtype))
            hidden = self._normed(hidden + layer.down(up), layer.output_norm)
        return hidden

    def _normed(self, hidden: Tensor, norm: Norm) -> Tensor:
        return F.layer_norm(hidden, hidden.shape[-1:], norm[0], norm[1], self._eps)


class _Reader:
    """Reads the parts of a model by the names that its architecture gives them."""

    def __init__(
        self, config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        self._weights, self._names = Weights(weights), ARCHITECTURES[config["model_type"]]
        self._config = config
        self._activation = activation_of(config)
        self._dtype, self._device = dtype, device

    def tokens(self) -> Tensor:
        return self._weights.get("embeddings.word_embeddings.weight").to(self._device, torch.float32)

    def positions(self) -> Tensor:
        return position_vectors(self._config, self._weights).to(self._device)

    def norm(self, name: str) -> Norm:
        weight, bias = (self._weights.get(f"{name}.{part}") for part in ("weight", "bias"))
        return weight.to(self._device, torch.float32), bias.to(self._device, torch.float32)

    def distance_bias(self) -> Tensor | None:
        """Return the biases that all layers share, (n_heads, 2 * max_distance + 1), if there are any."""
        biases = distance_biases(self._config, self._weights)
        return None if biases is None else biases.to(self._device, self._dtype)

    def layer(self, number: int, distance_bias: Tensor | None) -> Layer:
        names, prefix = self._names, self._names.layer.format(number)
        return Layer(
            query_key_value=self._linear([prefix + name for name in names.query_key_value]),
            attention_output=self._linear([prefix + names.attention_output]),
            attention_norm=self.norm(prefix + names.attention_norm),
            up=self._linear([prefix + names.up], self._activation),
            down=self._linear([prefix + names.down]),
            output_norm=self.norm(prefix + names.output_norm),
            distance_bias=distance_bias,
        )

    def _linear(self, names: Sequence[str], activation: str = "none") -> Linear:
        weight = torch.cat([self._weights.get(f"{name}.weight") for name in names])
        bias = torch.cat([self._weights.get(f"{name}.bias") for name in names])
        return make_linear(weight.to(self._device, self._dtype), bias.to(self._device, self._dtype), activation)


class Weights:
    """Tensors by name, whether or not the checkpoint puts a prefix before the encoder's names."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        # Checkpoints converted from TensorFlow have gamma and beta.
        self._weights = {
            name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): weight
            for name, weight in weights.items()
        }
        marker = "embeddings.word_embeddings.weight"
        self._prefix = next((name.removesuffix(marker) for name in weights if name.endswith(marker)), "")

    def has(self, name: str) -> bool:
        """Return whether there is a tensor of that name."""
        return self._prefix + name in self._weights

    def get(self, name: str) -> Tensor:
        """Return a tensor by its name without the prefix.

        Raises:
            ModelError: It is missing.
        """
        if not self.has(name):
            raise ModelError(
                f"the weights lack {self._prefix + name}: the file does not belong to its config.json; "
                "fetch the model again"
            )
        return self._weights[self._prefix + name].detach()

    def check(self, config: Mapping[str, Any]) -> None:
        """Check that all tensors have the shapes that a `config.json` says.

        Raises:
            ModelError: One is missing, has another shape, or holds no finite floating-point numbers.
        """
        for name, shape in expected_shapes(config):
            if name == "embeddings.token_type_embeddings.weight" and not self.has(name):
                continue
            tensor = self.get(name)
            if not fits_shape(tensor.shape, shape) or not tensor.is_floating_point():
                lengths = ", ".join("any" if length == ANY else str(length) for length in shape)
                raise ModelError(
                    f"the weights have {name} of {str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}, "
                    f"expected floating-point numbers ({lengths}), as config.json says: fetch the model again"
                )
            if not tensor.isfinite().all():
                raise ModelError(f"{name} of the weights holds a number that is not finite: fetch the model again")


def position_vectors(config: Mapping[str, Any], weights: Weights) -> Tensor:
    """Return the vector that is added to a token's at each position, float32, (n_positions, hidden)."""
    positions = weights.get("embeddings.position_embeddings.weight")[first_position(config) :].float()
    if weights.has("embeddings.token_type_embeddings.weight"):
        # Texts have only the first segment, so its vector is added to the positions.
        positions = positions + weights.get("embeddings.token_type_embeddings.weight")[0]
    return positions


def distance_biases(config: Mapping[str, Any], weights: Weights) -> Tensor | None:
    """Return the attention biases by distance, float32, (n_heads, 2 * max_distance + 1); None where there are none."""
    if not has_distance_bias(config):
        return None
    return weights.get(TABLE).float()[BUCKETS].T.contiguous()


def segment_vector(weights: Weights, hidden: int) -> Tensor:
    """Return what a token of the second text of a pair has more than one of the first, float32, (hidden,).

    The difference of the two token types; zeros where the checkpoint has fewer.
    """
    name = "embeddings.token_type_embeddings.weight"
    types = weights.get(name).float() if weights.has(name) else torch.zeros(1, hidden)
    return types[1] - types[0] if len(types) > 1 else torch.zeros(hidden)


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the content of `config.json` and the tensors of a model by name.

    Raises:
        ModelError: Files are missing or damaged.
    """
    path = weights_file(folder)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each loader has its own types of errors
        raise ModelError(f"{path} cannot be read ({error}): fetch the model again") from error
    return read_config(folder), weights
