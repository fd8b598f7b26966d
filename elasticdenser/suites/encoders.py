"""What an elastic encoder was made of, and what tells its sizes from those of another training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import ModelError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.locate import TRAINED_WEIGHTS, find_model
from elasticdenser.models.manifest import MANIFEST, is_elastic, read_provenance
from elasticdenser.models.settings import EncoderFingerprint

if TYPE_CHECKING:
    from elasticdenser.encoders import ElasticQueryEncoder


def encoder_of_passages(encoder: ElasticQueryEncoder) -> EncoderFingerprint:
    """Return what passages are encoded by: the full encoder itself, where it is on this machine.

    So its indexes serve the elastic encoder too. Where it is not, the elastic encoder's copy of it does the same.
    """
    copy = encoder.fingerprint
    if not is_elastic(encoder.location.path):
        return copy
    name = read_provenance(encoder.location.path)["name"]  # checked when it was loaded
    try:
        found = find_model(name, download=False)
    except ModelError:
        return copy
    return replace(copy, name=found.name) if found.sha256 == copy.weights_sha256 else copy


def sizes_fingerprint(encoder: ElasticQueryEncoder) -> str:
    """Return the SHA-256 over what was trained, which the encoder's own fingerprint, of its full size, leaves out."""
    folder = encoder.location.path
    return fingerprint_of([sha256_of(folder / name) for name in (MANIFEST, TRAINED_WEIGHTS)])
