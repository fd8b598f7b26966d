"""Building of a sharded index, such that no interruption loses finished work.

The corpus is cut into ranges. Every range is checked and counted, all together are checked for repeated ids, and each
is encoded into a shard by the builder of ordinary indexes, whose journal is the checkpoint. Then codebooks are trained
once on vectors of all shards, and the search structures are derived with them. The folder gets its final name when it
is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elasticdenser.artifacts import explained_os_errors, flush_folder
from elasticdenser.datasets import Corpus, CorpusScan
from elasticdenser.datasets.cutting import cut_corpus, with_absolute_paths
from elasticdenser.datasets.metadata import FieldType
from elasticdenser.datasets.scan import count_repeats
from elasticdenser.datasets.schema import FieldsFound
from elasticdenser.encoders.deferred import DeferredPassageEncoder
from elasticdenser.errors import BadInputError, BuildError
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.earlier_builds import refuse_other_content
from elasticdenser.index.integrity import mark_verified, verified_files
from elasticdenser.index.layout import CODEBOOKS, SHARDS, building_folder
from elasticdenser.index.locking import exclusive_lock
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.plan import BuildSettings
from elasticdenser.index.publishing import recover, replace_folder
from elasticdenser.index.repeated_ids import hashes_in_several
from elasticdenser.index.sharding.codebooks import train_codebooks
from elasticdenser.index.sharding.manifest import Codebooks, ShardedManifest, shard_folder
from elasticdenser.index.sharding.plan import CODEBOOKS_STATE, SAMPLE, SCANS, ShardingPlan, remove
from elasticdenser.index.sharding.runner import InTurn, Runner
from elasticdenser.index.sharding.tasks import UNTRAINED, DeriveStructure, EncodeShard, ScanRange, n_encoded
from elasticdenser.index.sharding.up_to_date import is_up_to_date
from elasticdenser.index.structures import check_factory, choose_factory
from elasticdenser.index.structures.registry import AUTO
from elasticdenser.progress import Progress
from elasticdenser.query_input import checked_count
from elasticdenser.ray_connection import ray_cluster

if TYPE_CHECKING:
    from elasticdenser.encoders import PassageEncoder

MAX_SHARDS = 10_000


def build_shards(
    corpus: Corpus,
    path: Path,
    encoder: PassageEncoder | DeferredPassageEncoder,
    settings: BuildSettings,
    n_shards: int | None,
    progress: Progress,
    *,
    ray: str | None = None,
) -> None:
    """Build a sharded index in this process or, given the address of a Ray cluster, there; see `build_sharded_index`.

    Raises:
        BuildError: As that raises it, or the cluster cannot be reached.
        MissingExtraError: Ray is not installed.
    """
    if n_shards is None:
        raise BuildError("got --ray without --shards, expected both: --shards 8 builds eight shards at a time on Ray")
    if ray is None:
        build_sharded_index(corpus, path, encoder, settings, n_shards, progress)
        return
    from elasticdenser.index.sharding.ray_runner import RayRunner

    device = encoder.device if isinstance(encoder, DeferredPassageEncoder) else "cpu"
    settings = replace(settings, workers=settings.workers or 1)
    with (
        ray_cluster(ray, "building on Ray") as cluster,
        closing(RayRunner(cluster, cpus=settings.workers or 1, device=device)) as runner,
    ):
        build_sharded_index(with_absolute_paths(corpus), path.absolute(), encoder, settings, n_shards, progress, runner)


def build_sharded_index(
    corpus: Corpus,
    path: Path,
    encoder: PassageEncoder | DeferredPassageEncoder,
    settings: BuildSettings,
    n_shards: int,
    progress: Progress,
    runner: Runner | None = None,
) -> None:
    """Encode `corpus` into a new sharded index at `path`, or continue the build that was interrupted there.

    Args:
        corpus: The passages, in files or data sets.
        path: The index folder to create, as `resolve_path` returns it.
        encoder: The full encoder; to run in other processes it has to be one that can be pickled, such as a deferred
            one.
        settings: Settings of the build.
        n_shards: Number of shards, at least 1.
        progress: Called with (step, done, in all).
        runner: Where the shards are built; by default one after another in this process.

    Raises:
        BuildError: Another build is running there, something else is in that place, or the disk refuses.
        BadInputError: The corpus has a fault, or cannot be cut into so many ranges.
    """
    if not 1 <= checked_count(n_shards, "shards", least=0, error=BuildError) <= MAX_SHARDS:
        raise BuildError(f"got {n_shards:,} shards, expected 1 to {MAX_SHARDS:,}")
    check_factory(settings.factory, encoder.dim)
    with exclusive_lock(path):
        recover(path)
        refuse_other_content(path, settings)
        ranges = cut_corpus(corpus, n_shards)
        plan = ShardingPlan.of(
            ranges,
            encoder.fingerprint,
            texts=settings.texts,
            chunking=settings.chunking,
            stemmer=settings.stemmer,
        )
        work = building_folder(path)
        plan.adopt(work, restart=settings.restart)
        build = _ShardedBuild(work, ranges, encoder, settings, runner or InTurn(), progress)
        build.scan()
        if is_up_to_date(path, plan, build.scans, settings):
            remove(work)
            return
        build.check_ids(corpus)
        build.encode()
        build.finish()
        _publish(work, path)


class _ShardedBuild:
    """Steps of a sharded build, each of which can be repeated.

    Args:
        work: The build folder.
        ranges: The range of the corpus of each shard.
        encoder: The encoder.
        settings: Settings of the build.
        runner: Runs the tasks of shards.
        progress: Called with (step, done, in all).

    Attributes:
        scans: Scans of the ranges, once `scan` was called.
    """

    def __init__(
        self,
        work: Path,
        ranges: Sequence[Corpus],
        encoder: PassageEncoder | DeferredPassageEncoder,
        settings: BuildSettings,
        runner: Runner,
        progress: Progress,
    ) -> None:
        self._work, self._ranges, self._encoder = work, ranges, encoder
        self._settings, self._runner, self._progress = settings, runner, progress
        self._names = [f"{number:05}" for number in range(len(ranges))]
        self._folders = [shard_folder(work, name) for name in self._names]
        self._hash_files = [work / SCANS / f"{name}.u64" for name in self._names]
        self.scans: list[CorpusScan] = []

    def scan(self) -> None:
        """Check and count the passages of all ranges.

        Raises:
            BadInputError: A range has a fault, a field that was named is in none, or a metadata field is of different
                types in several.
        """
        tasks = [
            ScanRange(corpus=corpus, folder=folder, id_hashes=file)
            for corpus, folder, file in zip(self._ranges, self._folders, self._hash_files, strict=True)
        ]
        scans = self._runner.run(tasks, "reading shards", self._progress)
        FieldsFound.in_all(scan.fields for scan in scans).check(self._ranges[0].name)
        self.scans = _with_joined_metadata(scans)

    def check_ids(self, corpus: Corpus) -> None:
        """Refuse ids that are in several ranges.

        Raises:
            BadInputError: There are some; the message names two places of one.
        """
        hashes = hashes_in_several([np.memmap(file, dtype="<u8", mode="r") for file in self._hash_files])
        if not len(hashes):
            return
        repeats, _ = count_repeats(corpus, {value.tobytes() for value in hashes})
        if repeats:
            raise BadInputError(
                f"{len(repeats):,} ids are in several shards, such as {min(repeats)!r}, expected each in one: remove "
                "the repeated passages, which --skip-bad skips only within a shard, or leave out --shards"
            )

    def encode(self) -> None:
        """Encode all ranges."""
        tasks = [
            EncodeShard(corpus=corpus, scan=scan, folder=folder, encoder=self._encoder, settings=self._settings)
            for corpus, scan, folder in zip(self._ranges, self.scans, self._folders, strict=True)
        ]
        n_passages = sum(scan.n_passages for scan in self.scans)
        if self._settings.chunking:
            n_passages = 0  # each shard counts its chunks
        else:
            check_factory(self._settings.factory, self._encoder.dim, n_passages)
        self._runner.run(tasks, "encoding", self._progress, lambda: (sum(map(n_encoded, self._folders)), n_passages))

    def finish(self) -> None:
        """Derive the search structures, and write the manifest, which makes the index complete."""
        sizes = [Manifest.read(folder).n_passages for folder in self._folders]
        dim, factory = self._encoder.dim, self._settings.factory
        if factory == AUTO:
            factory = choose_factory(sum(sizes) // len(sizes), dim)
        check_factory(factory, dim, sum(sizes))
        codebooks = self._derive(factory)
        for name in (SCANS, SAMPLE, CODEBOOKS_STATE, *([] if codebooks else [CODEBOOKS])):
            remove(self._work / name)
        with explained_os_errors(self._work):
            flush_folder(self._work / SHARDS)
            ShardedManifest.of_shards(self._work, self._names, codebooks).write(self._work)

    def _derive(self, factory: str) -> Codebooks | None:
        """Derive the structures of all shards, and return what they share."""
        codebooks = None
        if factory != UNTRAINED:
            self._progress("training", 0, 1)
            codebooks = train_codebooks(self._work, self._folders, factory)
            self._progress("training", 1, 1)
        tasks = [
            DeriveStructure(folder=folder, factory=factory, codebooks=self._work / CODEBOOKS)
            for folder in self._folders
            if Manifest.read(folder).structure.factory != factory
        ]
        if tasks:
            self._runner.run(tasks, "deriving structures", self._progress)
        return codebooks


def _with_joined_metadata(scans: Sequence[CorpusScan]) -> list[CorpusScan]:
    """Return scans of ranges with the types that metadata fields have in all of them.

    Raises:
        BadInputError: A field has values of different types in several ranges.
    """
    joined: dict[str, FieldType] = {}
    for scan in scans:
        for name, found in scan.metadata.items():
            known = joined.get(name, found)
            kind = known.joined(found)
            if kind is None:
                raise BadInputError(
                    f"the metadata field {name!r} is of type {known} in one shard and {found} in another, expected one "
                    f"type: declare it, such as --metadata {name}:text"
                )
            joined[name] = kind
    return [replace(scan, metadata=joined) for scan in scans]


def _publish(work: Path, path: Path) -> None:
    """Give the complete index its final name, and record which of its files are known to be undamaged."""
    replace_folder(work, path)
    contents = IndexContents.read(path)
    names = [f"{CODEBOOKS}/{file.name}" for file in (path / CODEBOOKS).glob("*")]
    for shard in contents.segments:
        names += [f"{shard.path}/{name}" for name in verified_files(path / shard.path, shard.manifest.files)]
    mark_verified(path, names)
