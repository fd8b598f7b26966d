"""Files of cached activations: some sequences of token ids, and the hidden states of their tokens after a layer.

A file is in the safetensors format, so that other programs can read it:

    token_ids   int32, (n_tokens,): the sequences end to end
    lengths     int32, (n_sequences,)
    checksums   uint32, (n_sequences,): CRC-32 of a sequence's token ids and states
    names       uint8, (n_sequences, 16): by which sequences are found without their token ids; optional
    states      uint8, (n_tokens, row bytes): see `encode_rows`

Its metadata name the `key` of the cache. It does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Array, Floats
from elasticdenser.artifacts import atomic_write
from elasticdenser.errors import ModelError

STATE_DTYPES = ("float16", "float32", "int8")
"""Forms in which hidden states are stored; `int8` has a scale for each token."""

Bytes = NDArray[np.uint8]
"""uint8: stored states."""

NAME_BYTES = 16
"""Bytes of a sequence's name."""

HEADER_BYTES = 1024
"""Most bytes of a file before its tensors."""

_DTYPES = {("i", 4): "I32", ("u", 4): "U32", ("u", 1): "U8"}
"""Kind and bytes of a number -> its name in the format."""

_MAX_HALF = float(np.finfo(np.float16).max)


class DamagedFileError(Exception):
    """File that is cut, or holds something else than it says."""


class StoredSequence(NamedTuple):
    """Sequence with its states.

    Args:
        token_ids: int32, (length,).
        states: uint8, (length, row bytes).
        name: 16 bytes by which it is found too; empty if it has none.
    """

    token_ids: NDArray[np.int32]
    states: Bytes
    name: bytes = b""

    @property
    def n_bytes(self) -> int:
        """Bytes that it takes in a file."""
        return self.token_ids.nbytes + self.states.nbytes + len(self.name) + 8  # length and checksum

    @property
    def checksum(self) -> int:
        """CRC-32 of token ids and states."""
        return crc32(np.ascontiguousarray(self.states).data, crc32(self.token_ids.tobytes()))


def row_bytes(hidden: int, dtype: str) -> int:
    """Return the bytes of a token's stored states."""
    return hidden + 4 if dtype == "int8" else hidden * np.dtype(dtype).itemsize


def encode_rows(states: Floats, dtype: str) -> Bytes:
    """Return hidden states as they are stored, uint8, (n_tokens, row bytes).

    In `int8`, a row is whole numbers from -127 to 127, and then their scale in float32.

    Args:
        states: float32, (n_tokens, hidden).
        dtype: One of `STATE_DTYPES`.

    Raises:
        ModelError: A number is not finite, or too large for float16.
    """
    largest = float(np.abs(states).max(initial=0))
    if not np.isfinite(largest) or (dtype == "float16" and largest > _MAX_HALF):
        raise ModelError(
            f"got hidden states of up to {largest:g}, expected finite numbers{' up to 65504' * (dtype == 'float16')}: "
            "store them in float32, or do not recycle layers of this model"
        )
    if dtype != "int8":
        return np.ascontiguousarray(states, dtype).view(np.uint8)
    scales = np.abs(states).max(axis=1, keepdims=True, initial=0) / np.float32(127)
    values = np.rint(states / np.maximum(scales, np.float32(1e-30))).astype(np.int8)
    return np.concatenate([values.view(np.uint8), scales.astype(np.float32).view(np.uint8)], axis=1)


def decode_rows(rows: Bytes, dtype: str) -> Floats:
    """Return the hidden states, float32, (n_tokens, hidden), that `encode_rows` stored."""
    if dtype != "int8":
        decoded: Floats = rows.view(dtype).astype(np.float32)
        return decoded
    values = rows[:, :-4].view(np.int8).astype(np.float32)
    states: Floats = values * np.ascontiguousarray(rows[:, -4:]).view(np.float32)
    return states


