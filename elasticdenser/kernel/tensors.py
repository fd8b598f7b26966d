"""Reader of weights in the safetensors format; files are memory-mapped, so that unused tensors take no memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError
from elasticdenser.models.architectures import ANY, fits_shape

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1", "I32": "<i4", "I64": "<i8"}
_FLOATS = ("F64", "F32", "F16", "BF16")
_SCALE = ".scale"
_FETCH_AGAIN = "it does not belong to its config; fetch the model again"


class Tensors:
    """Tensors of one file, by name.

    The file must not be changed while it is in use: write a new one beside it and rename it, as `save_elastic` does.
    If the file is truncated in place, the next access to its lost pages ends the process with a bus error.

    Args:
        path: The file: the length of its header in 8 bytes, the header as a JSON object, and the tensors
            (https://huggingface.co/docs/safetensors).

    Raises:
        ModelError: The file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = np.memmap(path, np.uint8, mode="r")
            start = 8 + int.from_bytes(self._bytes[:8].tobytes(), "little")
            header = json.loads(self._bytes[8:start].tobytes(), parse_constant=_refuse_constant)
            self._data = self._bytes[start:].view(np.ndarray)
            self._entries: Mapping[str, Any] = {name: entry for name, entry in header.items() if name != "__metadata__"}
            spans = sorted(_span(entry["data_offsets"]) for entry in self._entries.values())
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}): fetch the model again") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read ({error}): fetch the model again") from error
        if spans and spans[-1][1] > len(self._data):
            raise ModelError(f"{path} cannot be read (it is cut short): fetch the model again")
        if any(span[1] > following[0] for span, following in pairwise(spans)):
            raise ModelError(f"{path} cannot be read (its tensors overlap): fetch the model again")

    def names(self) -> set[str]:
        """Return the names of all tensors."""
        return set(self._entries)

    def is_bfloat16(self, name: str) -> bool:
        """Return whether a tensor is stored in bfloat16, for which NumPy has no type."""
        return name in self._entries and self._entries[name].get("dtype") == "BF16"

    def check(self, name: str, shape: Sequence[int], dtype: str | None = None) -> None:
        """Check shape and type of a tensor by the header alone.

        Args:
            name: Name of the tensor.
            shape: Expected lengths of its dimensions, each a number or `ANY`.
            dtype: Expected type as the header spells it; None accepts every type that `floats` reads.

        Raises:
            ModelError: The tensor is missing, or has another shape or type.
        """
        stored = self.stored(name)
        stored_dtype = self._entries[name]["dtype"]
        if not fits_shape(stored.shape, shape) or stored_dtype not in ((*_FLOATS, "I8") if dtype is None else (dtype,)):
            expected_shape = ", ".join("any" if length == ANY else str(length) for length in shape)
            raise ModelError(
                f"{self.path}: got {name} of {stored_dtype} ({', '.join(map(str, stored.shape))}), expected "
                f"{dtype or 'floating-point numbers'} ({expected_shape}): {_FETCH_AGAIN}"
            )
        if stored_dtype == "I8":
            self.check(name + _SCALE, stored.shape[:-1])

    def stored(self, name: str) -> Array:
        """Return a tensor as it is stored, as a view of the file.

        Raises:
            ModelError: The tensor is missing, does not fill its bytes, or is of an unsupported type.
        """
        if name not in self._entries:
            raise ModelError(f"{self.path} lacks {name}: {_FETCH_AGAIN}")
        entry = self._entries[name]
        try:
            begin, end = _span(entry["data_offsets"])
            return self._data[begin:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            description = f"{entry.get('dtype')} of the shape {entry.get('shape')} in {end - begin} bytes"
            raise ModelError(
                f"{self.path}: got {name} as {description}, expected one of {', '.join(_DTYPES)} that fills them: "
                "fetch the model again"
            ) from error

    def floats(self, name: str, part: Any = ...) -> Floats:
        """Return a tensor as float32, whether it is stored in 8, 16, 32 or 64 bits.

        Rows of 8 bits have a scale each, under `name.scale`; see `elasticdenser.models.int8_rows`.

        Args:
            name: Name of the tensor.
            part: Index of a part of the tensor.

        Raises:
            ModelError: The tensor or its scale is missing, or holds a number that is not finite.
        """
        tensor = self.stored(name)[part]
        if tensor.dtype == np.int8:
            rows: Floats = tensor.astype(np.float32) * self.floats(name + _SCALE, part)[..., None]
            return rows
        if tensor.dtype == np.uint16:  # bfloat16: the upper half of a float32; numpy has no type for it
            floats: Floats = (tensor.astype(np.uint32) << 16).view(np.float32)
        else:
            floats = tensor.astype(np.float32)
        if not np.isfinite(floats).all():
            raise ModelError(f"{self.path}: {name} holds a number that is not finite: fetch the model again")
        return floats


def _span(offsets: Any) -> tuple[int, int]:
    """Return the offsets of a tensor's first byte and of the byte behind its last."""
    begin, end = offsets
    if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end):
        raise ValueError(f"got a tensor from {begin} to {end}")
    return begin, end


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"got {constant} in its header")
