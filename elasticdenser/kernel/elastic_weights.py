"""Weights of the trained subnets of an elastic encoder or ranker, read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.kernel.tensors import Tensors
from elasticdenser.kernel.weights import LayerWeights, Transformer
from elasticdenser.models.locate import TRAINED_WEIGHTS
from elasticdenser.models.manifest import FETCH_AGAIN, read_manifest
from elasticdenser.models.ranker_manifest import RANKER_WEIGHTS, RankerManifest, read_ranker_manifest
from elasticdenser.models.shape import ElasticShape
from elasticdenser.subnet import Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticWeights:
    """Trained subnets of an elastic encoder.

    Args:
        body: Transformer whose layers, heads and neurons the subnets share.
        shape: Shape of the elastic transformer.
        tensors: The file, for the exits: `exits`, (n_widths, n_depths, dim, hidden), `exit_bias` and `shortcuts`.
        token_table: Level 0's token vectors, int8, (vocabulary, dim), and their scales, float32, (vocabulary,).
    """

    body: Transformer
    shape: ElasticShape
    tensors: Tensors
    token_table: tuple[Array, Floats] | None

    def layers_of(self, depth: int) -> list[int]:
        """Return the numbers of the layers of a depth, in order."""
        first, others = self.shape.layers_of(depth)
        return [*first, *others]

    def exit_of(self, subnet: Subnet) -> tuple[Floats, Floats]:
        """Return weight and bias of a subnet's exit.

        Its inputs are the pooled vector and, where there is a token table, level 0's vector.

        Returns:
            float32, (dim, hidden) or (dim, hidden + dim), and (dim,).
        """
        cell = self.shape.widths.index(subnet.width), self.shape.depths.index(subnet.depth)
        names = ["exits", "shortcuts"] if self.token_table is not None else ["exits"]
        weights = [self.tensors.floats(name, cell) for name in names]
        return np.concatenate(weights, axis=1), self.tensors.floats("exit_bias", cell)


def read_trained_subnets(folder: Path, full: Transformer | None) -> ElasticWeights:
    """Read the trained subnets in the folder of an elastic encoder.

    Args:
        folder: The folder.
        full: The full encoder in it; None for a student.

    Raises:
        ModelError: Files are missing, damaged, of another format, or do not belong together.
    """
    shape = read_manifest(folder).shape
    tensors = Tensors(folder / TRAINED_WEIGHTS)
    _check(tensors, shape)
    if full is not None and (full.n_layers, *full.tokens.shape, full.hidden) != (
        *(shape.n_layers, shape.vocabulary, shape.hidden, shape.dim),
    ):
        raise ModelError(f"{folder}: the trained subnets do not belong to its full encoder: {FETCH_AGAIN}")
    if full is None or "tokens" in tensors.names():
        tensors.check("tokens", (shape.vocabulary, shape.hidden))
        tokens: Array = tensors.floats("tokens").astype(np.float16)
    else:
        tokens = full.tokens
    body = _transformer_of(tensors, shape, tokens)
    token_table = (tensors.stored("table"), tensors.floats("table.scale")) if shape.level0 else None
    return ElasticWeights(body=body, shape=shape, tensors=tensors, token_table=token_table)


def read_ranker_weights(folder: Path) -> tuple[ElasticWeights, RankerManifest]:
    """Read the weights of an elastic ranker and its manifest.

    The body has each token vector twice, the second time with the vector of the second token type: ids of the second
    part of a pair are raised by the size of the vocabulary.

    Raises:
        ModelError: Files are missing, damaged, of another format, or do not belong together.
    """
    manifest = read_ranker_manifest(folder)
    shape, tensors = manifest.shape, Tensors(folder / RANKER_WEIGHTS)
    tensors.check("tokens", (shape.vocabulary, shape.hidden))
    tensors.check("segment", (shape.hidden,))
    _check(tensors, shape)
    tokens = np.empty((2 * shape.vocabulary, shape.hidden), np.float16)
    tokens[: shape.vocabulary] = first = tensors.floats("tokens")
    tokens[shape.vocabulary :] = first + tensors.floats("segment")
    body = _transformer_of(tensors, shape, tokens)
    return ElasticWeights(body=body, shape=shape, tensors=tensors, token_table=None), manifest


def _transformer_of(tensors: Tensors, shape: ElasticShape, tokens: Array) -> Transformer:
    """Return the transformer that the subnets share."""

    def layer(number: int) -> LayerWeights:
        def get(name: str) -> Floats:
            return tensors.floats(f"blocks.{number}.{name}")

        return LayerWeights(
            qkv=get("qkv").swapaxes(0, 1),
            qkv_bias=get("qkv_bias").swapaxes(0, 1),
            out=get("out").reshape(shape.hidden, -1),
            out_bias=get("out_bias"),
            up=get("up"),
            up_bias=get("up_bias"),
            down=get("down"),
            down_bias=get("down_bias"),
            norms=get("norms"),
            distance_bias=get("distance_bias") if shape.max_distance else None,
        )

    return Transformer(
        tokens=tokens,
        positions=tensors.floats("positions"),
        norm=tensors.floats("norm"),
        layer=layer,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        n_neurons=shape.n_neurons,
        activation=shape.activation,
        eps=shape.norm_eps,
    )


def _check(tensors: Tensors, shape: ElasticShape) -> None:
    """Check the shapes of all weights: the kernel reads as many numbers as the shape says."""
    hidden, dim, head_dim = shape.hidden, shape.dim, shape.hidden // shape.n_heads
    n_widths, n_cells = len(shape.widths), (len(shape.widths), len(shape.depths))
    if "tokens" in tensors.names():
        tensors.check("tokens", (shape.vocabulary, hidden))
    tensors.check("positions", (shape.n_positions, hidden))
    tensors.check("norm", (n_widths, 2, hidden))
    layer = {
        "qkv": (3, shape.n_heads, head_dim, hidden),
        "qkv_bias": (3, shape.n_heads, head_dim),
        "out": (hidden, shape.n_heads, head_dim),
        "out_bias": (hidden,),
        "up": (shape.n_neurons, hidden),
        "up_bias": (shape.n_neurons,),
        "down": (hidden, shape.n_neurons),
        "down_bias": (hidden,),
        "norms": (n_widths, 2, 2, hidden),
    }
    if shape.max_distance:
        layer["distance_bias"] = (shape.n_heads, 2 * shape.max_distance + 1)
    for number in range(shape.n_layers):
        for name, expected in layer.items():
            tensors.check(f"blocks.{number}.{name}", expected)
    tensors.check("exits", (*n_cells, dim, hidden))
    tensors.check("exit_bias", (*n_cells, dim))
    if shape.level0:
        tensors.check("shortcuts", (*n_cells, dim, dim))
        tensors.check("table", (shape.vocabulary, dim), "I8")
