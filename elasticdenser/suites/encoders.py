"""Fingerprints of an elastic encoder: of the passages that it searches, and of the training of its subnets."""

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


def passage_encoder_fingerprint(encoder: ElasticQueryEncoder) -> EncoderFingerprint:
    """Return the fingerprint of the encoder of the passages that an elastic encoder searches.

    It is the full encoder that the elastic one was made from, if that is on this machine, so that its indexes serve
    both. Otherwise it is the copy of the full encoder within the elastic one, which gives the same vectors.
    """
    copy = encoder.fingerprint
    if not is_elastic(encoder.location.path):
        return copy
    full_name = read_provenance(encoder.location.path)["name"]  # checked when the encoder was loaded
    try:
        full = find_model(full_name, download=False)
    except ModelError:
        return copy
    return replace(copy, name=full.name) if full.sha256 == copy.weights_sha256 else copy


def subnets_fingerprint(encoder: ElasticQueryEncoder) -> str:
    """Return the SHA-256 over the trained subnets; the fingerprint of the encoder covers only its full subnet."""
    folder = encoder.location.path
    return fingerprint_of([sha256_of(folder / name) for name in (MANIFEST, TRAINED_WEIGHTS)])
