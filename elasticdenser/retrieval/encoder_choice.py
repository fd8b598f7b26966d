"""Choice of the query encoder for passages that an encoder made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.models.manifest import is_elastic
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.models.shipped import shipped_encoder_of


def load_query_encoder(
    passages: EncoderFingerprint, name: str | None = None, *, download: bool = True, **options: Any
) -> tuple[ElasticQueryEncoder, str]:
    """Load the encoder of queries for passages, and return it with its name.

    Args:
        passages: The encoder of the passages.
        name: Folder or model id to use; by default the encoder of the passages itself if it is elastic, else the
            subnets that this package ships for it, else that encoder without subnets.
        download: Whether the encoder may be downloaded from the hub.
        options: `dtype` and `device` of the encoder.

    Raises:
        ModelError: The encoder is not found.
    """
    own = passages.name if is_elastic(Path(passages.name).expanduser()) else None
    name = name or own or shipped_encoder_of(passages) or passages.name
    settings = asdict(passages.settings)
    return ElasticQueryEncoder.from_pretrained(name, download=download, **settings, **options), name


def is_same_encoder(first: EncoderFingerprint, second: EncoderFingerprint) -> bool:
    """Return whether `load_query_encoder` would load the same encoder for the passages of two encoders."""
    return first.name == second.name and not first.differences(second)
