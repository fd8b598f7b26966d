"""Choice of the query encoder for passages that an encoder made."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.models.locate import find_model
from elasticdenser.models.manifest import is_elastic
from elasticdenser.models.settings import EncoderFingerprint, read_settings
from elasticdenser.models.shipped import shipped_encoder_of
from elasticdenser.models.space import check_has_encoder, space_of


def load_query_encoder(
    passages: EncoderFingerprint, name: str | Path | None = None, *, download: bool = True, **options: Any
) -> tuple[ElasticQueryEncoder, str | Path]:
    """Load the encoder of queries for passages, and return it with its name.

    Args:
        passages: The encoder of the passages.
        name: Folder or model id to use, which may be a student of that encoder; by default the encoder of the passages
            itself if it is elastic, else the subnets that this package ships for it, else that encoder without subnets.
        download: Whether the encoder may be downloaded from the hub.
        options: `dtype`, `device` and `cache` of the encoder, and `trust_remote_code`.

    Raises:
        ModelError: The encoder is not found, or none here makes such vectors.
    """
    own = passages.name if is_elastic(Path(passages.name).expanduser()) else None
    if name is None:
        check_has_encoder(passages)
    name = name or own or shipped_encoder_of(passages) or passages.name
    trust_remote_code = options.pop("trust_remote_code", False)
    location = find_model(name, download=download, trust_remote_code=trust_remote_code)
    settings = asdict(passages.settings)
    if (space := space_of(location.path)) is not None:
        # A student reads texts in its own way. What else differs, the index refuses.
        settings = {"dim": min(passages.settings.dim, space.settings.dim)}
    else:
        check_has_encoder(passages)
    return ElasticQueryEncoder(location, read_settings(location.path, **settings), **options), name


def is_same_encoder(first: EncoderFingerprint, second: EncoderFingerprint) -> bool:
    """Return whether `load_query_encoder` would load the same encoder for the passages of two encoders."""
    return first.name == second.name and not first.differences(second)
