"""Documents of an index that have vanished from the folder that it was made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from elasticdenser.datasets.files import compression_of
from elasticdenser.datasets.records import id_of_name
from elasticdenser.errors import QueryError
from elasticdenser.index.chunking import document_of
from elasticdenser.index.contents import IndexContents

_MAX_SHARE = 0.5
"""Share of the documents of an index that may vanish: more is probably a mistake, such as a folder half mounted."""


def check_origin(contents: IndexContents, folder: Path) -> None:
    """Refuse to prune an index that holds passages of anything but a folder.

    Raises:
        QueryError: It holds others, which cannot be told from those of the folder.
    """
    sources = contents.manifest.corpus["sources"]
    if sources != folder.resolve().name:
        raise QueryError(
            f"{contents.folder} was made of {sources}, expected only the folder {folder.resolve().name}: which of its "
            "documents have vanished cannot be told, so delete them by id with `elasticdenser delete`"
        )


def vanished_documents(contents: IndexContents, ids: Iterable[str], found: Collection[str], folder: Path) -> list[str]:
    """Return the ids of the documents of an index that are no longer in a folder.

    Documents of a file that is there, but of which nothing was read, are not among them: it may be damaged for now.

    Args:
        contents: The index.
        ids: Ids of its passages.
        found: Ids of the documents that are in the folder.
        folder: The folder.

    Raises:
        QueryError: More than half of the documents have vanished.
    """
    is_cut = contents.manifest.chunking is not None
    held = list(dict.fromkeys(document_of(doc_id) if is_cut else doc_id for doc_id in ids))
    vanished = [doc_id for doc_id in held if doc_id not in found]
    if len(vanished) > _MAX_SHARE * len(held):
        raise QueryError(
            f"{len(vanished):,} of the {len(held):,} documents of {contents.folder} are not in {folder}, which is too "
            "many to prune: check the folder; if it is right, build the index again with --overwrite"
        )
    unread = _files_in(folder) - {_file_of(doc_id) for doc_id in found}
    return [doc_id for doc_id in vanished if _file_of(doc_id) not in unread]


def _file_of(doc_id: str) -> str:
    return doc_id.partition("#")[0]


def _files_in(folder: Path) -> set[str]:
    """Return the beginnings of the ids that documents in the files of a folder have."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {id_of_name((path.with_suffix("") if compression_of(path) else path).as_posix()) for path in files}