def write_activations(path: Path, key: str, sequences: Sequence[StoredSequence]) -> None:
    """Write a file of sequences, atomically.

    Raises:
        BuildError: The disk refuses.
    """
    token_ids = np.concatenate([sequence.token_ids for sequence in sequences])
    arrays: dict[str, Array] = {
        "token_ids": token_ids,
        "lengths": np.array([len(sequence.token_ids) for sequence in sequences], np.int32),
        "checksums": np.array([sequence.checksum for sequence in sequences], np.uint32),
    }
    if any(sequence.name for sequence in sequences):
        names = b"".join(sequence.name.ljust(NAME_BYTES, b"\0") for sequence in sequences)
        arrays["names"] = np.frombuffer(names, np.uint8).reshape(-1, NAME_BYTES)
    header: dict[str, Any] = {"__metadata__": {"key": key}}
    n_bytes = 0
    for name, array in arrays.items():
        header[name] = _described(_DTYPES[array.dtype.kind, array.dtype.itemsize], array.shape, n_bytes, array.nbytes)
        n_bytes += array.nbytes
    shape = len(token_ids), sequences[0].states.shape[1]
    header["states"] = _described("U8", shape, n_bytes, shape[0] * shape[1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    with atomic_write(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(array.tobytes())
        for sequence in sequences:
            file.write(sequence.states.tobytes())


def _described(dtype: str, shape: tuple[int, ...], start: int, n_bytes: int) -> dict[str, Any]:
    """Return the entry of a tensor in the header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + n_bytes]}


class ActivationFile:
    """File of sequences, with its states memory-mapped.

    Attributes:
        key: Key of the cache.
        names: Name of each sequence; of a file without names, nothing.

    Args:
        path: The file.
        n_row_bytes: Bytes of a token's states.

    Raises:
        DamagedFileError: It is cut, or holds something else.
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path, n_row_bytes: int) -> None:
        self.path = path
        try:
            header, data = _read_header(path)
            self.key = str(header["__metadata__"]["key"])
            n_bytes = data + int(header["states"]["data_offsets"][1])
            if n_bytes != path.stat().st_size:
                raise ValueError(f"it has {path.stat().st_size} bytes, expected {n_bytes}")
            self._token_ids, lengths, self._checksums = (
                np.fromfile(path, dtype, header[name]["shape"][0], offset=data + header[name]["data_offsets"][0])
                for name, dtype in (("token_ids", "<i4"), ("lengths", "<i4"), ("checksums", "<u4"))
            )
            self._ends = np.cumsum(lengths, dtype=np.int64)
            shape = len(self._token_ids), n_row_bytes
            if header["states"]["shape"] != [*shape] or self._ends[-1] != shape[0] or lengths.min() < 0:
                raise ValueError("its tensors do not belong together")
            if len(self._checksums) != len(lengths):
                raise ValueError(f"it has {len(lengths)} sequences and {len(self._checksums)} checksums")
            self.names = _read_names(path, header, data, len(lengths))
            states = np.memmap(path, np.uint8, "r", data + header["states"]["data_offsets"][0], shape)
            self._states = states.view(np.ndarray)  # parts of a memmap take several times as long to make
            self._checked = np.zeros(len(lengths), np.bool_)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            raise DamagedFileError(f"{path}: {error}") from error

    def __len__(self) -> int:
        return len(self._ends)

    def token_ids(self, number: int) -> NDArray[np.int32]:
        """Return the token ids of a sequence."""
        return self._token_ids[self._rows(number)]

    def read(self, number: int) -> StoredSequence:
        """Return a sequence by its number, whose checksum is verified when it is first read.

        Raises:
            DamagedFileError: Its checksum is wrong.
        """
        rows = self._rows(number)
        sequence = StoredSequence(self._token_ids[rows], self._states[rows])
        if not self._checked[number]:
            if sequence.checksum != self._checksums[number]:
                raise DamagedFileError(f"{self.path}: the checksum of sequence {number} is wrong")
            self._checked[number] = True
        return sequence

    def _rows(self, number: int) -> slice:
        return slice(int(self._ends[number - 1]) if number else 0, int(self._ends[number]))


def _read_names(path: Path, header: dict[str, Any], data: int, n: int) -> list[bytes]:
    if "names" not in header:
        return []
    if header["names"]["shape"] != [n, NAME_BYTES]:
        raise ValueError(f"it has {n} sequences and names of {header['names']['shape']}")
    names = np.fromfile(path, np.uint8, n * NAME_BYTES, offset=data + header["names"]["data_offsets"][0])
    return [name.tobytes() for name in names.reshape(n, NAME_BYTES)]


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a file, and where its tensors start."""
    with open(path, "rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        if n_header > HEADER_BYTES:
            raise ValueError(f"its header has {n_header} bytes, expected at most {HEADER_BYTES}")
        header: dict[str, Any] = json.loads(file.read(n_header))
    return header, 8 + n_header
