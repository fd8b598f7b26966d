"""Elastic transformers of random weights, batches for them, and elastic encoders on disk."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from tiny import one_thread

from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_files import save_elastic
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.models.locate import find_model
from elasticdenser.models.ranker_files import save_ranker
from elasticdenser.models.ranker_manifest import PairSettings
from elasticdenser.models.scorer_init import scorer_from_full
from elasticdenser.models.settings import read_settings
from elasticdenser.models.shape import ElasticShape

SHAPE = {"n_layers": 6, "n_heads": 4, "hidden": 32, "n_neurons": 64, "vocabulary": 50, "n_positions": 24, "dim": 16}

TEXTS = [
    "who wrote dune",
    "a",
    "What is the boiling point of water at an altitude of 3,000 metres, in degrees Celsius?",
    "naïve café",
    "word " * 300,
]


def random_model(seed: int = 0, **changed) -> ElasticBert:
    """Return a model of random weights everywhere, whose subnets give very different vectors."""
    one_thread()
    generator = torch.Generator().manual_seed(seed)
    model = ElasticBert(ElasticShape(**{**SHAPE, **changed})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
            if "norm" in name:
                parameter.select(-2, 0).add_(1)  # the weights of layer norms
    return model


def random_batch(lengths=(3, 9, 1, 5), seed: int = 1):
    """Return token ids and mask; the padding consists of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    token_ids = torch.randint(0, SHAPE["vocabulary"], (len(lengths), max(lengths)), generator=generator)
    return token_ids, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def padded(sequences: list[list[int]], padding: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids, padded with some token, and the mask."""
    longest = max(map(len, sequences))
    token_ids = torch.tensor([[*sequence, *[padding] * (longest - len(sequence))] for sequence in sequences])
    return token_ids, torch.arange(longest) < torch.tensor([len(sequence) for sequence in sequences])[:, None]


def random_sequences(lengths=(12, 12, 5, 1, 48), vocabulary: int = 70) -> list[list[int]]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(5, vocabulary, (length,), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def at_all_subnets(model: ElasticBert, token_ids, mask):
    """Return the L2-normalised vectors of every subnet."""
    return {subnet: F.normalize(model(token_ids, mask, subnet), dim=-1) for subnet in model.shape.grid}


def write_elastic_encoder(folder: Path, base: Path, *, seed: int, table: torch.Tensor | None = None) -> Path:
    """Write an elastic encoder of the encoder in `base`, whose subnets give different vectors; return its folder."""
    model = elastic_from_full(base, read_settings(base), table=table)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter is not model.tokens:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    provenance = {"name": str(base), "weights_sha256": find_model(str(base)).sha256}
    save_elastic(folder, base=base, model=model, provenance=provenance)
    return folder


def write_ranker(
    folder: Path, base: Path, *, seed: int = 0, pooling: str = "cls", calibration=None, **settings
) -> Path:
    """Write an elastic ranker of the encoder in `base`, whose subnets give different scores; return its folder."""
    model = scorer_from_full(base, read_settings(base), pooling=pooling)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter is not model.tokens:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    provenance = {"name": str(base), "weights_sha256": find_model(str(base)).sha256}
    lengths = PairSettings(**{"max_length": 48, "max_query_length": 16, **settings})
    save_ranker(folder, base=base, model=model, settings=lengths, provenance=provenance, calibration=calibration)
    return folder
