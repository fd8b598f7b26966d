"""Teacher of vectors: inner products of a sentence encoder's vectors, which need no labels; of any kind of encoder.

Each passage that is a candidate is encoded once, and so is each query: a pair costs one inner product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np
import torch

from elasticdenser.arrays import Scores, Vectors
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.encoders.backends import check_encoder
from elasticdenser.encoders.devices import resolve_dtype, resolve_dtype_of
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.kinds import kind_of
from elasticdenser.models.locate import ModelLocation, find_model
from elasticdenser.models.model_files import read_config
from elasticdenser.models.settings import EncoderSettings, read_settings
from elasticdenser.training.ranker.settings import TeacherSettings
from elasticdenser.training.ranker.teachers.base import TeacherInputs, TeacherScores
from elasticdenser.training.row_cache import cached_rows
from elasticdenser.training.targets import texts_sha256

_CHUNK_TEXTS = 256
"""Texts that are encoded and saved together: a large teacher takes half a minute for as many passages."""


def scores_of_encoder(settings: TeacherSettings, inputs: TeacherInputs) -> TeacherScores:
    """Return the teacher; the vectors of all candidates and queries are computed, or read from the cache."""
    folder = inputs.data / settings.path
    location = find_model(
        str(folder) if folder.is_dir() else settings.path,
        download=not inputs.offline,
        trust_remote_code=inputs.trust_remote_code,
        option="path of the teacher",
    )
    overrides = {"max_length": settings.max_length} if settings.max_length else {}
    encoder_settings = read_settings(location.path, **overrides)
    dtype = _dtype(location, encoder_settings, inputs.device)
    encoder = _DeferredEncoder(location, encoder_settings, dtype, str(inputs.device))
    identity = {
        "kind": settings.kind,
        "weights_sha256": location.sha256,
        "settings": asdict(encoder_settings),
        "dtype": dtype,
    }
    used = np.unique(inputs.pools[inputs.pools >= 0])
    texts = list(inputs.queries.texts)
    index = inputs.index
    vectors_sha256 = index.manifest.vectors_sha256
    passage_key = {**identity, "index": vectors_sha256, "used": fingerprint_of(used.tolist())}
    query_key = {**identity, "queries": texts_sha256(texts)}

    def cached(name: str, key: object, n: int, compute: Callable[[slice], Vectors], activity: str) -> Vectors:
        return cached_rows(
            inputs.folder / f"{name}-{fingerprint_of(key)[:12]}.f16",
            (n, encoder_settings.dim),
            "<f2",
            compute,
            partial(inputs.progress, activity),
            chunk_rows=_CHUNK_TEXTS,
        )

    def encode_passages(rows: slice) -> Vectors:
        return encoder.passages([index.passage_at(int(position)).content for position in used[rows]])

    passages = cached("passages", passage_key, len(used), encode_passages, "Encoding candidates with the teacher")
    queries = cached(
        "queries", query_key, len(texts), lambda rows: encoder.queries(texts[rows]), "Encoding queries with the teacher"
    )

    def scores(rows: slice) -> Scores:
        pools = inputs.pools[rows]
        query_vectors = queries[rows].astype(np.float32)
        table = np.full(pools.shape, np.nan, np.float32)
        for row, pool in enumerate(pools):
            present = pool >= 0
            vectors = passages[np.searchsorted(used, pool[present])].astype(np.float32)
            table[row, present] = vectors @ query_vectors[row]
        return table

    return TeacherScores(identity, scores)


class _DeferredEncoder:
    """Encoder that is loaded when the first texts have to be encoded: a cache may have the vectors already."""

    def __init__(self, location: ModelLocation, settings: EncoderSettings, dtype: str, device: str) -> None:
        self._location, self._settings, self._dtype, self._device = location, settings, dtype, device
        self._loaded: ElasticQueryEncoder | None = None

    def passages(self, texts: Sequence[str]) -> Vectors:
        return self._encoder().encode_passages(texts)

    def queries(self, texts: Sequence[str]) -> Vectors:
        return self._encoder().encode(texts)

    def _encoder(self) -> ElasticQueryEncoder:
        if self._loaded is None:
            self._loaded = ElasticQueryEncoder(self._location, self._settings, dtype=self._dtype, device=self._device)
        return self._loaded


def _dtype(location: ModelLocation, settings: EncoderSettings, device: torch.device) -> str:
    """Return the arithmetic that is fastest for an encoder on a device.

    Raises:
        ModelError: No backend computes the encoder.
        MissingExtraError: A package that computes it is not installed.
    """
    check_encoder(location, settings, dtype="auto", device=str(device))
    kind = kind_of(location.path, settings)
    if kind == "static":
        return "float32"
    config = read_config(location.path)
    dtype = resolve_dtype_of(config, "auto", device) if kind == "transformers" else resolve_dtype("auto", device)
    return str(dtype).removeprefix("torch.")
