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
from elasticdenser.models.architectures import ARCHITECTURES, activation_of, check_supported, count_of
from elasticdenser.models.layers import Linear, PackedBatch, attend, make_linear, pool
from elasticdenser.models.locate import weights_file
from elasticdenser.models.settings import first_position, read_json, transformer_folder

Norm = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Layer:
    """Layer ready for inference: matrix products in the dtype of the encoder, norms in float32."""

    query_key_value: Linear
    attention_output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm


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
            ModelError: The model is not supported, or a weight is missing.
        """
        check_supported(config)
        reader = _Reader(config, weights, dtype, device)
        return cls(
            tokens=reader.tokens(),
            positions=reader.positions(),
            norm=reader.norm("embeddings.LayerNorm"),
            layers=[reader.layer(number) for number in range(count_of(config, "num_hidden_layers", "n_layers"))],
            n_heads=count_of(config, "num_attention_heads", "n_heads"),
            eps=float(config.get("layer_norm_eps", 1e-12)),
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
        embedded = F.embedding(batch.token_ids, self.tokens) + F.embedding(batch.positions, self.positions)
        hidden = self._normed(embedded, self.norm)
        for layer in self._layers:
            attended = attend(layer.query_key_value(hidden.to(self.dtype)), batch, self.n_heads)
            hidden = self._normed(hidden + layer.attention_output(attended), layer.attention_norm)
            up = layer.up(hidden.to(self.dtype))
            hidden = self._normed(hidden + layer.down(up), layer.output_norm)
        return pool(hidden, batch, pooling).cpu()

    def _normed(self, hidden: Tensor, norm: Norm) -> Tensor:
        return F.layer_norm(hidden, hidden.shape[-1:], norm[0], norm[1], self._eps)


class _Reader:
    """Reads the parts of a model by the names that its architecture gives them."""

    def __init__(
        self, config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        self._weights, self._names = Weights(weights), ARCHITECTURES[config["model_type"]]
        self._first_position = first_position(config)
        self._activation = activation_of(config)
        self._dtype, self._device = dtype, device

    def tokens(self) -> Tensor:
        return self._weights.get("embeddings.word_embeddings.weight").to(self._device, torch.float32)

    def positions(self) -> Tensor:
        table = self._weights.get("embeddings.position_embeddings.weight")[self._first_position :].float()
        if self._weights.has("embeddings.token_type_embeddings.weight"):
            # Texts have only the first segment, so its vector is added to the positions.
            table = table + self._weights.get("embeddings.token_type_embeddings.weight")[0]
        return table.to(self._device)

    def norm(self, name: str) -> Norm:
        weight, bias = (self._weights.get(f"{name}.{part}") for part in ("weight", "bias"))
        return weight.to(self._device, torch.float32), bias.to(self._device, torch.float32)

    def layer(self, number: int) -> Layer:
        names, prefix = self._names, self._names.layer.format(number)
        return Layer(
            query_key_value=self._linear([prefix + name for name in names.query_key_value]),
            attention_output=self._linear([prefix + names.attention_output]),
            attention_norm=self.norm(prefix + names.attention_norm),
            up=self._linear([prefix + names.up], self._activation),
            down=self._linear([prefix + names.down]),
            output_norm=self.norm(prefix + names.output_norm),
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


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the `config.json` and the tensors of a model.

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
    return read_json(transformer_folder(folder) / "config.json"), weights
