"""What the runtime reads of an elastic encoder's folder beside its full encoder: the trained sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elasticdenser.errors import ModelError
from elasticdenser.models.about import AGAIN, read_about
from elasticdenser.models.locate import TRAINED
from elasticdenser.models.shape import ElasticShape, layers_of
from elasticdenser.runtime.tensors import Array, Floats, Tensors
from elasticdenser.runtime.weights import LayerWeights, Transformer
from elasticdenser.subnet import Subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticWeights:
    """The trained sizes.

    Args:
        body: What they are slices of.
        shape: Widths, depths and all else that the sizes are made of.
        tensors: The file, with the exits: `exits` (n_widths, n_depths, dim, hidden), `exit_bias`, `shortcuts`.
        table: Level 0's token vectors, int8, (vocabulary, dim), and their scales, float32, (vocabulary,).
    """

    body: Transformer
    shape: ElasticShape
    tensors: Tensors
    table: tuple[Array, Floats] | None

    def layers_of(self, depth: int) -> list[int]:
        """Return the layers that a depth keeps."""
        first, last = layers_of(depth, self.body.n_layers)
        return [*first, *last]

    def exit_of(self, subnet: Subnet) -> tuple[Floats, Floats]:
        """Return what a size's pooled vector and, where there is a table, level 0's are multiplied by, and the bias.

        Returns:
            float32, (dim, hidden) or (dim, hidden + dim), and (dim,).
        """
        at = self.shape.widths.index(subnet.width), self.shape.depths.index(subnet.depth)
        names = ["exits", "shortcuts"] if self.table is not None else ["exits"]
        weights = [self.tensors.stored(name)[at].astype(np.float32) for name in names]
        return np.concatenate(weights, axis=1), self.tensors.stored("exit_bias")[at].astype(np.float32)


def read_elastic(folder: Path, full: Transformer) -> ElasticWeights:
    """Read the trained sizes in the folder of an elastic encoder.

    Raises:
        ModelError: The files are missing, damaged, do not fit each other or are of another kind.
    """
    shape, _ = read_about(folder)
    tensors = Tensors(folder / TRAINED)
    tokens = tensors.floats("tokens").astype(np.float16) if "tokens" in tensors.names() else full.tokens
    theirs, ours = (full.n_layers, *full.tokens.shape), (shape.n_layers, shape.vocabulary, shape.hidden)
    if theirs != ours or tokens.shape != full.tokens.shape:
        raise ModelError(f"{folder}: the sizes are not of its full encoder: {AGAIN}")

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
        )

    body = Transformer(
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
    table = (tensors.stored("table"), tensors.floats("table.scale")) if shape.level0 else None
    return ElasticWeights(body=body, shape=shape, tensors=tensors, table=table)
