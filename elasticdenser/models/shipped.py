"""Choice of the elastic encoder in this package for the queries of an index.

Its subnets answer in the vector space of one full encoder. The weights alone do not make a vector space: a folder with
the same weights may cut texts into other tokens, or use fewer layers.
"""

from __future__ import annotations

import logging
from pathlib import Path

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import activation_of, check_supported, count_of, norm_eps
from elasticdenser.models.locate import DEFAULT_ELASTIC, find_model, local_folder, shipped_elastic
from elasticdenser.models.model_files import read_config, transformer_folder
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.models.tokenizer import load_tokenizer

logger = logging.getLogger(__name__)


def shipped_encoder_of(encoder: EncoderFingerprint) -> str | None:
    """Return the name of the elastic encoder in this package whose subnets serve the passages of a full encoder.

    Where only the weights are the same, a warning says so.

    Args:
        encoder: The full encoder; its files are compared if they are on this machine.
    """
    name = shipped_elastic(encoder.weights_sha256)
    own = None if name is None else local_folder(encoder.name)
    if own is None:
        return name
    try:
        differing = _differing_parts(own, find_model(DEFAULT_ELASTIC).path, encoder.settings.max_length)
    except ModelError:  # the folder has changed since
        return name
    if not differing:
        return name
    logger.warning(
        "the trained subnets in this package are not used: they are for the weights of %s, but with another %s; "
        "queries are encoded by the full encoder alone; `elasticdenser train` makes subnets for it",
        own,
        " and ".join(differing),
    )
    return None


def _differing_parts(mine: Path, theirs: Path, max_length: int) -> list[str]:
    """Return in what two encoders of the same weights differ."""
    parts = (
        ("config.json", [_config_of(folder) for folder in (mine, theirs)]),
        ("tokenizer", [load_tokenizer(transformer_folder(folder), max_length).to_str() for folder in (mine, theirs)]),
    )
    return [name for name, (first, second) in parts if first != second]


def _config_of(folder: Path) -> tuple[object, ...]:
    """Return those values of `config.json` on which the vectors depend."""
    config = read_config(folder)
    check_supported(config)
    n_layers, n_heads = (
        count_of(config, *keys) for keys in (("num_hidden_layers", "n_layers"), ("num_attention_heads", "n_heads"))
    )
    return n_layers, n_heads, activation_of(config), norm_eps(config)
