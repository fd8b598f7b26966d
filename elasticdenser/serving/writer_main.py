"""Main function of the process in which a server changes its indexes."""

from __future__ import annotations

import logging
import marshal
import os
import pickle
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from elasticdenser.encoders import PassageEncoder
from elasticdenser.engine.processes.messages import encode_error
from elasticdenser.errors import ElasticDenserError, ModelError
from elasticdenser.index.changes import Change, add_passages, delete_passages, encoder_of
from elasticdenser.index.compaction import compact_if_needed
from elasticdenser.index.contents import IndexContents
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.models.space import check_encodes_passages
from elasticdenser.serving.passage_writer import Addition, Deletion, Outcome

_log = logging.getLogger(__name__)

_NICENESS = 10
"""Against a process of the usual priority that wants the same core, this one gets a tenth of it."""


def main(file_descriptor: int) -> None:
    """Make changes until the connection is closed.

    Args:
        file_descriptor: File descriptor of a connection. Each message is a pickled `Addition` or `Deletion`, and gets
            one reply.
    """
    os.nice(_NICENESS)
    changer = _Changer()
    with suppress(EOFError, OSError), Connection(file_descriptor) as connection:
        while True:
            change: Addition | Deletion = pickle.loads(connection.recv_bytes())
            connection.send_bytes(_reply(changer, change))
            changer.compact(change.path)


def _reply(changer: _Changer, change: Addition | Deletion) -> bytes:
    try:
        made = changer.add(change) if isinstance(change, Addition) else changer.delete(change)
        fields = {name: getattr(made, name) for name in Outcome.__dataclass_fields__}
        return marshal.dumps((fields, None))
    except Exception as error:
        return encode_error(error)


class _Changer:
    """Makes changes with encoders that are loaded once."""

    def __init__(self) -> None:
        self._encoders: dict[tuple[EncoderFingerprint, str], PassageEncoder] = {}
        self._compacting = Thread()

    def add(self, addition: Addition) -> Change:
        """Add documents, which one core encodes."""
        vectors = None if addition.vectors is None else np.array(addition.vectors, np.float32)
        encoder = None if vectors is not None else self._encoder(addition)
        return add_passages(
            addition.path, addition.passages, encoder, vectors=vectors, only_new=addition.only_new, workers=1
        )

    def delete(self, deletion: Deletion) -> Change:
        """Delete documents; ids that are not in the index are only reported."""
        return delete_passages(deletion.path, deletion.doc_ids or (), filter=deletion.filter, missing_ok=True)

    def compact(self, path: Path) -> None:
        """Begin to merge segments if it is needed, beside further changes, which do not wait for it."""
        if not self._compacting.is_alive():
            self._compacting = Thread(target=_compact, args=(path,), daemon=True)
            self._compacting.start()

    def _encoder(self, addition: Addition) -> PassageEncoder:
        contents = IndexContents.read(addition.path)
        contents.check_unsharded()  # before seconds are spent on loading
        check_encodes_passages(contents.manifest.encoder)
        key = (contents.manifest.encoder, repr(sorted(addition.encoder_options.items())))
        if key not in self._encoders:
            options: dict[str, Any] = {**addition.encoder_options, "download": False}
            try:
                encoder = encoder_of(contents, **options)
            except ModelError:
                encoder = encoder_of(contents, addition.encoder, **options)
            self._encoders[key] = encoder.load()
        return self._encoders[key]


def _compact(path: Path) -> None:
    try:
        compact_if_needed(path)
    except ElasticDenserError as error:
        _log.warning("segments could not be merged: %s", error)
