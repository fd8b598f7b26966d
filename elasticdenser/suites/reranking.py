"""Systems of type rerank: the hits of another system, reranked by an elastic ranker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ir_measures import ScoredDoc

from elasticdenser.artifacts import sha256_of
from elasticdenser.cpus import cpu_count
from elasticdenser.datasets.runs import read_run
from elasticdenser.errors import BadInputError, DataMissingError, QueryError
from elasticdenser.evaluation import System
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.ranker_manifest import ranker_manifest
from elasticdenser.retrieval.reranking import ElasticReranker
from elasticdenser.retrieval.reranking.runs import candidate_ids, check_documents, ranked_run, rerank_run
from elasticdenser.suites.resources import Resources
from elasticdenser.suites.settings import RerankSettings


def rerank_system(
    name: str, settings: RerankSettings, query_set: str, resources: Resources, others: Mapping[str, System]
) -> System:
    """Make a system that reranks another one; the arguments are those of `make_system`.

    Raises:
        DataMissingError: The other system was skipped.
        BadInputError: The settings are out of range, or the query set has fewer hits than there are candidates.
        ModelError: There is no such ranker.
    """
    if settings.over not in others:
        raise DataMissingError(f"it reranks {settings.over}, which was skipped")
    over = others[settings.over]
    reranker = _reranker(f"systems.{name}", settings, over, resources)
    k = resources.suite.query_sets[query_set].k or resources.suite.k
    if reranker.n_candidates > k:
        raise BadInputError(
            f"systems.{name}: got {reranker.n_candidates} candidates, but {query_set} has {k} hits per query: raise "
            "its k, or rerank fewer"
        )
    shown_settings = {
        "type": "rerank",
        "over": settings.over,
        "ranker": reranker.ranker.folder.name,
        "stages": ", ".join(map(str, reranker.stages)),
        "first_stage_weight": reranker.first_stage_weight,
        "precision": reranker.ranker.dtype,
    }
    scale = not _has_inner_products(over)
    if scale and reranker.first_stage_weight:
        shown_settings["first_stage_scores"] = "scaled to 0 to 1"
    manifest = ranker_manifest(reranker.ranker.folder)
    files = [sha256_of(file) for file in (manifest, manifest.with_suffix(".safetensors"))]
    reranking = _Reranking(name, reranker, query_set, resources, scale=scale)
    return System(
        name=name,
        title=settings.title or f"{settings.over}, reranked by {reranker}",
        settings=shown_settings if over.run is None else {**shown_settings, "timed": "reranking alone"},
        fingerprint=fingerprint_of([shown_settings, files, over.fingerprint]),
        parts=[over],
        fuse=reranking,
        min_part_hits=reranker.n_candidates,
        timed=None if over.run is None else _OfRun(over.run, reranking),
    )


def _reranker(where: str, settings: RerankSettings, over: System, resources: Resources) -> ElasticReranker:
    # The weight in a ranker's manifest is for inner products; other systems have scores of any scale.
    default = None if _has_inner_products(over) else 0.0
    weight = default if settings.first_stage_weight is None else settings.first_stage_weight
    spelling = settings.spelling if weight is None else f"{settings.spelling}+{weight!r}"
    try:
        return ElasticReranker.parse(spelling, resources.ranker(settings.ranker))
    except QueryError as error:
        raise BadInputError(f"{where}: {error}") from error


def _has_inner_products(system: System) -> bool:
    return system.settings.get("type") == "dense"


@dataclass(frozen=True)
class _Reranking:
    """Reranking as a fusion of one system."""

    name: str
    reranker: ElasticReranker
    query_set: str
    resources: Resources
    scale: bool

    def __call__(self, runs: Sequence[Iterable[ScoredDoc]], k: int) -> Iterator[ScoredDoc]:
        """Yield the reranked hits of the only run."""
        run = ranked_run(runs[0])
        corpus = self.resources.suite.query_sets[self.query_set].corpus
        texts = self.resources.texts(corpus)
        check_documents(candidate_ids(run, self.reranker.n_candidates), texts.__contains__, f"the corpus {corpus}")
        queries = self.resources.query_set(self.query_set).queries
        workers = min(len(run), self.resources.options.workers or cpu_count())  # one query is timed on one core
        hits = rerank_run(
            self.reranker, run, queries, texts.__getitem__, k=k, workers=max(1, workers), scale=self.scale
        )
        seen: set[str] = set()
        for hit in hits:
            if len(run) > 1 and hit.query_id not in seen:
                seen.add(hit.query_id)
                self.resources.progress(f"{self.query_set}: {self.name}", len(seen), len(run))
            yield hit


class _OfRun:
    """Reranking of the hits that a finished run has of some queries; it is timed, which the run cannot be.

    Args:
        path: The run.
        reranking: The reranking.
    """

    def __init__(self, path: Path, reranking: _Reranking) -> None:
        self._path, self._reranking = path, reranking

    @cached_property
    def _hits(self) -> Mapping[str, list[ScoredDoc]]:
        hits: dict[str, list[ScoredDoc]] = {}
        for hit in read_run(self._path):
            hits.setdefault(hit.query_id, []).append(hit)
        return hits

    def __call__(self, queries: Mapping[str, str], k: int) -> Iterator[ScoredDoc]:
        """Yield the reranked hits of the queries."""
        return self._reranking([[hit for query_id in queries for hit in self._hits.get(query_id, ())]], k)
