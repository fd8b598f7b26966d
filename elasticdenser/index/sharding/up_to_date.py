"""Comparison of the sharded index that is wanted with what is in its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elasticdenser.datasets import CorpusScan
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.integrity import check_integrity
from elasticdenser.index.layout import MANIFEST
from elasticdenser.index.plan import BuildPlan, BuildSettings
from elasticdenser.index.sharding.plan import ShardingPlan
from elasticdenser.index.structures import choose_factory
from elasticdenser.index.structures.registry import AUTO


def is_up_to_date(path: Path, plan: ShardingPlan, scans: Sequence[CorpusScan], settings: BuildSettings) -> bool:
    """Return whether `path` is already the requested index.

    Raises:
        BuildError: It is another index, which must not be replaced.
    """
    if not (path / MANIFEST).exists():
        return False
    try:
        contents = IndexContents.read(path)
        differences = _differences(contents, plan, scans, settings)
        if not differences:
            check_integrity(path, contents.manifest)
            return True
    except IndexFormatError as error:
        if settings.overwrite:
            return False
        raise BuildError(f"{error}; or choose another place with -o") from None
    if settings.overwrite:
        return False
    raise BuildError(
        f"{path} is already an index of something else (requested against existing: {'; '.join(differences)}): choose "
        "another place with -o, or replace it with --overwrite"
    )


def _differences(
    contents: IndexContents, plan: ShardingPlan, scans: Sequence[CorpusScan], settings: BuildSettings
) -> list[str]:
    """Return a line for every difference between the wanted shards and those of an index."""
    if contents.sharded is None or len(contents.segments) != len(scans):
        n_shards = 0 if contents.sharded is None else len(contents.segments)
        return [f"shards: {len(scans)} against {n_shards or 'none'}"]
    wanted = plan.build_plans(scans)
    for shard, one in zip(contents.segments, wanted, strict=True):
        if differences := one.differences(BuildPlan.of_index(shard.manifest)):
            return [f"shard {shard.name}: {difference}" for difference in differences]
    if plan.stemmer != contents.manifest.stemmer:
        return [f"words: stemmer {plan.stemmer or 'none'} against {contents.manifest.stemmer or 'none'}"]
    existing = contents.manifest.structure.factory
    factory = settings.factory
    if factory == AUTO:
        factory = choose_factory(contents.manifest.n_passages // len(scans), contents.manifest.dim)
    return [] if factory == existing else [f"structure: {factory} against {existing}"]
