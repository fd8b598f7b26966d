"""Poolings: how the vectors of a text's tokens become one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast, get_args

from elasticdenser.errors import ModelError
from elasticdenser.models.model_files import read_object, value_of

Pooling = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
"""Names of sentence-transformers: the mean over all tokens; the first token; the maximum; the sum divided by the square
root of the number of tokens; the mean weighted by the position of each token, from 1; the last token."""

POOLINGS = get_args(Pooling)

OWN_POOLINGS = ("mean", "cls")
"""Those that our own code for BERT computes."""

# Names of the flags in older versions, where they differ.
_NAMES = {"mean_sqrt_len": "mean_sqrt_len_tokens"}


def read_pooling(path: Path) -> Pooling:
    """Return the pooling that the `config.json` of a Pooling module names.

    Raises:
        ModelError: The file is damaged, or names another one or several.
    """
    config = read_object(path)
    mode = config.get("pooling_mode")
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if mode is None:
        prefix = "pooling_mode_"
        names = [key.removeprefix(prefix) for key in config if key.startswith(prefix)]
        chosen = [name for name in names if value_of(config, prefix + name, bool, path, False)]
        modes = [name.removesuffix("_tokens").removesuffix("_token") for name in chosen]
        mode = _NAMES.get(modes[0], modes[0]) if len(modes) == 1 else modes
    include_prompt = value_of(config, "include_prompt", bool, path, True)
    if mode not in POOLINGS or not include_prompt:
        raise ModelError(
            f"{path}: got pooling {mode!r} (include_prompt={include_prompt}), expected one of {', '.join(POOLINGS)} "
            "over all tokens: choose a model with one of these"
        )
    return cast(Pooling, mode)
