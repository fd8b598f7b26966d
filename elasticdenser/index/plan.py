"""Settings and plan of a build: its passages and encoder. An unfinished build continues only under the same plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elasticdenser.artifacts import write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.errors import BuildError, IndexFormatError
from elasticdenser.index.chunking import Chunking
from elasticdenser.index.layout import PLAN
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.structures.registry import AUTO
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.query_input import checked_count


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """Settings of a build.

    Args:
        factory: Factory string of the search structure, or `auto`.
        texts: Whether the passages' texts are stored beside the vectors.
        overwrite: Whether a finished index of that name may be replaced, once the new one is complete.
        restart: Whether an unfinished build with another plan in that place may be discarded.
        workers: Cores to encode on; None is all usable ones.
        chunking: How documents are cut into passages; None if they are not.
        stemmer: Stemmer of the postings for search by words; None builds no postings.

    Raises:
        BuildError: A setting is of another type, or there are no cores.
    """

    factory: str = AUTO
    texts: bool = True
    overwrite: bool = False
    restart: bool = False
    workers: int | None = None
    chunking: Chunking | None = None
    stemmer: str | None = None

    def __post_init__(self) -> None:
        for name in ("texts", "overwrite", "restart"):
            if not isinstance(getattr(self, name), bool):
                raise BuildError(f"got {name} = {getattr(self, name)!r}, expected True or False")
        if self.workers is not None:
            checked_count(self.workers, "workers", error=BuildError)


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Content of the index that is being built.

    Args:
        n_passages: Number of passages.
        corpus: Origin of the passages, as in the manifest.
        encoder: Fingerprint of the encoder.
        has_texts: Whether the texts are stored.
        chunking: How documents are cut into passages; None if they are not.
        n_documents: Number of documents, if they are cut into passages.
        metadata: Types of the metadata fields by name; None without metadata.
    """

    n_passages: int
    corpus: dict[str, Any]
    encoder: EncoderFingerprint
    has_texts: bool
    chunking: Chunking | None = None
    n_documents: int | None = None
    metadata: dict[str, str] | None = None

    @classmethod
    def of_index(cls, manifest: Manifest) -> BuildPlan:
        """Return the plan that a finished index was built by."""
        return cls(
            n_passages=manifest.n_passages,
            corpus=manifest.corpus,
            encoder=manifest.encoder,
            has_texts=manifest.has_texts,
            chunking=manifest.chunking,
            n_documents=manifest.n_documents,
            metadata=manifest.metadata,
        )

    @classmethod
    def read(cls, work: Path) -> BuildPlan | None:
        """Return the plan of the build in the folder `work`, or None if there is none or it cannot be read."""
        try:
            value = loads_json((work / PLAN).read_text(encoding="utf-8"))
            return from_value(cls, value, PLAN, error=IndexFormatError)
        except (FileNotFoundError, ValueError, IndexFormatError):
            return None

    def write(self, work: Path) -> None:
        """Write the plan into the build folder, atomically."""
        value = {
            "n_passages": self.n_passages,
            "corpus": self.corpus,
            "encoder": self.encoder.to_json(),
            "has_texts": self.has_texts,
            "chunking": None if self.chunking is None else asdict(self.chunking),
            "n_documents": self.n_documents,
            "metadata": self.metadata,
        }
        write_json(work / PLAN, value)

    def differences(self, other: BuildPlan) -> list[str]:
        """Return a line for every difference that prevents a build under `other` from continuing under this plan."""
        differences = self.encoder.differences_of_passages(other.encoder)
        if self.corpus.get("sha256") != other.corpus.get("sha256"):
            mine, theirs = (plan.n_documents or plan.n_passages for plan in (self, other))
            differences.append(f"corpus: {mine:,} passages against {theirs:,}, with other content")
        if self.chunking != other.chunking:
            differences.append(f"chunks: {self.chunking or 'none'} against {other.chunking or 'none'}")
        if self.has_texts != other.has_texts:
            differences.append(f"texts stored: {self.has_texts} against {other.has_texts}")
        if self.metadata != other.metadata:
            differences.append(f"metadata: {_fields(self.metadata)} against {_fields(other.metadata)}")
        return differences


def _fields(metadata: dict[str, str] | None) -> str:
    return ", ".join(f"{name}:{kind}" for name, kind in metadata.items()) if metadata else "none"
