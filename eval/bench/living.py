"""Changes of an index: time until additions are found, search before and after compaction, and compaction itself.

    OMP_NUM_THREADS=1 python eval/bench/living.py indexes/wiki --queries ../shared/data/nq

Works on copies of the index in `--scratch`; nothing but some queries and a sample of passages is encoded. The last
passages of the index are those that are added, with the vectors that it holds of them.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, cast

import faiss
import numpy as np
from report import append_result, print_table, time_items_in_turns

from elasticdenser import ElasticQueryEncoder, Passage, PassageEncoder, PassageIndex, load_queries
from elasticdenser.arrays import Vectors
from elasticdenser.datasets import Corpus
from elasticdenser.models.settings import EncoderFingerprint

_K = 10
_N_SAMPLE = 256
"""Passages that are encoded, to estimate how long a build encodes."""


class StoredVectors:
    """Vectors of an index in place of the encoder that made them, to build another one.

    Args:
        index: The index; its passages are encoded in order.
    """

    def __init__(self, index: PassageIndex) -> None:
        self._index, self.dim = index, index.dim

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """Fingerprint of the encoder that made the vectors."""
        return self._index.manifest.encoder

    def encode_windows(self, windows: Iterable[Sequence[str]], **_: Any) -> Iterator[Vectors]:
        """Yield the vectors of windows of passages."""
        start = 0
        for window in windows:
            yield self._index.vectors[start : start + len(window)]
            start += len(window)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--queries", type=Path, required=True, help="BEIR folder or file")
    parser.add_argument("--n-queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--added", type=int, default=1000, help="passages that are added, at once and in small parts")
    parser.add_argument("--additions", type=int, default=50, help="number of small additions")
    parser.add_argument("--deleted", type=float, default=0.1, help="share of the passages that is deleted")
    parser.add_argument("--scratch", type=Path, help="folder for copies of the index; default: beside it")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(dir=options.scratch or options.index.parent, prefix="living-"))
    faiss.omp_set_num_threads(1)
    try:
        rows = _measure(PassageIndex.open(options.index), scratch, options)
    finally:
        shutil.rmtree(scratch)
    title = f"{options.added:,} passages added, {options.deleted:.0%} deleted, k = {_K}, one thread"
    print_table(title, rows)
    settings = {name: value for name, value in vars(options).items() if not isinstance(value, Path | None)}
    append_result("living", {**settings, "rows": rows})


def _measure(index: PassageIndex, scratch: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    n_base = len(index) - options.added
    new = [index.passage_at(position) for position in range(n_base, len(index))]
    vectors = np.array(index.vectors[n_base:])
    base, _ = _timed(lambda: index.snapshot(scratch / "base").delete([p.doc_id for p in new], compact=False).compact())
    rows = [{"what": "passages", "value": len(base)}]

    at_once = base.snapshot(scratch / "at-once")
    added, seconds = _timed(lambda: at_once.add(new, vectors=vectors))
    found = n_base in added.search(vectors[:1], 50)[1]  # there may be copies of it
    rows.append({"what": f"adding {len(new):,} passages, encoding aside, until found ({found}): s", "value": seconds})

    living, n_segments = _changed(base.snapshot(scratch / "living"), new, vectors, options)
    rows.append({"what": f"segments after {options.additions} additions", "value": n_segments})
    compacted, compaction_s = _timed(lambda: living.snapshot(scratch / "compacted").compact())
    corpus = Corpus.from_passages("all", lambda: map(living.passage_at, range(len(living))))
    encoder = cast("PassageEncoder", StoredVectors(living))
    factory = compacted.manifest.structure.factory
    fresh, build_s = _timed(lambda: PassageIndex.build(corpus, scratch / "fresh", encoder, factory=factory))
    encoding_s = _encoding_s(living)
    rows += [
        {"what": "compaction: s", "value": compaction_s},
        {"what": "building without encoding: s", "value": build_s},
        {"what": "building, encoding estimated from a sample: s", "value": build_s + encoding_s},
        {"what": "compaction / building", "value": compaction_s / (build_s + encoding_s)},
    ]
    return rows + _compared({"fresh": fresh, "before compaction": living, "after compaction": compacted}, options)


def _changed(
    index: PassageIndex, new: Sequence[Passage], vectors: Vectors, options: argparse.Namespace
) -> tuple[PassageIndex, int]:
    """Add passages in small parts while others are deleted; return the index and its number of segments."""
    rng = np.random.default_rng(0)
    gone = rng.permutation(len(index))[: round(options.deleted * len(index))]
    doc_ids = index.doc_ids.take(np.sort(gone))
    for part in np.array_split(np.arange(len(new)), options.additions):
        index = index.add([new[number] for number in part], vectors=vectors[part])
    index = index.delete(doc_ids)
    return index, len(index.contents.segments)


def _encoding_s(index: PassageIndex) -> float:
    """Return how long the encoder of an index takes for all its passages, estimated from a sample."""
    fingerprint = index.manifest.encoder
    encoder = PassageEncoder.from_pretrained(fingerprint.name, dtype=fingerprint.dtype)
    chosen = np.random.default_rng(0).permutation(len(index))[:_N_SAMPLE]
    texts = [index.passage_at(position).content for position in chosen.tolist()]
    encoder.encode(texts[:8])
    _, seconds = _timed(lambda: list(encoder.encode_windows([texts], workers=1)))
    return seconds * len(index) / len(texts)


def _compared(indexes: dict[str, PassageIndex], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the search times of the indexes relative to the first, and the share of queries with equal hits."""
    texts = [query.text for query in load_queries(options.queries)]
    chosen = np.random.default_rng(0).permutation(len(texts))[: options.n_queries]
    fingerprint = next(iter(indexes.values())).manifest.encoder
    encoder = ElasticQueryEncoder.from_pretrained(fingerprint.name, dtype=fingerprint.dtype)
    queries = encoder.encode([texts[number] for number in chosen])
    searches: dict[str, Callable[[int], Any]] = {
        name: partial(_search_one, index, queries) for name, index in indexes.items()
    }
    times = time_items_in_turns(searches, len(queries), options.rounds)
    fresh = next(iter(indexes))
    rows = []
    for name, index in indexes.items():
        ratio = median(own / other for own, other in zip(times[name], times[fresh], strict=True))
        rows.append({"what": f"search, {name}: ms", "value": 1000 * median(times[name]), "x fresh": ratio})
        for kind, exact in (("equal hits", False), ("equal exact hits", True)):
            rows[-1][kind] = _share_equal(indexes[fresh], index, queries, exact=exact)
    return rows


def _search_one(index: PassageIndex, queries: Vectors, number: int) -> None:
    index.search(queries[number : number + 1], _K)


def _share_equal(left: PassageIndex, right: PassageIndex, queries: Vectors, *, exact: bool) -> float:
    """Return the share of queries whose hits have the same ids and the same scores, to the bit."""
    hits = [index.search(queries, _K, exact=exact) for index in (left, right)]
    ids = [
        [index.doc_ids.take(row) for row in positions]
        for index, (_, positions) in zip((left, right), hits, strict=True)
    ]
    same = [
        own == other and np.array_equal(*scores)
        for own, other, *scores in zip(*ids, hits[0][0], hits[1][0], strict=True)
    ]
    return float(np.mean(same))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = perf_counter()
    result = work()
    return result, perf_counter() - started


if __name__ == "__main__":
    main()
