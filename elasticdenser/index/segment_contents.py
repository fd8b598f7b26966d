"""Contents of a segment on disk, without opening its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elasticdenser.index.generation import DeletedPassages
from elasticdenser.index.layout import SEGMENTS
from elasticdenser.index.manifest import FileEntry, Manifest


@dataclass(frozen=True, kw_only=True)
class SegmentContents:
    """Contents of a segment.

    Attributes:
        path: Its folder, relative to that of the index.
        manifest: Its manifest.
        deleted: Its deleted passages; None if there are none.
    """

    path: str
    manifest: Manifest
    deleted: DeletedPassages | None = None

    @property
    def name(self) -> str:
        """Its name in the manifest of the generation."""
        return Path(self.path).name

    @property
    def n_passages(self) -> int:
        """Number of passages that are not deleted."""
        return self.manifest.n_passages - (self.deleted.n_passages if self.deleted else 0)

    @property
    def n_documents(self) -> int | None:
        """Number of documents that are not deleted, if documents were cut into chunks."""
        n_documents = self.manifest.n_documents
        return n_documents if n_documents is None else n_documents - ((self.deleted and self.deleted.n_documents) or 0)

    @property
    def files(self) -> dict[str, FileEntry]:
        """Size and checksum of every file, by its path in the folder of the index."""
        files = {str(Path(self.path, name)): entry for name, entry in self.manifest.files.items()}
        if self.deleted is not None:
            files[f"{SEGMENTS}/{self.deleted.file}"] = self.deleted.entry
        return files
