"""Passage encoder that is loaded only when passages have to be encoded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticdenser.encoders.backends import check_encoder
from elasticdenser.encoders.recycling import RecyclingSettings
from elasticdenser.errors import ModelError
from elasticdenser.models.kinds import Kind, kind_of
from elasticdenser.models.locate import DEFAULT_MODEL, find_model
from elasticdenser.models.settings import EncoderFingerprint, read_settings
from elasticdenser.models.space import check_no_student

if TYPE_CHECKING:
    from elasticdenser.encoders.passage_encoder import PassageEncoder
    from elasticdenser.models.activation_cache import ActivationCache


class DeferredPassageEncoder:
    """Passage encoder whose files are found and whose settings are known, without torch.

    The arguments are those of `PassageEncoder.from_pretrained`.

    Attributes:
        device: The requested device, which may be `auto`.
        activations: The cache of recycled layers, once the encoder is loaded in this process; None without recycling.

    Raises:
        ModelError: The model is not found or not supported, or has no layers to recycle.
        MissingExtraError: A package that computes the encoder is not installed.
    """

    def __init__(
        self,
        name: str | Path = DEFAULT_MODEL,
        *,
        dtype: str = "auto",
        device: str = "auto",
        download: bool = True,
        trust_remote_code: bool = False,
        recycling: RecyclingSettings | None = None,
        **overrides: Any,
    ) -> None:
        self._location = find_model(name, download=download, trust_remote_code=trust_remote_code)
        check_no_student(self._location.path, self._location.name)
        self._settings = read_settings(self._location.path, **overrides)
        check_encoder(self._location, self._settings, dtype=dtype, device=device)
        if recycling is not None:
            recycling.layers_of(self._location, self._settings, dtype=dtype, device=device)
            recycling = replace(recycling, folder=recycling.folder.absolute())
        self._dtype, self.device, self._recycling = dtype, device, recycling
        self.activations: ActivationCache | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes for another process, which may be in another folder."""
        location = replace(self._location, path=self._location.path.absolute())
        return {**self.__dict__, "_location": location, "activations": None}

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Identity of the encoder; its dtype is the requested one, which may be `auto`."""
        return EncoderFingerprint(
            name=self._location.name,
            weights_sha256=self._location.sha256,
            settings=self._settings,
            dtype=self._dtype,
        )

    @property
    def kind(self) -> Kind:
        """Kind of backend that computes the encoder."""
        return kind_of(self._location.path, self._settings)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._settings.dim

    def load(self) -> PassageEncoder:
        """Load the encoder.

        Raises:
            ModelError: The files cannot be used, or there is no such dtype or device here.
        """
        from elasticdenser.encoders.passage_encoder import PassageEncoder

        loaded = PassageEncoder(
            self._location, self._settings, dtype=self._dtype, device=self.device, recycling=self._recycling
        )
        self.activations = loaded.activations
        return loaded


def as_passage_encoder(
    encoder: PassageEncoder | DeferredPassageEncoder | str | Path | None,
) -> PassageEncoder | DeferredPassageEncoder:
    """Return an encoder of passages that is given as such or by its folder or model id; None is the default one.

    Raises:
        ModelError: It is something else, or the model is not found or not supported.
    """
    if encoder is None or isinstance(encoder, str | Path):
        return DeferredPassageEncoder(encoder or DEFAULT_MODEL)
    if not hasattr(encoder, "encode_windows") and not isinstance(encoder, DeferredPassageEncoder):
        raise ModelError(
            f"got the encoder {encoder!r}, expected a PassageEncoder, or the folder or model id of an encoder"
        )
    return encoder
