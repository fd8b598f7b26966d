"""Weights in the safetensors format, mapped into memory: a tensor takes none until it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdenser.errors import ModelError

Array = NDArray[Any]
Floats = NDArray[np.float32]

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1"}
_SCALE = ".scale"


class Tensors:
    """The tensors of one file, by name.

    Args:
        path: The file. Its header is a JSON object behind its length in 8 bytes; the tensors follow
            (https://huggingface.co/docs/safetensors).

    Raises:
        ModelError: The file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = np.memmap(path, np.uint8, mode="r")
            self._start = 8 + int.from_bytes(self._bytes[:8].tobytes(), "little")
            self._entries: Mapping[str, Any] = json.loads(self._bytes[8 : self._start].tobytes())
            names = [name for name in self._entries if name != "__metadata__"]
            self._tensors = {name: self._mapped(self._entries[name]) for name in names}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{path} cannot be read ({error}): fetch the model again") from error

    def names(self) -> set[str]:
        """Return the names of all tensors."""
        return set(self._tensors)

    def stored(self, name: str) -> Array:
        """Return a tensor as it is stored, as a view of the file.

        Raises:
            ModelError: There is none of that name.
        """
        if name not in self._tensors:
            raise ModelError(f"{self.path} lacks {name}: it does not belong to its config; fetch the model again")
        return self._tensors[name]

    def floats(self, name: str) -> Floats:
        """Return a tensor as float32, whether it is stored in 8, 16 or 32 bits.

        Rows of 8 bits have a scale each, under `name.scale`; see `elasticdenser.models.rows`.

        Raises:
            ModelError: The tensor or its scale is missing.
        """
        tensor = self.stored(name)
        if tensor.dtype == np.int8:
            return tensor.astype(np.float32) * self.floats(name + _SCALE)[..., None]
        if tensor.dtype == np.uint16:  # bfloat16 is the upper half of float32, and numpy has no type for it
            return (tensor.astype(np.uint32) << 16).view(np.float32)
        return tensor.astype(np.float32)

    def _mapped(self, entry: Mapping[str, Any]) -> Array:
        begin, end = (self._start + int(at) for at in entry["data_offsets"])
        if end > len(self._bytes):
            raise ValueError("it is cut short")
        return self._bytes[begin:end].view(np.ndarray).view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
