"""Check of one encoder, which `doctor --encoder` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elasticdenser.cli.installation_checks import Check
from elasticdenser.errors import ElasticDenserError

if TYPE_CHECKING:
    from elasticdenser.models.locate import ModelLocation
    from elasticdenser.models.settings import EncoderFingerprint

_COMPUTED_BY = {
    "bert": "the kernel in 8 bits, or torch",
    "transformers": "transformers",
    "static": "NumPy: a table of token vectors",
    "pqrnn": "NumPy: hashed features of words",
}


def check_encoder(name: str, *, download: bool, trust_remote_code: bool) -> list[Check]:
    """Tell what an encoder is and what computes it, or why it cannot be used; it is not loaded.

    Args:
        name: Folder or model id.
        download: Whether it may be fetched from the hub.
        trust_remote_code: Whether code that it brings is allowed.
    """
    from elasticdenser.encoders.deferred import DeferredPassageEncoder
    from elasticdenser.models.locate import find_model
    from elasticdenser.models.space import space_of

    try:
        location = find_model(name, download=download, trust_remote_code=trust_remote_code)
        if (space := space_of(location.path)) is not None:
            return _student_checks(location, space)
        encoder = DeferredPassageEncoder(name, download=download, trust_remote_code=trust_remote_code)
    except ElasticDenserError as error:
        return [Check("Encoder", False, f"{name} cannot be used", str(error))]
    fingerprint = encoder.fingerprint
    settings = fingerprint.settings
    similarity = "cosine" if settings.normalize else "dot"
    prompts = f"{settings.query_prompt!r} before queries, {settings.passage_prompt!r} before passages"
    return [
        Check("Encoder", True, f"{fingerprint.name}, SHA-256 {fingerprint.weights_sha256[:12]}"),
        Check("  computed by", True, _COMPUTED_BY[encoder.kind]),
        Check("  vectors", True, f"{settings.dim} dimensions, {settings.pooling} pooling, {similarity}"),
        Check("  texts", True, f"up to {settings.max_length} tokens"),
        Check("  prompts", True, prompts, missing_prompts(fingerprint.name, settings.query_prompt)),
    ]


def _student_checks(location: ModelLocation, space: EncoderFingerprint) -> list[Check]:
    """Tell what a student is, and which indexes it opens."""
    from elasticdenser.models.manifest import read_manifest
    from elasticdenser.models.pqrnn_manifest import is_pqrnn
    from elasticdenser.models.settings import read_settings

    settings = read_settings(location.path)
    if is_pqrnn(location.path):
        made_of, unit = "a pQRNN", "bytes"
    else:
        grid = read_manifest(location.path).shape.grid
        made_of, unit = f"{len(grid)} subnets from {grid[0]} to {grid[-1]}", "tokens"
    teacher = f"{space.name}, SHA-256 {space.weights_sha256[:12]}"
    return [
        Check("Encoder", True, f"{location.name}, a student, for queries only"),
        Check("  of the passages of", True, teacher),
        Check("  vectors", True, f"{settings.dim} dimensions, {made_of}"),
        Check("  texts", True, f"up to {settings.max_length} {unit}"),
    ]


def missing_prompts(name: str, query_prompt: str) -> str:
    """Return advice where a well-known encoder expects prompts that its files do not name; empty otherwise."""
    from elasticdenser.models.known import known_encoder

    known = known_encoder(name)
    if known is None or query_prompt or not known.query_prompt:
        return ""
    options = f"--query-prompt {known.query_prompt!r}"
    if known.passage_prompt:
        options += f" --passage-prompt {known.passage_prompt!r}"
    return f"{name} was trained with prompts that its files do not name: index with {options}"
