"""What an elastic encoder was made of, and what tells its sizes from those of another training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import ModelError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.locate import ELASTIC, find_model, is_elastic
from elasticdenser.models.settings import EncoderFingerprint, read_json

if TYPE_CHECKING:
    from elasticdenser.encoders import ElasticQueryEncoder


def encoder_of_passages(encoder: ElasticQueryEncoder) -> EncoderFingerprint:
    """Return what passages are encoded by: the full encoder itself, where it is on this machine.

    So its indexes serve the elastic encoder too. Where it is not, the elastic encoder's copy of it does the same.
    """
    copy = encoder.fingerprint
    if not is_elastic(encoder.found.path):
        return copy
    name = read_json(encoder.found.path / ELASTIC)["made_by"]["name"]  # checked when it was loaded
    try:
        found = find_model(name, download=False)
    except ModelError:
        return copy
    return replace(copy, name=found.name) if found.sha256 == copy.weights_sha256 else copy


def sizes_fingerprint(encoder: ElasticQueryEncoder) -> str:
    """Return the SHA-256 over what was trained, which the encoder's own fingerprint, of its full size, leaves out."""
    about = encoder.found.path / ELASTIC
    return fingerprint_of([sha256_of(path) for path in (about, about.with_suffix(".safetensors"))])
