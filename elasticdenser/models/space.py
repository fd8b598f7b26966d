"""Vector spaces of other models: those that a student answers in, and those of vectors that no encoder here makes.

A student is an elastic encoder whose subnets answer in the vector space of its teacher, another model. It encodes
queries alone: the passages are the teacher's. The fingerprint of the teacher is in the student's `elastic.json`, so
that the student opens the indexes of its teacher and no other.

Vectors that an API made have a space too, known by a name that the user gives: indexes and students with the same name
belong together.
"""

from __future__ import annotations

from pathlib import Path

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ModelError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.manifest import MANIFEST, SPACE, is_elastic, is_student, read_provenance
from elasticdenser.models.model_files import PQRNN_MANIFEST
from elasticdenser.models.settings import EncoderFingerprint, EncoderSettings
from elasticdenser.models.table_files import UNLIMITED_LENGTH

_PREFIX = "space:"
"""Beginning of the name in the fingerprint of a space that is known by name alone."""


def space_of(folder: Path) -> EncoderFingerprint | None:
    """Return the fingerprint of the teacher of the student in `folder`; None if it holds no student.

    Raises:
        ModelError: The manifest is damaged.
    """
    if not is_student(folder):
        return None
    where = f"{folder / (MANIFEST if is_elastic(folder) else PQRNN_MANIFEST)}: {SPACE}"
    return from_value(EncoderFingerprint, read_provenance(folder)[SPACE], where, ModelError)


def named_space(name: str, dim: int, *, normalize: bool = True) -> EncoderFingerprint:
    """Return the fingerprint of a space whose vectors come from elsewhere, such as from an API.

    Args:
        name: Name of the model that makes the vectors; spaces of the same name, dimensions and similarity are one.
        dim: Dimensions of a vector.
        normalize: Whether vectors are compared by cosine.

    Raises:
        ModelError: The name is empty.
    """
    if not name.strip():
        raise ModelError("got an empty name of a space, expected that of the model that made the vectors (--space)")
    settings = EncoderSettings(pooling="mean", normalize=normalize, max_length=UNLIMITED_LENGTH, dim=dim)
    identity = fingerprint_of({"space": name.strip()})
    return EncoderFingerprint(name=_PREFIX + name.strip(), weights_sha256=identity, settings=settings, dtype="unknown")


def check_has_encoder(space: EncoderFingerprint) -> None:
    """Refuse a space that is known by name alone, where its texts would have to be encoded.

    Raises:
        ModelError: No encoder here makes its vectors.
    """
    if space.name.startswith(_PREFIX):
        raise ModelError(
            f"got vectors of {space.name.removeprefix(_PREFIX)}, which no encoder here makes: train a student for its "
            "queries with `elasticdenser train --teacher-vectors`, and give that with --encoder"
        )


def check_encodes_passages(space: EncoderFingerprint) -> None:
    """Refuse to encode passages of a space that is known by name alone.

    Raises:
        ModelError: No encoder here makes its vectors.
    """
    if space.name.startswith(_PREFIX):
        raise ModelError(
            f"got vectors of {space.name.removeprefix(_PREFIX)}, which no encoder here makes: add passages with their "
            "vectors, by PassageIndex.add(vectors=...) or `vector` in POST /passages, or import all vectors again "
            "into another folder"
        )


def check_no_student(folder: Path, name: str) -> None:
    """Refuse a student where passages would be encoded.

    Raises:
        ModelError: The folder holds a student.
    """
    if (space := space_of(folder)) is not None:
        teacher = space.name.removeprefix(_PREFIX)
        raise ModelError(
            f"got the student {name}, which encodes queries only, expected {teacher}: the passages are its teacher's"
        )
