"""Plan of a sharded build: the ranges of the corpus and the encoder; a build is continued only under the same plan."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elasticdenser.artifacts import explained_os_errors, flush_folder, write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.datasets import Corpus, CorpusScan
from elasticdenser.datasets.metadata import MetadataSelection
from elasticdenser.datasets.metadata.selection import ALL
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.chunking import Chunking
from elasticdenser.index.layout import CODEBOOKS, JOURNAL, MANIFEST, PLAN, SHARDS
from elasticdenser.index.plan import BuildPlan
from elasticdenser.models.settings import EncoderFingerprint

SCANS, SAMPLE, CODEBOOKS_STATE = "scans", "sample", "codebooks.json"
"""Folders of a build with the hashes of the ids of each range, and with the vectors that codebooks are trained on; and
the file with the description of finished codebooks."""


@dataclass(frozen=True, kw_only=True)
class ShardingPlan:
    """Content of the sharded index that is being built.

    Args:
        ranges: For each shard its parts of the corpus, such as `passages.jsonl 0-1048576`.
        files: Size and time of the last change (ns) of each file of the corpus, so that finished shards need not be
            compared with it.
        encoder: Fingerprint of the encoder; its dtype is the requested one.
        has_texts: Whether the texts are stored.
        chunking: How documents are cut into passages; None if they are not.
        skip_bad: Whether bad lines are skipped.
        metadata: The fields that are kept as metadata, with the types that were declared.
        stemmer: How the words of the passages are indexed; None if they are not.
    """

    ranges: tuple[tuple[str, ...], ...]
    files: dict[str, tuple[int, int]]
    encoder: EncoderFingerprint
    has_texts: bool
    chunking: Chunking | None
    skip_bad: bool
    metadata: str
    stemmer: str | None

    @classmethod
    def of(
        cls,
        ranges: Sequence[Corpus],
        encoder: EncoderFingerprint,
        *,
        texts: bool,
        chunking: Chunking | None,
        stemmer: str | None = None,
    ) -> ShardingPlan:
        """Return the plan for some ranges of a corpus."""
        files = {part.path for corpus in ranges for part in corpus.parts if Path(part.path).is_file()}
        stats = {path: Path(path).stat() for path in sorted(files)}
        return cls(
            ranges=tuple(
                tuple(
                    f"{part.path} {part.within.start}-{part.within.stop}" if part.within else part.path
                    for part in corpus.parts
                )
                for corpus in ranges
            ),
            files={path: (stat.st_size, stat.st_mtime_ns) for path, stat in stats.items()},
            encoder=encoder,
            has_texts=texts,
            chunking=chunking,
            skip_bad=ranges[0].skip_bad,
            metadata=_selected(ranges[0].metadata),
            stemmer=stemmer,
        )

    @classmethod
    def read(cls, work: Path) -> ShardingPlan | None:
        """Return the plan of the build in `work`, or None if there is none or it cannot be read."""
        try:
            value = loads_json((work / PLAN).read_text(encoding="utf-8"))
            return from_value(cls, value, PLAN, error=IndexFormatError)
        except (OSError, ValueError, IndexFormatError):
            return None

    def build_plans(self, scans: Sequence[CorpusScan]) -> list[BuildPlan]:
        """Return the plan of each shard, given the scans of the ranges; chunks are not counted."""
        return [
            BuildPlan(
                n_passages=scan.n_passages,
                corpus={"sha256": scan.sha256},
                encoder=self.encoder,
                has_texts=self.has_texts,
                chunking=self.chunking,
                n_documents=None if self.chunking is None else scan.n_passages,
                metadata={name: str(kind) for name, kind in scan.metadata.items()} or None,
            )
            for scan in scans
        ]

    def adopt(self, work: Path, *, restart: bool) -> None:
        """Continue the build in `work` if its plan is this one, else start a new build there.

        Args:
            work: The build folder.
            restart: Whether an unfinished build under another plan may be discarded.

        Raises:
            BuildError: It is of another plan, or holds something else; or the disk refuses.
        """
        with explained_os_errors(work):
            work.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in work.iterdir() if not entry.match(".*.tmp")}
            unfinished = ShardingPlan.read(work) if PLAN in names else None
            if unfinished != self:
                if _holds_encoded(work) and not restart:
                    raise BuildError(_refusal(work, self, unfinished))
                if foreign := names - {PLAN, SHARDS, CODEBOOKS, SCANS, SAMPLE, CODEBOOKS_STATE, MANIFEST}:
                    raise BuildError(
                        f"{work} holds something that is not of a build of shards ({min(foreign)}): remove it, or "
                        "choose another place with -o"
                    )
                (work / PLAN).unlink(missing_ok=True)
                for name in names - {PLAN}:
                    remove(work / name)
                write_json(work / PLAN, asdict(self))
            for name in (SHARDS, SCANS):
                (work / name).mkdir(exist_ok=True)
            flush_folder(work)


def _holds_encoded(work: Path) -> bool:
    """Return whether passages were encoded in a build folder."""
    shards = work / SHARDS
    return any(shards.glob(f"*/{MANIFEST}")) or any(file.stat().st_size for file in shards.glob(f"*/{JOURNAL}"))


def remove(path: Path) -> None:
    """Remove a file or a folder of the build."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refusal(work: Path, plan: ShardingPlan, unfinished: ShardingPlan | None) -> str:
    """Return the message for a build folder of something else."""
    what = "of something else"
    if unfinished is not None:
        mine, theirs = (_described(one) for one in (plan, unfinished))
        differences = [f"{key}: {mine[key]} against {theirs[key]}" for key in mine if mine[key] != theirs[key]]
        what = f"of something else (requested against existing: {'; '.join(differences)})"
    return (
        f"{work} holds an unfinished build {what}: run the command it was started with, discard it with --restart, or "
        "choose another place with -o"
    )


def _described(plan: ShardingPlan) -> dict[str, Any]:
    return {
        "shards": len(plan.ranges),
        "corpus": f"{len(plan.files)} files, {sum(size for size, _ in plan.files.values()):,} bytes, last changed at "
        f"{max((time for _, time in plan.files.values()), default=0)} ns",
        "ranges": " ".join(plan.ranges[0]),
        "encoder": f"{plan.encoder.weights_sha256[:12]} {plan.encoder.dtype} {plan.encoder.settings}",
        "texts stored": plan.has_texts,
        "chunks": str(plan.chunking or "none"),
        "bad lines skipped": plan.skip_bad,
        "metadata": plan.metadata or "none",
        "words": f"stemmer {plan.stemmer}" if plan.stemmer else "not indexed",
    }


def _selected(selection: MetadataSelection) -> str:
    fields = [name if kind is None else f"{name}:{kind}" for name, kind in selection.types.items()]
    return ",".join([*fields, *([ALL] if selection.keeps_all else [])])
