"""Codebooks that the search structures of all shards share, trained once on a sample of the vectors of all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk, write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.layout import CODEBOOKS, VECTORS
from elasticdenser.index.manifest import FileEntry, Manifest
from elasticdenser.index.sharding.manifest import Codebooks
from elasticdenser.index.sharding.plan import CODEBOOKS_STATE, SAMPLE
from elasticdenser.index.structures.building import train_structure
from elasticdenser.index.structures.faiss_structure import MAX_TRAINING_VECTORS

_SAMPLED_AT_ONCE = 4096
"""Vectors that are copied at a time."""


def train_codebooks(work: Path, shards: Sequence[Path], factory: str) -> Codebooks | None:
    """Train the codebooks of a structure once, and return their description; None if nothing is trained.

    After an interruption, finished codebooks are kept.

    Args:
        work: The build folder; the files come into its folder of codebooks.
        shards: The folders of the shards, whose vectors are sampled at even distances.
        factory: Factory string of the structure.

    Raises:
        BuildError: There are too few vectors for the structure, or the disk refuses.
    """
    codebooks = _finished(work)
    if codebooks is None or codebooks.factory != factory:
        with explained_os_errors(work):
            (work / CODEBOOKS_STATE).unlink(missing_ok=True)
            for folder in (work / CODEBOOKS, work / SAMPLE):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            shape = _write_sample(work / SAMPLE / VECTORS, shards)
            names = train_structure(work / SAMPLE, shape, factory, work / CODEBOOKS)
            files = {f"{CODEBOOKS}/{name}": FileEntry.of(work / CODEBOOKS / name) for name in names}
            codebooks = Codebooks(factory=factory, n_sampled=shape[0], files=files)
            flush_folder(work / CODEBOOKS)
            write_json(work / CODEBOOKS_STATE, asdict(codebooks))
            shutil.rmtree(work / SAMPLE)
    return codebooks if codebooks.files else None


def _finished(work: Path) -> Codebooks | None:
    """Return the description of finished codebooks; None if there are none."""
    try:
        value = loads_json((work / CODEBOOKS_STATE).read_text(encoding="utf-8"))
        return from_value(Codebooks, value, CODEBOOKS_STATE, error=IndexFormatError)
    except (OSError, ValueError, IndexFormatError):
        return None


def _write_sample(file: Path, shards: Sequence[Path]) -> tuple[int, int]:
    """Write vectors of all shards at even distances, and return their number and dimensions."""
    manifests = [Manifest.read(shard) for shard in shards]
    n_passages, dim = sum(manifest.n_passages for manifest in manifests), manifests[0].dim
    chosen = np.unique(np.linspace(0, n_passages - 1, min(MAX_TRAINING_VECTORS, n_passages)).astype(np.int64))
    start = 0
    with open(file, "wb") as output:
        for shard, manifest in zip(shards, manifests, strict=True):
            rows = chosen[(chosen >= start) & (chosen < start + manifest.n_passages)] - start
            vectors = np.memmap(shard / VECTORS, dtype="<f4", mode="r", shape=(manifest.n_passages, dim))
            for first in range(0, len(rows), _SAMPLED_AT_ONCE):
                output.write(vectors[rows[first : first + _SAMPLED_AT_ONCE]].tobytes())
            start += manifest.n_passages
        flush_to_disk(output)
    return len(chosen), dim
