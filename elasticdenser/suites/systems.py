"""The systems of a suite over one corpus, as things that can be evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, cast

from ir_measures import ScoredDoc

from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import DataMissingError
from elasticdenser.evaluation.systems import System
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from elasticdenser.retrieval.java import require_pyserini
from elasticdenser.retrieval.retriever import Retriever
from elasticdenser.suites.encoders import sizes_fingerprint
from elasticdenser.suites.resources import Resources
from elasticdenser.suites.settings import (
    Bm25Settings,
    DenseSettings,
    RrfSettings,
    RunSettings,
    SizeSettings,
    SystemSettings,
    WeightedSettings,
)


def make_system(
    name: str, settings: SystemSettings, query_set: str, resources: Resources, others: Mapping[str, System]
) -> System:
    """Make one system ready for a query set, building the index it needs.

    Args:
        name: Of the system.
        settings: Its settings.
        query_set: Name of the query set.
        resources: Where indexes come from.
        others: The systems that were made before, for fusions.

    Raises:
        DataMissingError: The corpus or run is not on this machine, or a fused system was skipped.
        MissingExtraError: pyserini is not installed.
    """
    corpus = resources.suite.query_sets[query_set].corpus
    match settings:
        case DenseSettings():
            return _dense(name, settings, corpus, resources)
        case Bm25Settings():
            return _bm25(name, settings, corpus, resources)
        case RunSettings():
            return _run(name, settings, query_set, resources)
        case RrfSettings() | WeightedSettings():
            return _fusion(name, settings, others)


def _dense(name: str, settings: DenseSettings, corpus: str, resources: Resources) -> System:
    encoder = resources.query_encoder(settings.encoder)
    size = encoder.resolve_subnet(cast("str", settings.subnet) or None)  # one: several have become a system each
    index = resources.dense_index(corpus, settings.encoder)
    retriever = Retriever(encoder, index)
    structure = None if settings.exact else asdict(index.manifest.structure)
    about = {
        "type": "dense",
        "encoder": encoder.fingerprint.name,
        "subnet": str(size),
        "search": "exact" if structure is None else {corpus: structure["factory"]},
    }
    decides: list[Any] = [about, encoder.fingerprint.to_json(), index.manifest.corpus["sha256"], structure]
    if size != encoder.full_subnet:
        trained = sizes_fingerprint(encoder)
        about["trained"] = trained[:12]
        decides.append(trained)
    size_of = settings.size_of if isinstance(settings, SizeSettings) else ""
    title = settings.title or f"{encoder.fingerprint.name}, {size}, {'exact' if settings.exact else 'auto'}"
    return System(
        name=name,
        title=f"{title}, {size}" if settings.title and size_of else title,
        settings=about,
        fingerprint=fingerprint_of(decides),
        search=partial(retriever.search, subnet=size, exact=settings.exact),
        size_of=size_of,
        size=str(size),
    )


def _bm25(name: str, settings: Bm25Settings, corpus: str, resources: Resources) -> System:
    require_pyserini()
    manifest = (index := resources.bm25_index(corpus)).manifest
    about = {"type": "bm25", "k1": settings.k1, "b": settings.b, "analyzer": manifest.analyzer}
    return System(
        name=name,
        title=settings.title or f"BM25 (pyserini), k1 {settings.k1:g}, b {settings.b:g}",
        settings=about,
        fingerprint=fingerprint_of([about, manifest.corpus["sha256"], manifest.pyserini]),
        search=partial(index.search, k1=settings.k1, b=settings.b),
    )


def _run(name: str, settings: RunSettings, query_set: str, resources: Resources) -> System:
    file = settings.path.replace("{query_set}", query_set)
    path = resources.options.data / file
    if not path.is_file():
        raise DataMissingError(f"the run {file} is missing in {resources.options.data}: put it there")
    corpus = resources.corpus_fingerprint(resources.suite.query_sets[query_set].corpus)
    return System(
        name=name,
        title=settings.title or settings.path,
        settings={"type": "run", "path": settings.path},
        fingerprint=fingerprint_of([sha256_of(path), corpus]),
        run=path,
    )


def _fusion(name: str, settings: RrfSettings | WeightedSettings, others: Mapping[str, System]) -> System:
    if lacking := [part for part in settings.of if part not in others]:
        raise DataMissingError(f"it fuses {lacking[0]}, which was skipped")
    parts = [others[part] for part in settings.of]
    about: dict[str, object] = {"type": "fusion", "of": list(settings.of)}
    if isinstance(settings, RrfSettings):
        about |= {"by": "reciprocal rank", "constant": settings.constant}
        title = f"reciprocal rank fusion of {' and '.join(settings.of)}"
        fuse = partial(_reciprocal, settings.constant)
    else:
        about |= {"by": "weighted scores", "weights": list(settings.weights), "normalise": "min-max"}
        shares = ", ".join(f"{weight:g} {part}" for weight, part in zip(settings.weights, settings.of, strict=True))
        title = f"weighted scores: {shares}"
        fuse = partial(_weighted, settings.weights)
    return System(
        name=name,
        title=settings.title or title,
        settings=about,
        fingerprint=fingerprint_of([about, [part.fingerprint for part in parts]]),
        parts=parts,
        fuse=fuse,
    )


def _reciprocal(constant: int, runs: Sequence[Iterable[ScoredDoc]], k: int) -> Iterable[ScoredDoc]:
    return reciprocal_rank_fusion(runs, k, constant=constant)


def _weighted(weights: Sequence[float], runs: Sequence[Iterable[ScoredDoc]], k: int) -> Iterable[ScoredDoc]:
    return weighted_fusion(runs, weights, k)
