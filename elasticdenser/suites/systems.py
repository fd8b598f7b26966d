"""Systems of a suite for one query set, made from their settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, cast

from ir_measures import ScoredDoc

from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import DataMissingError
from elasticdenser.evaluation import System
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from elasticdenser.retrieval.hybrid import N_CANDIDATES, words_of
from elasticdenser.retrieval.java import require_pyserini
from elasticdenser.retrieval.retriever import Retriever
from elasticdenser.suites.encoders import subnets_fingerprint
from elasticdenser.suites.reranking import rerank_system
from elasticdenser.suites.resources import Resources
from elasticdenser.suites.settings import (
    Bm25Settings,
    DenseSettings,
    RerankSettings,
    RrfSettings,
    RunSettings,
    SubnetSettings,
    SystemSettings,
    WeightedSettings,
)


def make_system(
    name: str, settings: SystemSettings, query_set: str, resources: Resources, others: Mapping[str, System]
) -> System:
    """Make a system for a query set, building the index that it needs.

    Args:
        name: Name of the system.
        settings: Settings of the system.
        query_set: Name of the query set.
        resources: Indexes and encoders.
        others: The systems that were made before, which fusions and rerankings use.

    Raises:
        DataMissingError: The corpus or run is not on this machine, or a system that this one is made of was skipped.
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
        case RerankSettings():
            return rerank_system(name, settings, query_set, resources, others)


def _dense(name: str, settings: DenseSettings, corpus: str, resources: Resources) -> System:
    encoder = resources.query_encoder(settings.encoder, settings.precision)
    # A string: tables with several subnets have become one system per subnet.
    subnet = encoder.resolve_subnet(cast("str", settings.subnet) or None)
    index = resources.dense_index(corpus, settings.encoder)
    retriever = Retriever(encoder, index)
    structure = None if settings.exact else asdict(index.manifest.structure)
    shown_settings: dict[str, object] = {
        "type": "dense",
        "encoder": encoder.fingerprint.name,
        "subnet": str(subnet),
        "precision": encoder.dtype,
        "search": "exact" if structure is None else {corpus: structure["factory"]},
    }
    dependencies: list[Any] = [
        shown_settings,
        encoder.fingerprint.to_json(),
        index.manifest.corpus["sha256"],
        structure,
    ]
    if settings.word_weight is not None:
        words = {
            "stemmer": words_of(index).analyzer.stemmer,
            "word_weight": settings.word_weight,
            "candidates": N_CANDIDATES,
        }
        shown_settings |= {"type": "hybrid", **words}
        dependencies.append(words)
    if subnet != encoder.full_subnet or encoder.space is not None:
        trained = subnets_fingerprint(encoder)
        shown_settings["trained"] = trained[:12]
        dependencies.append(trained)
    family = settings.family if isinstance(settings, SubnetSettings) else ""
    words_title = "" if settings.word_weight is None else f" and words, weight {settings.word_weight:g}"
    default_title = f"{encoder.fingerprint.name}, {subnet}, {'exact' if settings.exact else 'auto'}{words_title}"
    title = settings.title or default_title
    return System(
        name=name,
        title=f"{title}, {subnet}" if settings.title and family else title,
        settings=shown_settings,
        fingerprint=fingerprint_of(dependencies),
        search=partial(retriever.search, subnet=subnet, exact=settings.exact, hybrid=settings.word_weight),
        family=family,
        subnet=str(subnet),
    )


def _bm25(name: str, settings: Bm25Settings, corpus: str, resources: Resources) -> System:
    require_pyserini()
    index = resources.bm25_index(corpus)
    manifest = index.manifest
    shown_settings = {"type": "bm25", "k1": settings.k1, "b": settings.b, "analyzer": manifest.analyzer}
    return System(
        name=name,
        title=settings.title or f"BM25 (pyserini), k1 {settings.k1:g}, b {settings.b:g}",
        settings=shown_settings,
        fingerprint=fingerprint_of([shown_settings, manifest.corpus["sha256"], manifest.pyserini]),
        search=partial(index.search, k1=settings.k1, b=settings.b),
    )


def _run(name: str, settings: RunSettings, query_set: str, resources: Resources) -> System:
    path = resources.sources.run_file(settings.path.replace("{query_set}", query_set))
    corpus_fingerprint = resources.sources.corpus_fingerprint(resources.suite.query_sets[query_set].corpus)
    return System(
        name=name,
        title=settings.title or settings.path,
        settings={"type": "run", "path": settings.path},
        fingerprint=fingerprint_of([sha256_of(path), corpus_fingerprint]),
        run=path,
    )


def _fusion(name: str, settings: RrfSettings | WeightedSettings, others: Mapping[str, System]) -> System:
    if skipped := [part for part in settings.of if part not in others]:
        raise DataMissingError(f"it fuses {skipped[0]}, which was skipped")
    parts = [others[part] for part in settings.of]
    shown_settings: dict[str, object] = {"type": "fusion", "of": list(settings.of)}
    if isinstance(settings, RrfSettings):
        shown_settings |= {"by": "reciprocal rank", "constant": settings.constant}
        title = f"reciprocal rank fusion of {' and '.join(settings.of)}"
        fuse = partial(_fuse_by_rank, settings.constant)
    else:
        shown_settings |= {"by": "weighted scores", "weights": list(settings.weights), "normalise": "min-max"}
        shares = ", ".join(f"{weight:g} {part}" for weight, part in zip(settings.weights, settings.of, strict=True))
        title = f"weighted scores: {shares}"
        fuse = partial(_fuse_by_score, settings.weights)
    return System(
        name=name,
        title=settings.title or title,
        settings=shown_settings,
        fingerprint=fingerprint_of([shown_settings, [part.fingerprint for part in parts]]),
        parts=parts,
        fuse=fuse,
    )


def _fuse_by_rank(constant: int, runs: Sequence[Iterable[ScoredDoc]], k: int) -> Iterable[ScoredDoc]:
    return reciprocal_rank_fusion(runs, k, constant=constant)


def _fuse_by_score(weights: Sequence[float], runs: Sequence[Iterable[ScoredDoc]], k: int) -> Iterable[ScoredDoc]:
    return weighted_fusion(runs, weights, k)
