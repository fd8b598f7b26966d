"""Brief measurement of a profile, where none is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elasticdenser.engine.batch_search import spelling_of
from elasticdenser.engine.profiling.measure import MeasureSettings, QualityByTokens, measure_profile
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.query_sample import sample_queries
from elasticdenser.engine.profiling.search_effort import retained_share
from elasticdenser.models.locate import profile_file
from elasticdenser.models.manifest import retention_by_length_of, retention_of
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

_QUERIES = (
    "who wrote the first novel about a desert planet",
    "how long does light take from the sun to the earth",
    "capital of the country with the most islands",
    "when did the first railway open",
)
"""For an index without texts: only the lengths of the queries matter."""
_TOKENS = (32, 256)
"""Between these lengths, and beyond them, run times grow nearly linearly."""


def quick_profile(
    retriever: Retriever, *, k: int = 10, rerankings: Sequence[str] | None = None, progress: Progress = silent
) -> Profile:
    """Measure for about two seconds the levels that come with the encoder, or all of its subnets if none do.

    Quality (also by length, where known) and search efforts of levels that come with the encoder are taken as they are;
    only the run times are measured. Levels that rerank take some seconds more, and their quality is estimated from few
    queries. `elasticdenser profile` measures for longer, and chooses the efforts for the index.

    Args:
        retriever: The retriever; it runs in the calling thread.
        k: Number of hits.
        rerankings: What is reranked at further levels, such as `50:w0.5-d3`; None is the retriever's own reranker, if
            that is an `ElasticReranker`.
        progress: Called with (activity, done, total).
    """
    folder = retriever.encoder.location.path
    path = None if retriever.encoder.subnets_misfit else profile_file(folder)
    # Levels that rerank belong to some ranker, and not to the encoder. Those that escalate are not timed: some of their
    # queries take many times as long as others.
    shipped_levels = () if path is None else Profile.load(path).levels
    loaded = [level for level in shipped_levels if not (level.parts.stages or level.parts.escalation)]
    shipped = Profile(levels=loaded) if loaded else None
    queries = sample_queries(retriever, 64) if retriever.index.has_texts else _QUERIES
    settings = MeasureSettings(
        levels=() if shipped is None else tuple(level.name for level in shipped.levels),
        batch_sizes=(1, 4, 16, 32),
        tokens=_TOKENS,
        k=k,
        rounds=5,
        rerankings=_own_reranking(retriever) if rerankings is None else tuple(rerankings),
        rerank_queries=16,
        rerank_subnets=2,
    )
    by_length = retention_by_length_of(folder)
    if shipped is None:
        return measure_profile(
            retriever,
            queries,
            settings,
            quality=retention_of(folder),
            quality_by_tokens=by_length,
            progress=progress,
        )
    quality = {level.name: level.quality for level in shipped.levels}
    recalls = {level.name: level.recall for level in shipped.levels}
    return measure_profile(
        retriever,
        queries,
        settings,
        quality=quality,
        quality_by_tokens=_quality_by_tokens(shipped, by_length),
        recalls=recalls,
        progress=progress,
    )


def _own_reranking(retriever: Retriever) -> tuple[str, ...]:
    from elasticdenser.retrieval.reranking import ElasticReranker

    own = retriever.reranker
    if not isinstance(own, ElasticReranker) or not own.n_candidates:
        return ()
    stages, _, weight = spelling_of(own).partition("+")
    if not own.names_subnets:
        stages = ",".join(str(stage.n_candidates) for stage in own.stages)
    return (f"{stages}+{weight}" if weight else stages,)


def _quality_by_tokens(profile: Profile, retention_by_length: QualityByTokens) -> QualityByTokens:
    """Return the quality by length of each level: the profile's, or else the model's at the level's search effort."""
    return {
        level.name: level.quality_by_tokens
        or {
            tokens: share * retained_share(level.recall)
            for tokens, share in retention_by_length.get(level.name, {}).items()
        }
        for level in profile.levels
    }
