"""Teachers: what gives the targets of a training, and the vector space that the trained subnets answer in.

The full encoder of the subnets is its own teacher. A student has another one: any encoder that this package loads, or
vectors of texts that an API made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from elasticdenser.arrays import Vectors
from elasticdenser.encoders import ElasticQueryEncoder, resolve_dtype
from elasticdenser.errors import BadInputError, EncoderMismatchError
from elasticdenser.index import PassageIndex
from elasticdenser.models.kinds import kind_of
from elasticdenser.models.locate import ENCODER_OPTION, find_model
from elasticdenser.models.settings import EncoderFingerprint, full_dimensions, read_settings
from elasticdenser.models.space import check_no_student, named_space
from elasticdenser.training.given_vectors import GivenVectors, read_given_vectors
from elasticdenser.training.recipe import Recipe


class Teacher(Protocol):
    """Source of the targets."""

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Identity of its vector space."""

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Return float32, (n_texts, dim)."""


class TextVectors:
    """Teacher that knows the vectors of some texts, and no others.

    Args:
        given: The texts with their vectors.
        fingerprint: Their vector space.

    Raises:
        EncoderMismatchError: The space has other dimensions.
    """

    def __init__(self, given: GivenVectors, fingerprint: EncoderFingerprint) -> None:
        if given.dim != fingerprint.settings.dim:
            raise EncoderMismatchError(
                f"{given.path}: got vectors of {given.dim} dimensions, expected {fingerprint.settings.dim}, those of "
                f"{fingerprint.name}: give the vectors of the model that made the index"
            )
        self.fingerprint, self.dim, self.sha256 = fingerprint, given.dim, given.sha256
        self.texts = list(given.texts)
        self._path, self._vectors = given.path, given.vectors
        self._rows = {text: row for row, text in enumerate(self.texts)}

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Return float32, (n_texts, dim), L2-normalised.

        Raises:
            BadInputError: A text has no vector.
        """
        missing = next((text for text in texts if text not in self._rows), None)
        if missing is not None:
            raise BadInputError(f"got no vector of the text {missing!r}, expected one of every text", self._path)
        return self._vectors[[self._rows[text] for text in texts]]


def load_teacher(
    recipe: Recipe,
    index: PassageIndex | None,
    overrides: dict[str, Any],
    *,
    data: Path,
    device: torch.device,
    download: bool,
    trust_remote_code: bool = False,
) -> Teacher:
    """Load the teacher that a recipe names.

    Args:
        recipe: A recipe with a teacher.
        index: An index of the teacher, if there is one.
        overrides: Settings that replace those of the teacher.
        data: Folder that paths in the recipe are relative to.
        device: Where to compute.
        download: Whether an encoder may be fetched from the hub.
        trust_remote_code: Whether code that it brings may be executed.

    Raises:
        BadInputError: The file of vectors cannot be used, or nothing says in which space they are.
        EncoderMismatchError: The index has another space.
        ModelError: The teacher cannot be loaded, or is a student itself.
    """
    if recipe.teacher_vectors:
        return _text_vectors(recipe, index, data)
    return load_full_encoder(
        recipe.teacher,
        recipe.target_dtype,
        overrides,
        device=device,
        download=download,
        trust_remote_code=trust_remote_code,
        option="--teacher",
    )


def load_full_encoder(
    name: str,
    target_dtype: str,
    overrides: dict[str, Any],
    *,
    device: torch.device,
    download: bool,
    trust_remote_code: bool = False,
    option: str = ENCODER_OPTION,
) -> ElasticQueryEncoder:
    """Load an encoder whose vectors are targets: in all its dimensions, and in the arithmetic of passages.

    Args:
        name: Folder or model id.
        target_dtype: Its arithmetic; see `Recipe`.
        overrides: Settings that replace its own.
        device: Where to compute.
        download: Whether it may be fetched from the hub.
        trust_remote_code: Whether code that it brings may be executed.
        option: The option that names it, for messages.

    Raises:
        ModelError: It is not found or not supported, or is a student.
    """
    location = find_model(name, download=download, trust_remote_code=trust_remote_code, option=option)
    check_no_student(location.path, name)
    # Subnets answer in all dimensions of the full encoder; an index with fewer cuts them.
    settings = read_settings(location.path, **overrides | {"dim": full_dimensions(location.path)})
    dtype = target_dtype
    if target_dtype != "auto" or kind_of(location.path, settings) == "bert":
        # The default would be the dtype in which queries are served. Targets need the dtype of passages.
        dtype = str(resolve_dtype(target_dtype, device)).removeprefix("torch.")
    return ElasticQueryEncoder(location, settings, dtype=dtype, device=str(device))


def _text_vectors(recipe: Recipe, index: PassageIndex | None, data: Path) -> TextVectors:
    given = read_given_vectors(data / recipe.teacher_vectors)
    if index is not None:
        space = index.manifest.encoder
        if recipe.space and (named := named_space(recipe.space, given.dim)).weights_sha256 != space.weights_sha256:
            raise EncoderMismatchError(f"got the space {named.name}, but {index.path} has that of {space.name}")
    elif given.space is not None:
        space = given.space
    elif recipe.space:
        space = named_space(recipe.space, given.dim)
    else:
        raise BadInputError(
            "nothing says which model made these vectors, expected an index of them (--index) or its name (--space)",
            given.path,
        )
    return TextVectors(given, space)
