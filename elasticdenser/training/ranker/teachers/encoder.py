"""Teacher of vectors: inner products of a sentence encoder's vectors, which need no labels.

Each passage that is a candidate is encoded once, and so is each query: a pair costs one inner product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from elasticdenser.arrays import Scores, Vectors
from elasticdenser.encoders import ElasticQueryEncoder, resolve_dtype
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.architectures import ARCHITECTURES
from elasticdenser.models.locate import ModelLocation, find_model
from elasticdenser.models.model_files import read_config
from elasticdenser.models.settings import EncoderSettings, read_settings
from elasticdenser.training.ranker.settings import TeacherSettings
from elasticdenser.training.ranker.teachers.base import TeacherInputs, TeacherScores
from elasticdenser.training.ranker.teachers.transformers_encoder import TransformersEncoder
from elasticdenser.training.row_cache import cached_rows
from elasticdenser.training.targets import texts_sha256

_CHUNK_TEXTS = 256
"""Texts that are encoded and saved together: a large teacher takes half a minute for as many passages."""


def scores_of_encoder(settings: TeacherSettings, inputs: TeacherInputs) -> TeacherScores:
    """Return the teacher; the vectors of all candidates and queries are computed, or read from the cache."""
    folder = inputs.data / settings.path
    location = find_model(str(folder) if folder.is_dir() else settings.path, download=not inputs.offline)
    overrides = {"max_length": settings.max_length} if settings.max_length else {}
    encoder_settings = read_settings(location.path, **overrides)
    dtype = str(resolve_dtype("auto", inputs.device)).removeprefix("torch.")
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
        self._loaded: ElasticQueryEncoder | TransformersEncoder | None = None

    def passages(self, texts: Sequence[str]) -> Vectors:
        return self._encoder().encode_passages(texts)

    def queries(self, texts: Sequence[str]) -> Vectors:
        return self._encoder().encode(texts)

    def _encoder(self) -> ElasticQueryEncoder | TransformersEncoder:
        if self._loaded is None:
            kind = ElasticQueryEncoder if _is_supported(self._location.path) else TransformersEncoder
            self._loaded = kind(self._location, self._settings, dtype=self._dtype, device=self._device)
        return self._loaded


def _is_supported(folder: Path) -> bool:
    return read_config(folder).get("model_type") in ARCHITECTURES
