"""Low-rank corrections that each narrow width adds to the projections which it shares with the full one.

The output projection of attention and the down-projection of a layer, out and down, become W + A B for a width, where A
is (hidden, rank) and B (rank, inputs), after LoRA (Hu et al. 2022). Subnets of full width have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from elasticdenser.models.elastic import ElasticBert


class WidthCorrections(nn.Module):
    """Corrections of all layers, which change nothing until they are trained.

    Args:
        model: The model that is corrected.
        rank: Rank of each correction.
    """

    def __init__(self, model: ElasticBert, rank: int) -> None:
        super().__init__()
        shape = model.shape
        narrow = [width for width in shape.widths if width < 1]
        self.narrow = {width: index for index, width in enumerate(narrow)}
        n_matrices = (len(narrow), shape.n_layers)
        generator = torch.Generator().manual_seed(0)
        for name, n_inputs in (("out", shape.hidden), ("down", shape.n_neurons)):
            left = torch.randn(*n_matrices, shape.hidden, rank, generator=generator) * rank**-0.5
            setattr(self, f"{name}_left", nn.Parameter(left))
            setattr(self, f"{name}_right", nn.Parameter(torch.zeros(*n_matrices, rank, n_inputs)))

    def of_layer(self, width: float, layer: int) -> dict[str, Tensor]:
        """Return what is added to `out`, (hidden, hidden), and `down`, (hidden, n_neurons), of a layer at a width."""
        place = self.narrow[width], layer
        return {name: getattr(self, f"{name}_left")[place] @ getattr(self, f"{name}_right")[place] for name in _NAMES}


_NAMES = ("out", "down")


def correct_widths(model: ElasticBert, rank: int) -> None:
    """Let a model compute with corrections of its own, which are trained with it."""
    # The optimiser gives weights whose names begin so the higher learning rate of what serves few subnets.
    model.exit_corrections = WidthCorrections(model, rank)
    model.run_layers = partial(_run_layers, model)  # type: ignore[method-assign]


def _run_layers(
    model: ElasticBert, layers: Sequence[int], states: Tensor, padding_bias: Tensor, width: float
) -> Tensor:
    """Return the states after some layers, as `ElasticTrunk.run_layers` does, with the corrections of the width."""
    shape, corrections = model.shape, model.exit_corrections
    assert isinstance(corrections, WidthCorrections)
    if width not in corrections.narrow:
        return type(model).run_layers(model, layers, states, padding_bias, width)
    sizes = round(shape.n_heads * width), round(shape.n_neurons * width), shape.widths.index(width)
    for number in layers:
        layer = model.layers[number]
        weights = {
            name: getattr(layer, name) + correction.view_as(getattr(layer, name))
            for name, correction in corrections.of_layer(width, number).items()
        }
        states = functional_call(layer, weights, (states, padding_bias, *sizes))
    return states
