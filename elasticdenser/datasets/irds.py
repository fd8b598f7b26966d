"""Data sets of ir_datasets, used such that no file of the user is deleted and nothing is downloaded unless allowed."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from elasticdenser.datasets.irds_guard import Guard, install_checks
from elasticdenser.datasets.part_range import PartRange
from elasticdenser.errors import BadInputError, DataMissingError

_BLOCK = 256
"""Records that are read at a time while the guard is entered."""

_install_lock = threading.Lock()
_is_installed = False


class IrdsDataset:
    """Data set of ir_datasets that is only read within a `Guard`.

    Args:
        dataset_id: Its id, such as `msmarco-passage/dev/small`.
        dataset: The object that ir_datasets loaded.
        download: Whether ir_datasets may download missing files.
    """

    def __init__(self, dataset_id: str, dataset: Any, download: bool) -> None:
        self.dataset_id = dataset_id
        self._dataset = dataset
        self._download = download

    def has_docs(self) -> bool:
        """Return whether it has passages or documents."""
        return bool(self._dataset.has_docs())

    def has_queries(self) -> bool:
        """Return whether it has queries."""
        return bool(self._dataset.has_queries())

    def has_qrels(self) -> bool:
        """Return whether it has relevance judgements."""
        return bool(self._dataset.has_qrels())

    def docs_iter(self, within: PartRange | None = None) -> Iterator[Any]:
        """Stream the documents as records of ir_datasets, or some of them.

        Args:
            within: The positions of the documents; None streams all.

        Raises:
            BadInputError: Files are missing or unreadable.
        """
        return self._stream("docs", within)

    def docs_count(self) -> int:
        """Return the number of documents; where ir_datasets does not know it, they are read.

        Raises:
            BadInputError: Files are missing or unreadable.
        """
        with Guard(self.dataset_id, self._download):
            count = self._dataset.docs_count()
        return sum(1 for _ in self.docs_iter()) if count is None else int(count)

    def queries_iter(self) -> Iterator[Any]:
        """Stream the queries as records of ir_datasets.

        Raises:
            BadInputError: Files are missing or unreadable.
        """
        return self._stream("queries")

    def qrels_iter(self) -> Iterator[Any]:
        """Stream the judgements as records of ir_datasets.

        Raises:
            BadInputError: Files are missing or unreadable.
        """
        return self._stream("qrels")

    def docs_bytes(self) -> int | None:
        """Return the size of the file of documents, or None if there is no such file or several."""
        try:
            with Guard(self.dataset_id, download=False):
                path = Path(self._dataset.docs_path(force=False))
        except BadInputError:  # some data sets do not tell the path of their documents
            return None
        return path.stat().st_size if path.is_file() else None

    def _stream(self, kind: str, within: PartRange | None = None) -> Iterator[Any]:
        if not getattr(self, f"has_{kind}")():
            message = f"the ir_datasets id {self.dataset_id!r} has no {kind}: choose one that has"
            raise BadInputError(message)
        with Guard(self.dataset_id, self._download):
            records = iter(getattr(self._dataset, f"{kind}_iter")())
            if within is not None:
                # Slices of ir_datasets skip what is before them without parsing it.
                records = (
                    iter(records[within.start : within.stop])
                    if hasattr(records, "__getitem__")
                    else islice(records, within.start, within.stop)
                )
        while True:
            # The guard is not entered during a yield: the caller's own calls of ir_datasets stay unchanged.
            with Guard(self.dataset_id, self._download):
                block = list(islice(records, _BLOCK))
            if not block:
                return
            yield from block


def load_irds(dataset_id: str, *, download: bool = False) -> IrdsDataset:
    """Return a data set of ir_datasets by its id; its files are touched only when something is read.

    Args:
        dataset_id: Such as `msmarco-passage/dev/small`.
        download: Let ir_datasets download missing files. Otherwise a missing file is an error that says where it
            belongs. Existing files are never deleted.

    Raises:
        DataMissingError: There is no such id.
    """
    ir_datasets = import_ir_datasets()
    with Guard(dataset_id, download):
        try:
            dataset = ir_datasets.load(dataset_id)
        except KeyError:
            dataset = None
    if dataset is None:
        near = difflib.get_close_matches(dataset_id, list(ir_datasets.registry), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see https://ir-datasets.com for the ids"
        message = f"{dataset_id!r} is neither a file or folder nor an ir_datasets id: {hint}"
        raise DataMissingError(message)
    return IrdsDataset(dataset_id, dataset, download)


def import_ir_datasets() -> Any:
    """Import ir_datasets, and wrap those of its functions that delete and download in checks.

    The checks are active only within a `Guard`.

    Raises:
        BadInputError: Its folder cannot be created, or the checks do not fit this version.
    """
    global _is_installed
    try:
        import ir_datasets
    except OSError as error:
        message = f"ir_datasets cannot create its folder ({error}): set IR_DATASETS_HOME to one you can write to"
        raise BadInputError(message) from error
    with _install_lock:
        if not _is_installed:
            try:
                install_checks(ir_datasets)
            except AttributeError as error:
                message = f"cannot use ir_datasets {ir_datasets.__version__} safely ({error}): install 0.6.3"
                raise BadInputError(message) from error
            _is_installed = True
    return ir_datasets
