"""What the runtime reads of an elastic encoder's folder beside its full encoder: the trained sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elasticdenser.errors import ModelError
from elasticdenser.models.locate import ELASTIC
from elasticdenser.models.settings import read_json
from elasticdenser.runtime.tensors import Array, Floats, Tensors
from elasticdenser.runtime.weights import LayerWeights, Transformer
from elasticdenser.subnet import Subnet

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ElasticWeights:
    """The trained sizes.

    Args:
        body: What they are slices of.
        widths: Shares of heads and neurons, falling from 1.
        depths: Numbers of layers, rising.
        tensors: The file, with the exits: `exits` (n_widths, n_depths, dim, hidden), `exit_bias`, `shortcuts`.
        table: Level 0's token vectors, int8, (vocabulary, dim), and their scales, float32, (vocabulary,).
    """

    body: Transformer
    widths: tuple[float, ...]
    depths: tuple[int, ...]
    tensors: Tensors
    table: tuple[Array, Floats] | None

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.tensors.stored("exits").shape[2])

    @property
    def grid(self) -> list[Subnet]:
        """All sizes, from large to small."""
        return sorted((Subnet(width, depth) for width in self.widths for depth in self.depths), reverse=True)

    def layers_of(self, depth: int) -> list[int]:
        """Return the layers that a depth keeps; see `elasticdenser.models.elastic.layers_of`."""
        n_last = depth - 1 if depth < 3 else 2
        return [*range(depth - n_last), *range(self.body.n_layers - n_last, self.body.n_layers)]

    def exit_of(self, subnet: Subnet) -> tuple[Floats, Floats]:
        """Return what a size's pooled vector and, where there is a table, level 0's are multiplied by, and the bias.

        Returns:
            float32, (dim, hidden) or (dim, hidden + dim), and (dim,).
        """
        at = self.widths.index(subnet.width), self.depths.index(subnet.depth)
        names = ["exits", "shortcuts"] if self.table is not None else ["exits"]
        weights = [self.tensors.stored(name)[at].astype(np.float32) for name in names]
        return np.concatenate(weights, axis=1), self.tensors.stored("exit_bias")[at].astype(np.float32)


def read_elastic(folder: Path, full: Transformer) -> ElasticWeights:
    """Read the trained sizes in the folder of an elastic encoder.

    Raises:
        ModelError: The files are missing, damaged, do not fit each other or are of another kind.
    """
    about = read_json(folder / ELASTIC)
    if about.get("format") != _FORMAT:
        raise ModelError(
            f"{folder / ELASTIC} is of format {about.get('format')!r}; this version reads format {_FORMAT}: use the "
            "version of elasticdenser that wrote it, or train again"
        )
    shape, tensors = about["shape"], Tensors(folder / "elastic.safetensors")
    hidden, n_heads = int(shape["hidden"]), int(shape["n_heads"])
    tokens = full.tokens if "tokens" not in tensors.names() else tensors.floats("tokens").astype(np.float16)
    if full.tokens.shape != (shape["vocabulary"], hidden) or tokens.shape != full.tokens.shape:
        raise ModelError(f"{folder}: the sizes are not of its full encoder: fetch the model again, or train it again")

    def layer(number: int) -> LayerWeights:
        def get(name: str) -> Floats:
            return tensors.floats(f"blocks.{number}.{name}")

        return LayerWeights(
            qkv=get("qkv").swapaxes(0, 1),
            qkv_bias=get("qkv_bias").swapaxes(0, 1),
            out=get("out").reshape(hidden, -1),
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
        n_layers=int(shape["n_layers"]),
        n_heads=n_heads,
        n_neurons=int(shape["n_neurons"]),
        activation=str(shape.get("activation", "gelu")),
        eps=float(shape.get("norm_eps", 1e-12)),
    )
    table = (tensors.stored("table"), tensors.floats("table.scale")) if shape.get("level0") else None
    return ElasticWeights(
        body=body,
        widths=tuple(map(float, shape["widths"])),
        depths=tuple(map(int, shape["depths"])),
        tensors=tensors,
        table=table,
    )
