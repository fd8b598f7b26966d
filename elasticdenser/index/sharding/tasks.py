"""Tasks of a sharded build, one for each shard: each can run in any process that reaches the files, and be repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.datasets import Corpus, CorpusScan, scan_corpus
from elasticdenser.datasets.metadata import FieldType
from elasticdenser.index.build import build_index
from elasticdenser.index.journal import n_finished
from elasticdenser.index.layout import MANIFEST, building_folder
from elasticdenser.index.locking import exclusive_lock
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.plan import BuildSettings
from elasticdenser.index.rebuilding import rebuild_derived
from elasticdenser.progress import Progress

if TYPE_CHECKING:
    from elasticdenser.encoders import PassageEncoder
    from elasticdenser.encoders.deferred import DeferredPassageEncoder

UNTRAINED = "Flat"
"""Structure that every shard gets first; codebooks are trained once the vectors of all shards are there."""

_WAIT_S = 120.0
"""How long a shard is waited for: the process of a lost node may live a little longer than the node."""


@dataclass(frozen=True, kw_only=True)
class ScanRange:
    """Check and count the passages of a shard's range of the corpus, and write the hashes of their ids.

    Args:
        corpus: The range.
        folder: Folder of the shard; if it is finished, the corpus is not read again.
        id_hashes: File to write the hashes to.
    """

    corpus: Corpus
    folder: Path
    id_hashes: Path

    def __call__(self, progress: Progress) -> CorpusScan:
        """Return the scan of the range.

        Raises:
            BadInputError: The range has a fault.
        """
        if self.id_hashes.exists() and (self.folder / MANIFEST).exists():
            manifest = Manifest.read(self.folder)
            skipped = manifest.corpus["skipped"]
            return CorpusScan(
                n_passages=manifest.n_documents or manifest.n_passages,
                sha256=manifest.corpus["sha256"],
                n_skipped=sum(skipped.values()),
                skipped=skipped,
                repeated_ids=frozenset(),
                metadata={name: FieldType.parse(kind) for name, kind in (manifest.metadata or {}).items()},
            )
        return scan_corpus(
            self.corpus,
            self.id_hashes.parent,
            progress=lambda done: progress("reading", done, 0),
            id_hashes=self.id_hashes,
        )


@dataclass(frozen=True, kw_only=True)
class EncodeShard:
    """Build a shard without a trained structure, or continue its build at its journal.

    Args:
        corpus: The range of the corpus.
        scan: Its scan.
        folder: Folder of the shard.
        encoder: The encoder.
        settings: Settings of the build of the whole.
    """

    corpus: Corpus
    scan: CorpusScan
    folder: Path
    encoder: PassageEncoder | DeferredPassageEncoder
    settings: BuildSettings

    def __call__(self, progress: Progress) -> None:
        """Build the shard, unless it is finished.

        Raises:
            BuildError: Another process is building it, or the disk refuses.
        """
        with exclusive_lock(self.folder, _WAIT_S):
            if not (self.folder / MANIFEST).exists():
                own = replace(self.settings, factory=UNTRAINED, overwrite=False, restart=True)
                build_index(self.corpus, self.folder, self.encoder, own, progress, is_locked=True, scan=self.scan)


@dataclass(frozen=True, kw_only=True)
class DeriveStructure:
    """Derive the search structure of a shard, with the codebooks that all shards share.

    Args:
        folder: Folder of the shard.
        factory: Factory string of the structure.
        codebooks: Folder of the codebooks.
    """

    folder: Path
    factory: str
    codebooks: Path

    def __call__(self, progress: Progress) -> None:
        """Derive the structure, unless the shard has it.

        Raises:
            BuildError: The structure cannot be built, or the disk refuses.
        """
        if Manifest.read(self.folder).structure.factory != self.factory:
            rebuild_derived(self.folder, self.factory, progress, codebooks=self.codebooks, wait_s=_WAIT_S)


def n_encoded(folder: Path) -> int:
    """Return how many passages of a shard are encoded, according to its manifest or its journal."""
    try:
        if (folder / MANIFEST).exists():
            return Manifest.read(folder).n_passages
        return n_finished(building_folder(folder))
    except OSError:  # it is just being renamed
        return 0
