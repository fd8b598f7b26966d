"""Texts of some passages of a corpus, collected in one pass into a temporary file, so that memory holds only ids."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

from elasticdenser.artifacts import explained_os_errors
from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import BadInputError
from elasticdenser.progress import Progress, silent

_PROGRESS_EVERY = 1000
"""Passages between two calls of `progress`."""


class CollectedTexts:
    """Texts of passages by document id, title and space first; safe to use from several threads.

    Use `collect_texts`. The file is deleted with the object.
    """

    def __init__(self) -> None:
        with explained_os_errors(Path(tempfile.gettempdir())):
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the object is in use
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, doc_id: str) -> bool:
        return doc_id in self._places

    def __getitem__(self, doc_id: str) -> str:
        start, length = self._places[doc_id]
        return os.pread(self._file.fileno(), length, start).decode()

    def add(self, passage: Passage) -> None:
        """Store the text of a passage.

        Raises:
            BadInputError: There is another text for this id.
            BuildError: The disk refuses.
        """
        if passage.doc_id in self:
            self.flush()
            if self[passage.doc_id] != passage.content:
                raise BadInputError(
                    f"the corpus has two texts for the id {passage.doc_id!r}, expected one: rename one of the passages"
                )
            return
        text = passage.content.encode()
        with explained_os_errors(Path(tempfile.gettempdir())):
            self._file.write(text)
        self._places[passage.doc_id] = (self._end, len(text))
        self._end += len(text)

    def flush(self) -> None:
        """Write what is still in memory, before texts are read.

        Raises:
            BuildError: The disk refuses.
        """
        with explained_os_errors(Path(tempfile.gettempdir())):
            self._file.flush()


def collect_texts(
    corpus: Iterable[Passage], doc_ids: Collection[str] | None = None, progress: Progress = silent
) -> CollectedTexts:
    """Return the texts of those of the ids that are in a corpus; without ids, of all passages.

    Args:
        corpus: The passages, read once.
        doc_ids: The ids; lookups should be fast, as in a set.
        progress: Called with (step, passages read, 0).

    Raises:
        BadInputError: The corpus has a fault, or two texts for an id.
    """
    texts = CollectedTexts()
    for number, passage in enumerate(corpus, start=1):
        if doc_ids is None or passage.doc_id in doc_ids:
            texts.add(passage)
        if number % _PROGRESS_EVERY == 0:
            progress("reading the corpus", number, 0)
    texts.flush()
    return texts
