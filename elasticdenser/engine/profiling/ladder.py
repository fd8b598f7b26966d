"""The ladder: the few levels that were chosen for an encoder, measured briefly where there is no profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elasticdenser.engine.profiling.measure import MeasureSettings, measure, sample_queries
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.models.locate import profile_file
from elasticdenser.models.manifest import retention_of
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

_QUERIES = (
    "who wrote the first novel about a desert planet",
    "how long does light take from the sun to the earth",
    "capital of the country with the most islands",
    "when did the first railway open",
)
"""For an index without texts: only their lengths matter."""


def quick_profile(retriever: Retriever, *, k: int = 10, progress: Progress = lambda what, done, total: None) -> Profile:
    """Measure for about two seconds the levels that come with the encoder, or all of its sizes if none do.

    What a ladder says of quality and search effort stands; only the times are taken here. `elasticdenser profile`
    measures longer, and chooses the efforts for the index.

    Args:
        retriever: What is measured, in the calling thread.
        k: Hits wanted.
        progress: Called with (what, done, of how many).
    """
    folder = retriever.encoder.location.path
    file = profile_file(folder)
    ladder = None if file is None else Profile.load(file)
    queries = sample_queries(retriever, 64) if retriever.index.has_texts else _QUERIES
    settings = MeasureSettings(
        levels=() if ladder is None else tuple(level.name for level in ladder.levels),
        batch_sizes=(1, 4, 16, 32),
        tokens=(),
        k=k,
        rounds=5,
    )
    if ladder is None:
        return measure(retriever, queries, settings, quality=retention_of(folder), progress=progress)
    quality = {level.name: level.quality for level in ladder.levels}
    recalls = {level.name: level.recall for level in ladder.levels}
    return measure(retriever, queries, settings, quality=quality, recalls=recalls, progress=progress)
