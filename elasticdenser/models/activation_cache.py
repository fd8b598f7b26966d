"""Cache of activations on disk: hidden states after a layer, computed once for each sequence of token ids.

Layers that do not change give the same states again, so that training of the layers above them, or encoding with
others above them, can start from cached states: embedding recycling (Saad-Falcon et al. 2023, "Embedding Recycling for
Language Models"). It does not import torch.

    FOLDER/cache.json           what computes the states: see `activation_manifest`
    FOLDER/ID.activations       files of sequences, see `activation_files`; each is written once, and then only read

Files appear whole, under names of their own: a killed process loses what it had not written yet, and several processes
may share a folder. A file that is damaged is removed, and what it held is computed again.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from time import time

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats
from elasticdenser.artifacts import explained_os_errors
from elasticdenser.errors import BadInputError
from elasticdenser.models.activation_files import (
    HEADER_BYTES,
    STATE_DTYPES,
    ActivationFile,
    Bytes,
    DamagedFileError,
    StoredSequence,
    decode_rows,
    encode_rows,
    row_bytes,
    write_activations,
)
from elasticdenser.models.activation_manifest import ActivationSource, check_manifest, write_manifest
from elasticdenser.query_input import checked_count

logger = logging.getLogger(__name__)

_SUFFIX = ".activations"

FILE_BYTES = 64 << 20
"""States that are written together: a killed process loses fewer."""

_ABANDONED_S = 3600.0
"""Age at which a temporary file is one of a killed process: writing takes seconds."""

Compute = Callable[[list[int]], Floats]
"""Returns the states of the sequences with these numbers, end to end: float32, (n_tokens, hidden)."""


@dataclass(kw_only=True)
class CacheCounts:
    """Counts of a cache since it was opened.

    Attributes:
        read: Sequences whose states were there.
        computed: Sequences whose states were computed.
        refused: Sequences that were not stored, because the cache is full.
        damaged: Files that were removed.
        bytes_read: Bytes of states that were read.
        bytes_written: Bytes of the files that were written.
    """

    read: int = 0
    computed: int = 0
    refused: int = 0
    damaged: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


class ActivationCache:
    """Cache of the states after one layer of one model; safe to use from several threads.

    A full cache keeps what it has and stores no more: texts are read in turn, epoch by epoch, so that a cache that
    replaced the oldest states would have replaced each before it is read again. States that are not stored have the
    values that they would have had, so that results do not depend on the size of the cache.

    Attributes:
        counts: What was read, computed and written.
        n_bytes: Bytes of the files.

    Args:
        folder: The folder; created when there is something to store.
        source: What computes the states.
        dtype: How they are stored: `float16`, `float32`, or `int8`.
        max_bytes: Most bytes of the files; 0 stores nothing.

    Raises:
        BadInputError: The folder holds states of another model, layer or dtype, or there is no such dtype or number.
        BuildError: The disk refuses.
    """

    def __init__(self, folder: Path, source: ActivationSource, *, dtype: str = "float16", max_bytes: int) -> None:
        if dtype not in STATE_DTYPES:
            raise BadInputError(f"got states in {dtype!r}, expected one of {', '.join(STATE_DTYPES)}")
        self.folder, self.source, self.dtype = folder, source, dtype
        self.max_bytes = checked_count(max_bytes, "max_bytes", least=0, error=BadInputError)
        self.counts, self.n_bytes = CacheCounts(), 0
        self._places: dict[int, tuple[ActivationFile, int]] = {}
        self._places_named: dict[bytes, tuple[ActivationFile, int]] = {}
        self._unwritten: dict[int, StoredSequence] = {}
        self._unwritten_named: dict[bytes, StoredSequence] = {}
        self._unwritten_bytes = 0
        self._lock = Lock()
        check_manifest(folder, source, dtype)
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            self._open(path)
        self.n_bytes = self._bytes_on_disk()
        for path in folder.glob(f".*{_SUFFIX}.*.tmp"):
            with suppress(OSError):  # another process has finished it, or the folder is read-only
                if time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()

    def __len__(self) -> int:
        return len(self._places) + len(self._unwritten)

    def get_or_compute(self, sequences: Sequence[Sequence[int]], compute: Compute) -> Floats:
        """Return the states of sequences end to end, float32, (n_tokens, hidden), computing those that are not cached.

        Args:
            sequences: Token ids.
            compute: Called once with the numbers of the sequences that are missing, if there are any.

        Raises:
            ModelError: States cannot be stored in this dtype.
            BuildError: The disk refuses.
        """
        return decode_rows(self.rows(sequences, compute), self.dtype)

    def named(self, name: bytes) -> Bytes | None:
        """Return the stored states of the sequence with a name, uint8, (length, row bytes); None if it is not there."""
        with self._lock:
            stored = self._unwritten_named.get(name) or self._read(self._places_named.get(name))
            return None if stored is None else self._counted(stored).states

    def rows(self, sequences: Sequence[Sequence[int]], compute: Compute, names: Sequence[bytes] | None = None) -> Bytes:
        """Return the states of sequences end to end as they are stored, uint8, (n_tokens, row bytes).

        Other arguments and errors are those of `get_or_compute`.

        Args:
            sequences: Token ids.
            compute: Called for what is missing.
            names: Names of `NAME_BYTES` that those sequences get which are stored by this call.
        """
        token_ids = [np.asarray(sequence, np.int32) for sequence in sequences]
        ends = np.cumsum([len(own) for own in token_ids])
        rows = np.empty((int(ends[-1]) if len(ends) else 0, row_bytes(self.source.hidden, self.dtype)), np.uint8)
        missing = []
        for number, own in enumerate(token_ids):
            stored = self._find(own)
            if stored is None:
                missing.append(number)
            else:
                rows[ends[number] - len(own) : ends[number]] = stored.states
        if missing:
            computed = encode_rows(compute(missing), self.dtype)
            start = 0
            for number in missing:
                own = token_ids[number]
                part = computed[start : start + len(own)]
                rows[ends[number] - len(own) : ends[number]] = part
                self._add(StoredSequence(own, part, names[number] if names else b""))
                start += len(own)
            if self._unwritten_bytes >= FILE_BYTES:
                self.flush()
        return rows

    def create(self) -> None:
        """Create the folder, if it is not there; `flush` does it too, but only once something was computed.

        Raises:
            BadInputError: Another process has begun a cache of another model in this folder.
            BuildError: The disk refuses.
        """
        with explained_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        write_manifest(self.folder, self.source, self.dtype)

    def flush(self) -> None:
        """Write what is not on the disk yet.

        Raises:
            BadInputError: Another process has begun a cache of another model in this folder.
            BuildError: The disk refuses; what was there is unchanged.
        """
        with self._lock:
            if not self._unwritten:
                return
            # Counted anew, because other processes may have written too.
            self.n_bytes = self._bytes_on_disk()
            if self.n_bytes + self._unwritten_bytes + HEADER_BYTES > self.max_bytes:
                self.counts.refused += len(self._unwritten)
                self._forget_unwritten()
                return
            path = self.folder / f"{secrets.token_hex(8)}{_SUFFIX}"
            self.create()
            write_activations(path, self.source.key, list(self._unwritten.values()))
            self._forget_unwritten()
            self._open(path)
            n_written = path.stat().st_size
            self.counts.bytes_written += n_written
            self.n_bytes += n_written

    def _find(self, token_ids: NDArray[np.int32]) -> StoredSequence | None:
        """Return a stored sequence; None if it is not there, or another one has the same hash."""
        hashed = hash_of(token_ids)
        with self._lock:
            stored = self._unwritten.get(hashed) or self._read(self._places.get(hashed))
            if stored is None or not np.array_equal(stored.token_ids, token_ids):
                return None
            return self._counted(stored)

    def _read(self, place: tuple[ActivationFile, int] | None) -> StoredSequence | None:
        """Return the sequence at a place; None if there is no place, or its file is damaged."""
        if place is None:
            return None
        file, number = place
        try:
            return file.read(number)
        except DamagedFileError:
            self._remove(file.path)
            return None

    def _counted(self, stored: StoredSequence) -> StoredSequence:
        self.counts.read += 1
        self.counts.bytes_read += stored.states.nbytes
        return stored

    def _add(self, sequence: StoredSequence) -> None:
        """Take a sequence, unless the cache is full or its hash is taken."""
        hashed = hash_of(sequence.token_ids)
        with self._lock:
            self.counts.computed += 1
            if hashed in self._places or hashed in self._unwritten:
                return
            if self.n_bytes + self._unwritten_bytes + sequence.n_bytes + HEADER_BYTES > self.max_bytes:
                self.counts.refused += 1
                return
            # A copy: a view would keep the states of the whole batch in memory.
            own = sequence._replace(states=sequence.states.copy())
            self._unwritten[hashed] = own
            if own.name:
                self._unwritten_named[own.name] = own
            self._unwritten_bytes += own.n_bytes

    def _forget_unwritten(self) -> None:
        self._unwritten, self._unwritten_named, self._unwritten_bytes = {}, {}, 0

    def _open(self, path: Path) -> None:
        try:
            file = ActivationFile(path, row_bytes(self.source.hidden, self.dtype))
        except DamagedFileError:
            self._remove(path)
            return
        except FileNotFoundError:  # another process has found it damaged
            return
        except OSError as error:
            raise BadInputError(f"cannot be read ({error.strerror}): allow it, or remove the file", path) from None
        if file.key != self.source.key:
            raise BadInputError("these states are of another model or layer: remove the file", path)
        self._places.update((hash_of(file.token_ids(number)), (file, number)) for number in range(len(file)))
        self._places_named.update((name, (file, number)) for number, name in enumerate(file.names) if any(name))

    def _remove(self, path: Path) -> None:
        """Remove a damaged file, where that is allowed, and forget what it held."""
        logger.warning("%s is damaged: what it holds is computed again", path)
        self._places = {hashed: place for hashed, place in self._places.items() if place[0].path != path}
        self._places_named = {name: place for name, place in self._places_named.items() if place[0].path != path}
        with suppress(OSError):
            path.unlink()
        self.n_bytes = self._bytes_on_disk()
        self.counts.damaged += 1

    def _bytes_on_disk(self) -> int:
        n_bytes = 0
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(FileNotFoundError):  # another process has found it damaged
                n_bytes += path.stat().st_size
        return n_bytes


def hash_of(token_ids: NDArray[np.int32]) -> int:
    """Return a hash of token ids of 64 bits."""
    return int.from_bytes(blake2b(token_ids.tobytes(), digest_size=8).digest(), "little")
