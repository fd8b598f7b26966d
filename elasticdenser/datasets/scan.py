"""One pass over a corpus before it is encoded: how many passages, which ids twice, and a checksum."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdenser.artifacts import explained_os_errors
from elasticdenser.datasets.corpora import Corpus
from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import BadInputError

_PROGRESS_EVERY = 4096
_COMPARED_AT_ONCE = 1 << 20
_HASH_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class CorpusScan:
    """What one pass over a corpus found.

    Attributes:
        n_passages: Passages to encode; without those skipped.
        sha256: Over id, title and text of these passages, in order.
        n_skipped: Lines and passages left out.
        skipped: The same by reason.
        repeated: The ids that occur more than once; the first passage of each is kept.
    """

    n_passages: int
    sha256: str
    n_skipped: int
    skipped: dict[str, int]
    repeated: frozenset[str]


def scan_corpus(corpus: Corpus, scratch: Path, *, progress: Callable[[int], None] | None = None) -> CorpusScan:
    """Read a corpus once (twice, where ids repeat), with eight bytes a passage on disk and none in memory.

    Args:
        corpus: What to read.
        scratch: A folder for a temporary file.
        progress: Called now and then with how many passages were read so far.

    Raises:
        BadInputError: It is empty, or, unless bad lines are skipped, an id is not unique or a line is bad.
        BuildError: The scratch file cannot be written.
    """
    with explained_os_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="ids-", suffix=".u64", dir=scratch)
    hashes = Path(name)
    try:
        with explained_os_errors(hashes), open(descriptor, "wb") as file:
            n_read, sha256 = _first_pass(corpus, file, progress)
        if n_read == 0:
            raise BadInputError(_emptiness(corpus))
        suspects = _repeated_values(hashes)
    finally:
        hashes.unlink(missing_ok=True)
    repeats: Counter[str] = Counter()
    if suspects:
        repeats, sha256 = _second_pass(corpus, suspects)
    skipped = dict(corpus.bad.counts)
    if repeats:
        skipped["repeated id"] = repeats.total()
    return CorpusScan(
        n_passages=n_read - repeats.total(),
        sha256=sha256,
        n_skipped=sum(skipped.values()),
        skipped=skipped,
        repeated=frozenset(repeats),
    )


def unique_passages(corpus: Corpus, scan: CorpusScan) -> Iterator[Passage]:
    """Stream exactly the passages that the scan counted: of those with one id, the first."""
    if not scan.repeated:
        yield from corpus
        return
    seen: set[str] = set()
    for passage in corpus:
        if passage.doc_id in scan.repeated:
            if passage.doc_id in seen:
                continue
            seen.add(passage.doc_id)
        yield passage


def _first_pass(corpus: Corpus, file: Any, progress: Callable[[int], None] | None) -> tuple[int, str]:
    digest = hashlib.sha256()
    n_read = 0
    for n_read, passage in enumerate(corpus, start=1):
        _update(digest, passage)
        file.write(_hash(passage.doc_id))
        if progress is not None and n_read % _PROGRESS_EVERY == 0:
            progress(n_read)
    if progress is not None and n_read % _PROGRESS_EVERY:
        progress(n_read)
    return n_read, digest.hexdigest()


def _second_pass(corpus: Corpus, suspects: set[bytes]) -> tuple[Counter[str], str]:
    digest = hashlib.sha256()
    first: dict[str, str] = {}
    repeats: Counter[str] = Counter()
    for path, line, passage in corpus.located():
        doc_id = passage.doc_id
        if _hash(doc_id) in suspects:
            if doc_id in first:
                if not corpus.skip_bad:
                    message = f"id {doc_id!r} is already that of {first[doc_id]}: give each passage its own"
                    raise BadInputError(message, path, line)
                repeats[doc_id] += 1
                continue
            first[doc_id] = f"{path}:{line}"
        _update(digest, passage)
    return repeats, digest.hexdigest()


def _repeated_values(file: Path) -> set[bytes]:
    """Sort the hashes in place, in their file, and return those that occur more than once."""
    hashes: NDArray[np.uint64] = np.memmap(file, dtype=np.uint64, mode="r+")
    hashes.sort()
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


def _emptiness(corpus: Corpus) -> str:
    if not corpus.bad.total:
        return f"the corpus {corpus.name} holds no passage: expected at least one"
    first = corpus.bad.messages[0]
    return f"the corpus {corpus.name} holds no passage: all {corpus.bad.total} lines were bad, first {first}"
