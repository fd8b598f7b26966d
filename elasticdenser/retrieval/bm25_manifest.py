"""Manifest of a BM25 index."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from elasticdenser.artifacts import write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.errors import IndexFormatError
from elasticdenser.index.layout import MANIFEST

FORMAT = "elasticdenser-bm25"
VERSION = 1
ANALYZER = "english: Porter stemmer, stop words"

_WAY_OUT = "build the index again with overwrite"


@dataclass(frozen=True, kw_only=True)
class Bm25Manifest:
    """Description of a BM25 index.

    Args:
        created: UTC, ISO 8601.
        n_passages: Passages that can be found.
        corpus: Origin of the passages: `name`, `sha256` of the content, `skipped` by reason.
        files: Size in bytes of each file in `lucene/`.
        pyserini: Version that built it.
        analyzer: How texts become words.
        version: Version of the format.
    """

    created: str
    n_passages: Annotated[int, msgspec.Meta(ge=1)]
    corpus: dict[str, Any]
    files: dict[str, Annotated[int, msgspec.Meta(ge=0)]]
    pyserini: str
    analyzer: str = ANALYZER
    version: int = VERSION

    def __post_init__(self) -> None:
        if not all(isinstance(self.corpus.get(key), str) for key in ("name", "sha256")):
            raise ValueError("its corpus has no name or no SHA-256")

    @classmethod
    def read(cls, folder: Path) -> Bm25Manifest:
        """Read the manifest in `folder`.

        Raises:
            IndexFormatError: It is missing, damaged, or of another format or version.
        """
        path = folder / MANIFEST
        try:
            value = loads_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            what = f"holds no {MANIFEST}" if folder.exists() else "does not exist"
            message = f"{folder} {what}, expected a BM25 index: build one there with Bm25Index.build"
            raise IndexFormatError(message) from None
        except (OSError, ValueError) as error:
            raise IndexFormatError(f"{path} cannot be read ({error}): {_WAY_OUT}") from None
        if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
            raise IndexFormatError(f"{path} is not the manifest of an {FORMAT}: give the folder of a BM25 index")
        if value.get("version") != VERSION:
            raise IndexFormatError(
                f"{folder} has format version {value.get('version')}, this elasticdenser reads {VERSION}: {_WAY_OUT}"
            )
        try:
            return from_value(cls, value, "manifest", error=IndexFormatError)
        except IndexFormatError as error:
            raise IndexFormatError(f"{path} is damaged ({error}): {_WAY_OUT}") from None

    def write(self, folder: Path) -> None:
        """Write the manifest into `folder`, atomically."""
        write_json(folder / MANIFEST, {"format": FORMAT, **asdict(self)})
