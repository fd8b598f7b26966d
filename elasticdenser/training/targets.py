"""Targets of the training: the full encoder's vectors of the texts and their nearest passages, cached on disk.

Layout of the cache. A NAME is the first 12 digits of a SHA-256 over all that the content depends on:

    NAME/manifest.json    the input of the targets
    NAME/targets.f16      float16, (n_texts, dim): vectors of the full encoder, as it gives them
    NAME/neighbours.i32   int32, (n_texts, n_neighbours): positions in an index, nearest first; its NAME is another
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdenser.artifacts import write_json
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError
from elasticdenser.index import PassageIndex
from elasticdenser.progress import Progress, silent
from elasticdenser.query_input import check_query
from elasticdenser.training.batches import TextReader
from elasticdenser.training.data import TrainingData
from elasticdenser.training.row_cache import cached_rows
from elasticdenser.training.teacher import Teacher, TextVectors


def prepare_data(
    texts: Sequence[str],
    encoder: ElasticQueryEncoder,
    index: PassageIndex | None,
    folder: Path,
    *,
    teacher: Teacher | None = None,
    reader: TextReader | None = None,
    n_neighbours: int = 8,
    progress: Progress = silent,
) -> TrainingData:
    """Encode the texts and find their nearest passages, or read what an earlier call cached for the same input.

    After an interruption the next call continues. Other texts, another encoder and another index get folders of their
    own; nothing is deleted.

    Args:
        texts: The training texts.
        encoder: The encoder that is trained, which reads the texts.
        index: Passages of the teacher, or None.
        folder: Folder of the cache.
        teacher: Its vectors, computed with its dtype, are the targets; None is the full encoder itself.
        reader: What reads the texts for the model in training; None is the encoder.
        n_neighbours: Nearest passages of each text, at least 1; limited to the number of passages.
        progress: Called with (activity, done, total).

    Raises:
        BadInputError: There are no texts, or `n_neighbours` is below 1.
        QueryError: A text is empty or not Unicode.
        EncoderMismatchError: The index was made by another encoder.
        BuildError: Another process prepares the same texts, or a cached file is damaged or cannot be written.
    """
    texts, teacher = list(texts), teacher or encoder
    if not texts:
        raise BadInputError("got no training texts, expected at least one")
    if n_neighbours < 1:
        raise BadInputError(f"got {n_neighbours} neighbours of each text, expected at least 1")
    for number, text in enumerate(texts, 1):
        check_query(text, f"training text number {number}")
    if index is not None:
        index.check_encoder(teacher.fingerprint)
    manifest = {"n_texts": len(texts), "texts_sha256": texts_sha256(texts), "encoder": encoder_identity(teacher)}
    cache = folder / _cache_name(manifest)
    targets = cached_rows(
        cache / "targets.f16",
        (len(texts), teacher.dim),
        "<f2",
        lambda rows: teacher.encode(texts[rows]),
        partial(progress, "Encoding training texts"),
    )
    if not (cache / "manifest.json").exists():
        write_json(cache / "manifest.json", manifest)
    neighbours = None
    if index is not None:
        neighbours = _neighbours(index, targets, folder, manifest, n_neighbours, progress)
    normalized = teacher.fingerprint.settings.normalize
    return TrainingData(texts, reader or encoder, index, targets=targets, neighbours=neighbours, normalized=normalized)


def _neighbours(
    index: PassageIndex,
    targets: NDArray[np.float16],
    folder: Path,
    manifest: dict[str, Any],
    n_neighbours: int,
    progress: Progress,
) -> NDArray[np.int32]:
    n_neighbours = min(n_neighbours, len(index))
    # Positions are valid only for these vectors in this order, whatever the manifest says of corpus and encoder.
    index_identity = {
        "vectors_sha256": index.manifest.vectors_sha256,
        "structure": asdict(index.manifest.structure),
    }
    return cached_rows(
        folder / _cache_name({**manifest, **index_identity, "n_neighbours": n_neighbours}) / "neighbours.i32",
        (len(targets), n_neighbours),
        "<i4",
        # Search with the cached float16 vectors: the same neighbours, whether interrupted or not.
        lambda rows: index.search(targets[rows].astype(np.float32), n_neighbours)[1],
        partial(progress, "Finding nearest passages"),
    )


def encoder_identity(encoder: Teacher) -> dict[str, Any]:
    """Return all that the vectors of an encoder depend on, which does not include its location."""
    fingerprint = encoder.fingerprint.to_json()
    identity = {key: fingerprint[key] for key in ("weights_sha256", "settings", "dtype")}
    return identity | ({"vectors_sha256": encoder.sha256} if isinstance(encoder, TextVectors) else {})


def texts_sha256(texts: Sequence[str]) -> str:
    """Return the SHA-256 over texts in their order."""
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode()
        digest.update(b"%d:" % len(raw) + raw)
    return digest.hexdigest()


def _cache_name(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:12]
