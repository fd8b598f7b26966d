"""Encoders: texts to vectors. Passages by the full encoder in bulk, queries by any subnet of the elastic encoder.

Names are imported when they are first used: arithmetic in 8 bits needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elasticdenser.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from elasticdenser.encoders.devices import resolve_device, resolve_dtype
    from elasticdenser.encoders.passage_encoder import PassageEncoder
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder

_MODULES = {
    "ElasticQueryEncoder": "query_encoder",
    "PassageEncoder": "passage_encoder",
    "resolve_device": "devices",
    "resolve_dtype": "devices",
}

__all__ = ["ElasticQueryEncoder", "PassageEncoder", "resolve_device", "resolve_dtype"]

__getattr__ = lazy_attributes(__name__, _MODULES)
