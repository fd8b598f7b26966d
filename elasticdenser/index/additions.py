"""Choice of the documents of a corpus that are added to an index, and vectors that are given instead of computed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import compress

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.datasets.corpora import LocatedPassage
from elasticdenser.errors import BadInputError
from elasticdenser.index.chunker import Chunker
from elasticdenser.index.manifest import Manifest
from elasticdenser.index.segment import Segment
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.progress import Progress

_PROGRESS_EVERY = 4096
"""Documents between two reports of progress."""

_LENGTH_TOLERANCE = 1e-3
"""Difference from 1 of the length of a normalised vector."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Documents of a corpus that are added.

    Attributes:
        source: The corpus.
        is_selected: For each of its documents, 1 or 0.
        n_new: Number of selected documents whose ids are not in the index.
        ids: Ids of all documents, if they are wanted.
        digest: Hash of the selected documents.
        skipped: Bad lines of the corpus that were skipped, by reason.
    """

    source: Corpus
    is_selected: bytearray
    n_new: int
    ids: Set[str]
    digest: str
    skipped: Mapping[str, int]

    @property
    def n_selected(self) -> int:
        """Number of documents that are added."""
        return sum(self.is_selected)

    @property
    def n_left_out(self) -> int:
        """Number of documents that are not."""
        return len(self.is_selected) - self.n_selected

    def corpus(self) -> Corpus:
        """Return the documents that are added, as a corpus."""
        return _SelectedCorpus(self.source, self.is_selected)


class _SelectedCorpus(Corpus):
    """Some documents of a corpus, with their places.

    Args:
        source: The corpus.
        is_selected: For each of its documents, 1 or 0.
    """

    def __init__(self, source: Corpus, is_selected: bytearray) -> None:
        super().__init__(source.name, [], skip_bad=source.skip_bad, metadata=source.metadata)
        self._source, self._is_selected = source, is_selected

    def with_locations(self) -> Iterator[LocatedPassage]:
        """Stream the passages with their places; see `Corpus`."""
        yield from compress(self._source.with_locations(), self._is_selected)
        self.skipped = self._source.skipped


class GivenVectors:
    """Vectors that were computed elsewhere, in place of a passage encoder.

    Args:
        vectors: float32, (n_passages, dim), of all passages of the corpus.
        selection: The passages that are added.
        manifest: The index, whose encoder made the vectors.

    Raises:
        BadInputError: They have another shape or length, are not finite, or cannot be of these passages.
    """

    def __init__(self, vectors: Vectors, selection: Selection, manifest: Manifest) -> None:
        self.fingerprint: EncoderFingerprint = manifest.encoder
        self.dim = manifest.dim
        try:
            vectors = np.ascontiguousarray(vectors, np.float32)
        except (TypeError, ValueError):
            message = f"got {type(vectors).__name__} as vectors, expected numbers, (n_passages, {self.dim})"
            raise BadInputError(message) from None
        if manifest.chunking is not None:
            raise BadInputError("got vectors for an index of chunks, expected none: its documents are cut and encoded")
        if selection.source.skip_bad:
            raise BadInputError("got vectors with a corpus whose bad lines are skipped: leave out skip_bad")
        expected = (len(selection.is_selected), manifest.dim)
        if vectors.shape != expected:
            raise BadInputError(f"got vectors of shape {vectors.shape}, expected {expected}: one for each passage")
        if not np.isfinite(vectors).all():
            raise BadInputError("got vectors with values that are not finite: check the encoder")
        if (
            manifest.encoder.settings.normalize
            and np.abs(np.linalg.norm(vectors, axis=1) - 1).max() > _LENGTH_TOLERANCE
        ):
            raise BadInputError("got vectors of other lengths than 1, expected normalised ones as in the index")
        self._vectors = vectors[np.frombuffer(selection.is_selected, bool)]

    def encode_windows(
        self,
        windows: Iterable[Sequence[str]],
        *,
        workers: int | None = None,
        report_truncated: Callable[[int], None] | None = None,
    ) -> Iterator[Vectors]:
        """Yield the vectors of windows of passages; see `PassageEncoder.encode_windows`."""
        start = 0
        for window in windows:
            yield self._vectors[start : start + len(window)]
            start += len(window)


def select(
    corpus: Corpus,
    segments: Sequence[Segment],
    *,
    only_new: bool,
    compare: bool,
    chunker: Chunker | None,
    keep_ids: bool = False,
    progress: Progress,
) -> Selection:
    """Read a corpus once, and select the documents that change the index.

    Args:
        corpus: The corpus.
        segments: The segments of the index.
        only_new: Leave out documents whose ids are in the index.
        compare: Leave out documents whose texts and metadata are in the index under the same ids.
        chunker: Cuts the documents, if those of the index were cut.
        keep_ids: Whether the ids of all documents are wanted.
        progress: Called with (step, done, in all).

    Raises:
        BadInputError: The corpus has a fault, or holds nothing.
    """
    is_selected, digest = bytearray(), hashlib.blake2b(digest_size=8)
    n_new = 0
    ids: set[str] = set()
    for document in corpus:
        stored = _stored(segments, document.doc_id, texts=compare and not only_new)
        own = [document] if chunker is None else chunker.chunks(iter([document]))
        is_left_out = stored is not None and (only_new or (compare and stored == list(own)))
        is_selected.append(not is_left_out)
        n_new += stored is None
        if keep_ids:
            ids.add(document.doc_id)
        if len(is_selected) % _PROGRESS_EVERY == 0:
            progress("comparing", len(is_selected), 0)
        if not is_left_out:
            digest.update(repr(document).encode("utf-8", "surrogatepass"))
    if not is_selected:
        raise BadInputError(f"the corpus {corpus.name!r} holds no passages, expected at least one: check its files")
    return Selection(
        source=corpus,
        is_selected=is_selected,
        n_new=n_new,
        ids=ids,
        digest=digest.hexdigest(),
        skipped=dict(corpus.skipped.counts),
    )


def _stored(segments: Sequence[Segment], doc_id: str, *, texts: bool) -> list[Passage] | None:
    """Return the stored passages of a document, or an empty list without texts; None if it is not in the index."""
    for segment in reversed(segments):
        rows = segment.rows_of_document(doc_id)
        if len(rows):
            return [segment.files.passage(row) for row in rows.tolist()] if texts else []
    return None
