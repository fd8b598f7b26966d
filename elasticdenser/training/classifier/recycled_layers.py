"""Lower layers of a classifier that are not trained, and whose states are cached (embedding recycling)."""

from __future__ import annotations

from pathlib import Path

import torch

from elasticdenser.arrays import Floats
from elasticdenser.errors import BadInputError
from elasticdenser.models.activation_cache import ActivationCache
from elasticdenser.models.activation_keys import lower_parameters, source_of_trunk
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.models.trunk import LowerStates
from elasticdenser.training.classifier.data import ExampleBatch
from elasticdenser.training.classifier.settings import ClassifierStepSettings
from elasticdenser.training.subnet_training import trained_subnets


class RecycledLayers:
    """The first layers of a model in training, frozen, with a cache of their states.

    The cache is beside the folder of the run, as `activations-KEY`: trainings of other subnets, with another seed, or
    on another task find the states of the texts that they share.

    Args:
        model: The model; its token vectors and first layers are frozen.
        settings: Settings of the training, with `recycled_layers` above 0.
        run: Folder of the run.

    Raises:
        BadInputError: The subnets have several widths, whose states differ.
        QueryError: A subnet does not have all of these layers.
    """

    def __init__(self, model: ElasticLogits, settings: ClassifierStepSettings, run: Path) -> None:
        self._model, self._n_layers = model, settings.recycled_layers
        subnets = trained_subnets(model, settings)
        widths = sorted({subnet.width for subnet in subnets}, reverse=True)
        if len(widths) > 1:
            raise BadInputError(
                f"got recycled_layers = {self._n_layers} for subnets of the widths {', '.join(map(str, widths))}, "
                "whose states differ: name 'subnets' of one width"
            )
        for subnet in subnets:
            model.check_lower_layers(subnet, self._n_layers)
        frozen = set(lower_parameters(model, self._n_layers))
        for name, parameter in model.named_parameters():
            if name in frozen:
                parameter.requires_grad_(False)
        self._width = widths[0]
        self._dtype = torch.bfloat16 if settings.bfloat16 else torch.float32
        source = source_of_trunk(model, self._n_layers, self._width, self._dtype)
        self.cache = ActivationCache(
            run.parent / f"activations-{source.key[:12]}-{settings.recycled_dtype}",
            source,
            dtype=settings.recycled_dtype,
            max_bytes=round(settings.recycled_gb * 1e9),
        )

    def states_of(self, batch: ExampleBatch) -> LowerStates:
        """Return the states of a batch after these layers; those of the padding are zeros."""
        rows = zip(batch.token_ids.cpu().numpy(), batch.mask.cpu().numpy(), strict=True)

        @torch.no_grad()
        def compute(numbers: list[int]) -> Floats:
            token_ids, mask = batch.token_ids[numbers], batch.mask[numbers]
            with torch.autocast(token_ids.device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
                states = self._model.lower_states(token_ids, mask, self._width, self._n_layers).states
            computed: Floats = states[mask].float().cpu().numpy()
            return computed

        cached = self.cache.get_or_compute([token_ids[mask].tolist() for token_ids, mask in rows], compute)
        states = torch.zeros(*batch.mask.shape, cached.shape[1], device=batch.mask.device)
        states[batch.mask] = torch.from_numpy(cached).to(states.device)
        return LowerStates(states, self._n_layers)
