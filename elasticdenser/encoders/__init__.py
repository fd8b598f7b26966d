"""Encoders: texts to vectors. Passages by the full encoder in bulk, queries by any subnet of the elastic encoder.

Names are imported when they are first used: arithmetic in 8 bits needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticdenser.encoders.devices import resolve_device, resolve_dtype
    from elasticdenser.encoders.passage_encoder import PassageEncoder
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder

_HOMES = {
    "ElasticQueryEncoder": "query_encoder",
    "PassageEncoder": "passage_encoder",
    "resolve_device": "devices",
    "resolve_dtype": "devices",
}

__all__ = ["ElasticQueryEncoder", "PassageEncoder", "resolve_device", "resolve_dtype"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
