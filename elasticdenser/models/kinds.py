"""Kinds of sentence encoders, by what computes them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import has_relative_positions, is_supported
from elasticdenser.models.model_files import FETCH_MODEL, NORMALIZE, PQRNN, STATIC, read_config, read_modules
from elasticdenser.models.poolings import OWN_POOLINGS
from elasticdenser.models.remote_code import check_remote_code
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.weights_files import is_divided

Kind = Literal["bert", "transformers", "static", "pqrnn"]
"""`bert`: our kernel and our code for torch; `transformers`: that package; `static`: a table of token vectors;
`pqrnn`: hashed features of words, for queries only."""


def kind_of(folder: Path, settings: EncoderSettings) -> Kind:
    """Return the kind of the encoder in `folder`, used with these settings.

    Raises:
        ModelError: Its files are damaged.
    """
    first, *others = read_modules(folder)
    if first.kind == STATIC:
        return "static"
    if first.kind == PQRNN:
        return "pqrnn"
    config = read_config(folder)
    has_own_head = all(module.kind == NORMALIZE for module in others[1:])
    is_plain = has_own_head and not config.get("auto_map") and not is_divided(folder)
    return "bert" if is_plain and settings.pooling in OWN_POOLINGS and is_supported(config) else "transformers"


def check_computable(folder: Path, name: str, *, trust_remote_code: bool) -> None:
    """Check what can be known of an encoder without loading it.

    Raises:
        ModelError: It needs code of its own that is not allowed, computes positions in a way that nothing here does, or
            its config is damaged.
    """
    check_remote_code(folder, name, allowed=trust_remote_code)
    config = read_config(folder)
    activation = config.get("hidden_act") or config.get("activation")
    for description, value in (("a model of type", config.get("model_type")), ("the activation", activation)):
        if value is not None and not isinstance(value, str):
            raise ModelError(f"got {description} {value!r}, expected a name: {FETCH_MODEL}")
    if has_relative_positions(config) and not config.get("auto_map"):
        raise ModelError(
            f"{name} is a {config.get('model_type')} with relative position embeddings, which neither this package nor "
            "transformers from version 5 on computes, expected absolute ones: choose another model"
        )
