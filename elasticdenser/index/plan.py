"""Plan of a build: which passages, by which encoder. Work done under one plan serves another only if they agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticdenser.artifacts import write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.layout import PLAN
from elasticdenser.index.manifest import Manifest
from elasticdenser.models.settings import EncoderFingerprint


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Content of the index that is being built.

    Args:
        n_passages: Number of passages.
        corpus: Origin of the passages, as in the manifest.
        encoder: Fingerprint of the encoder.
        has_texts: Whether the texts are stored.
    """

    n_passages: int
    corpus: dict[str, Any]
    encoder: EncoderFingerprint
    has_texts: bool

    @classmethod
    def of_index(cls, manifest: Manifest) -> BuildPlan:
        """Return the plan that a finished index was built by."""
        return cls(
            n_passages=manifest.n_passages,
            corpus=manifest.corpus,
            encoder=manifest.encoder,
            has_texts=manifest.has_texts,
        )

    @classmethod
    def read(cls, work: Path) -> BuildPlan | None:
        """Return the plan of the build in the folder `work`, or None if there is none that can be used."""
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
        }
        write_json(work / PLAN, value)

    def differences(self, other: BuildPlan) -> list[str]:
        """Return a line for everything that prevents work done under `other` from serving this plan."""
        differences = self.encoder.differences_of_passages(other.encoder)
        if self.corpus.get("sha256") != other.corpus.get("sha256"):
            differences.append(f"corpus: {self.n_passages:,} passages against {other.n_passages:,}, with other content")
        if self.has_texts != other.has_texts:
            differences.append(f"texts stored: {self.has_texts} against {other.has_texts}")
        return differences
