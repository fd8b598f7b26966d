"""Weights in the safetensors format, mapped into memory: a tensor takes none until it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from elasticdenser.arrays import Array, Floats
from elasticdenser.errors import ModelError

ANY = -1
"""Of a shape that is expected: there may be any number of these, but one at least."""

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1"}
_FLOATS = ("F64", "F32", "F16", "BF16")
_SCALE = ".scale"
_AGAIN = "it does not belong to its config; fetch the model again"


class Tensors:
    """The tensors of one file, by name.

    The file must stay as it is while it is in use: a new one is written beside it and renamed, as `save_elastic` does.
    One that is overwritten or cut short in place ends the process, for the system finds no page where there was one.

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
            start = 8 + int.from_bytes(self._bytes[:8].tobytes(), "little")
            header = json.loads(self._bytes[8:start].tobytes(), parse_constant=_refuse)
            self._data = self._bytes[start:].view(np.ndarray)
            self._entries: Mapping[str, Any] = {name: at for name, at in header.items() if name != "__metadata__"}
            spans = sorted(_span(entry["data_offsets"]) for entry in self._entries.values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read ({error}): fetch the model again") from error
        if spans and spans[-1][1] > len(self._data):
            raise ModelError(f"{path} cannot be read (it is cut short): fetch the model again")
        if any(one[1] > other[0] for one, other in pairwise(spans)):
            raise ModelError(f"{path} cannot be read (its tensors overlap): fetch the model again")

    def names(self) -> set[str]:
        """Return the names of all tensors."""
        return set(self._entries)

    def check(self, name: str, shape: Sequence[int], dtype: str | None = None) -> None:
        """Refuse a tensor of another shape or type than expected; only the header is read.

        Args:
            name: Which.
            shape: Its sizes, each a number or `ANY`.
            dtype: As the header spells it; None is what `floats` reads.

        Raises:
            ModelError: It is another, or missing.
        """
        stored = self.stored(name)
        its = self._entries[name]["dtype"]
        fits = len(stored.shape) == len(shape) and all(
            got == size or (size == ANY and got > 0) for got, size in zip(stored.shape, shape, strict=True)
        )
        if not fits or its not in ((*_FLOATS, "I8") if dtype is None else (dtype,)):
            sizes = ", ".join("any" if size == ANY else str(size) for size in shape)
            raise ModelError(
                f"{self.path}: got {name} of {its} ({', '.join(map(str, stored.shape))}); expected "
                f"{dtype or 'floating-point numbers'} ({sizes}): {_AGAIN}"
            )
        if its == "I8":
            self.check(name + _SCALE, stored.shape[:-1])

    def stored(self, name: str) -> Array:
        """Return a tensor as it is stored, as a view of the file.

        Raises:
            ModelError: There is none of that name, or it is of a type that nothing here reads.
        """
        if name not in self._entries:
            raise ModelError(f"{self.path} lacks {name}: {_AGAIN}")
        entry = self._entries[name]
        try:
            begin, end = _span(entry["data_offsets"])
            return self._data[begin:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            what = f"{entry.get('dtype')} of the shape {entry.get('shape')} in {end - begin} bytes"
            raise ModelError(
                f"{self.path}: got {name} as {what}; expected one of {', '.join(_DTYPES)} that fills them: "
                "fetch the model again"
            ) from error

    def floats(self, name: str, part: Any = ...) -> Floats:
        """Return a tensor as float32, whether it is stored in 8, 16, 32 or 64 bits.

        Rows of 8 bits have a scale each, under `name.scale`; see `elasticdenser.models.int8_rows`.

        Args:
            name: Which.
            part: Of its first dimensions, what is wanted of them.

        Raises:
            ModelError: The tensor or its scale is missing, or holds what is no finite number.
        """
        tensor = self.stored(name)[part]
        if tensor.dtype == np.int8:
            rows: Floats = tensor.astype(np.float32) * self.floats(name + _SCALE, part)[..., None]
            return rows
        if tensor.dtype == np.uint16:  # bfloat16 is the upper half of float32, and numpy has no type for it
            floats: Floats = (tensor.astype(np.uint32) << 16).view(np.float32)
        else:
            floats = tensor.astype(np.float32)
        if not np.isfinite(floats).all():
            raise ModelError(f"{self.path}: {name} holds what is no finite float32 number: fetch the model again")
        return floats


def _span(offsets: Any) -> tuple[int, int]:
    """Return where a tensor begins and ends."""
    begin, end = offsets
    if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end):
        raise ValueError(f"got a tensor from {begin} to {end}")
    return begin, end


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"got {constant} in its header")
