"""Scan of a corpus before it is encoded: number of passages, repeated ids, and a checksum."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from elasticdenser.artifacts import explained_os_errors, replace_file
from elasticdenser.datasets.corpora import Corpus
from elasticdenser.datasets.metadata import FieldType, MetadataInference
from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import BadLine
from elasticdenser.datasets.schema import FieldsFound
from elasticdenser.errors import BadInputError

_PROGRESS_EVERY = 4096
"""Passages between two reports of progress."""

_COMPARED_AT_ONCE = 1 << 20
"""Hashes that are loaded at a time: 8 MB."""

_IS_METADATA = 1 << 63
"""Marks the length of metadata, so that it cannot be taken for the id of the next passage."""

_HASH_BYTES = 8
"""Different ids of equal hash only cause a second pass over the corpus, which is rare even with a billion ids."""


@dataclass(frozen=True, kw_only=True)
class CorpusScan:
    """Result of a scan.

    Attributes:
        n_passages: Passages to encode, without those skipped.
        sha256: Over id, title, text and metadata of these passages, in order.
        n_skipped: Lines and passages left out.
        skipped: The same by reason.
        repeated_ids: Ids that occur more than once; only the first passage of each is encoded.
        metadata: Types of the metadata fields; empty if no passage has metadata.
        fields: Fields of the records.
    """

    n_passages: int
    sha256: str
    n_skipped: int
    skipped: dict[str, int]
    repeated_ids: frozenset[str]
    metadata: dict[str, FieldType] = field(default_factory=dict)
    fields: FieldsFound = field(default_factory=FieldsFound)


def scan_corpus(
    corpus: Corpus,
    scratch: Path,
    *,
    progress: Callable[[int], None] | None = None,
    id_hashes: Path | None = None,
) -> CorpusScan:
    """Read a corpus once (twice if ids repeat), with eight bytes on disk and none in memory for each passage.

    Args:
        corpus: The corpus.
        scratch: A folder for a temporary file.
        progress: Called regularly with the number of passages read so far.
        id_hashes: File on the same disk, for the hashes of all ids: uint64, in rising order. None keeps none.

    Raises:
        BadInputError: It is empty, or, unless bad lines are skipped, an id is not unique or a line is bad.
        BuildError: The scratch file cannot be written.
    """
    with explained_os_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="ids-", suffix=".u64", dir=scratch)
    hashes, inference = Path(name), MetadataInference(corpus.metadata.declared)
    try:
        with explained_os_errors(hashes), open(descriptor, "wb") as file:
            n_read, sha256 = _count_and_hash(corpus, file, inference, progress)
        if n_read == 0:
            raise BadInputError(_empty_message(corpus))
        repeated_hashes = _repeated_values(hashes)
        if id_hashes is not None:
            replace_file(hashes, id_hashes)
    finally:
        hashes.unlink(missing_ok=True)
    repeats: Counter[str] = Counter()
    if repeated_hashes:
        repeats, sha256 = count_repeats(corpus, repeated_hashes)
    skipped = dict(corpus.skipped.counts)
    if repeats:
        skipped["repeated id"] = repeats.total()
    return CorpusScan(
        n_passages=n_read - repeats.total(),
        sha256=sha256,
        n_skipped=sum(skipped.values()),
        skipped=skipped,
        repeated_ids=frozenset(repeats),
        metadata=inference.types,
        fields=corpus.fields,
    )


def unique_passages(corpus: Corpus, scan: CorpusScan) -> Iterator[Passage]:
    """Stream exactly the passages that the scan counted: of several with the same id, the first."""
    if not scan.repeated_ids:
        yield from corpus
        return
    seen: set[str] = set()
    for passage in corpus:
        if passage.doc_id in scan.repeated_ids:
            if passage.doc_id in seen:
                continue
            seen.add(passage.doc_id)
        yield passage


def _count_and_hash(
    corpus: Corpus, file: Any, inference: MetadataInference, progress: Callable[[int], None] | None
) -> tuple[int, str]:
    digest = hashlib.sha256()
    n_read = 0
    for n_read, (path, line, passage) in enumerate(corpus.with_locations(), start=1):
        _update(digest, passage)
        if passage.metadata:
            try:
                inference.add(passage.doc_id, passage.metadata)
            except BadLine as error:
                raise BadInputError(error.message, path, line) from None
        file.write(_hash(passage.doc_id))
        if progress is not None and n_read % _PROGRESS_EVERY == 0:
            progress(n_read)
    if progress is not None and n_read % _PROGRESS_EVERY:
        progress(n_read)
    return n_read, digest.hexdigest()


def count_repeats(corpus: Corpus, repeated_hashes: set[bytes]) -> tuple[Counter[str], str]:
    """Return how often each id is repeated, and the checksum of the passages without those repeated.

    Args:
        corpus: The corpus.
        repeated_hashes: Hashes of all ids that may occur more than once, as a scan writes them.

    Raises:
        BadInputError: An id is repeated, and bad lines are not skipped; the message names both places.
    """
    digest = hashlib.sha256()
    first_places: dict[str, str] = {}
    repeats: Counter[str] = Counter()
    for path, line, passage in corpus.with_locations():
        doc_id = passage.doc_id
        if _hash(doc_id) in repeated_hashes:
            if doc_id in first_places:
                if not corpus.skip_bad:
                    message = f"id {doc_id!r} is already that of {first_places[doc_id]}: give each passage its own"
                    raise BadInputError(message, path, line)
                repeats[doc_id] += 1
                continue
            first_places[doc_id] = f"{path}:{line}"
        _update(digest, passage)
    return repeats, digest.hexdigest()


def _repeated_values(file: Path) -> set[bytes]:
    """Sort the hashes in place, in their file, and return those that occur more than once."""
    hashes = np.memmap(file, dtype=np.uint64, mode="r+")
    hashes.sort()
    hashes.flush()
    repeated: set[bytes] = set()
    for start in range(0, len(hashes) - 1, _COMPARED_AT_ONCE):
        block = hashes[start : start + _COMPARED_AT_ONCE + 1]
        repeated.update(value.tobytes() for value in block[1:][block[1:] == block[:-1]])
    return repeated


def _hash(doc_id: str) -> bytes:
    return hashlib.blake2b(doc_id.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()


def _update(digest: Any, passage: Passage) -> None:
    for value in (passage.doc_id, passage.title, passage.text):
        data = value.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    if passage.metadata:
        data = json.dumps(passage.metadata, sort_keys=True, ensure_ascii=False).encode()
        digest.update((len(data) | _IS_METADATA).to_bytes(8, "little"))
        digest.update(data)


def _empty_message(corpus: Corpus) -> str:
    if not corpus.skipped.total:
        return f"the corpus {corpus.name!r} holds no passages, expected at least one: check its files"
    first = corpus.skipped.messages[0]
    return f"the corpus {corpus.name!r} holds no passages: all {corpus.skipped.total} lines were bad, first {first}"
