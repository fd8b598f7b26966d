"""Random histories of an index, with kills and with readers of old generations, against a dictionary.

pytest tests/index/test_living_index_killed.py --histories 10000 --basetemp=/dev/shm/histories
"""

import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from crashing_build import in_child, killed_before, prepare_for_forks
from hashing import HashingEncoder
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from elasticdenser.datasets import Passage
from elasticdenser.index import PassageIndex, compaction
from elasticdenser.index.contents import IndexContents

FEW = 20
"""So many histories are the same in each run, so that the tests do not fail by chance."""

IDS = st.integers(0, 11).map(lambda number: f"d{number}")
WORDS = ["same", "other", "third", "fourth"]
NUMBERS = [1, 2]
DOCUMENTS = st.dictionaries(
    IDS, st.tuples(st.sampled_from(WORDS), st.sampled_from([None, *NUMBERS])), min_size=1, max_size=4
)
"""Id -> text, which is one word, and number, which is the metadata."""
DIM = 4


@cache
def vector_of(text):
    return HashingEncoder(DIM).encode([text])[0]


class Encoder(HashingEncoder):
    """Hashing encoder that computes the vector of a text once."""

    def encode(self, texts):
        return np.array([vector_of(text) for text in texts], np.float32).reshape(len(texts), self.dim)


QUERIES = Encoder(DIM).encode(["same", "query"])


def passages(documents):
    return [
        Passage(doc_id=doc_id, text=text, metadata=None if number is None else {"number": number})
        for doc_id, (text, number) in documents.items()
    ]


def documents_of(index):
    found = (index.passage_at(position) for position in range(len(index)))
    return {passage.doc_id: (passage.text, (passage.metadata or {}).get("number")) for passage in found}


def check_metadata(index, numbers):
    """Check the passages that filters choose, and hits among them."""
    assert index.fields or not any(numbers)
    for number in NUMBERS if index.fields else ():
        matching = [position for position, own in enumerate(numbers) if own == number]
        filter = f"number = {number}"
        assert index.matches(filter).positions.tolist() == matching
        assert index.matches(f"not {filter}").n == len(numbers) - len(matching)
        for exact in (False, True):
            found = index.search(QUERIES, 3, filter=filter, exact=exact)[1]
            assert found.tolist() == index.search(QUERIES, 3, within=matching)[1].tolist()


def check_words(lexical, texts):
    """Check hits by words, whose BM25 scores count the passages that are left."""
    for word in WORDS:
        scores, positions = lexical.search(word, 20)
        assert positions.tolist() == [position for position, text in enumerate(texts) if text == word]
        weight = np.log1p((len(texts) - len(positions) + 0.5) / (len(positions) + 0.5))
        assert np.allclose(scores, weight / 1.9, atol=1e-6)


def check_holds(index, documents):
    """Check ids, texts, metadata, vectors and hits of an index."""
    ids, texts = list(documents), [text for text, _ in documents.values()]
    assert list(index.doc_ids) == ids
    assert list(documents_of(index).items()) == list(documents.items())
    check_metadata(index, [number for _, number in documents.values()])
    if index.lexical is not None:
        check_words(index.lexical, texts)
    vectors = Encoder(DIM).encode(texts)
    assert np.array_equal(index.vectors[:], vectors)
    for doc_id in (f"d{number}" for number in range(12)):
        assert index.doc_ids.find(doc_id) == (ids.index(doc_id) if doc_id in documents else -1)
    exact = (vectors.astype(np.float64) @ QUERIES.T.astype(np.float64)).T.round(9)  # equal texts have equal scores
    for k in (3, 20):
        order = np.argsort(-exact, axis=1, kind="stable")[:, :k] if ids else np.empty((2, 0), int)
        expected = np.take_along_axis(exact, order, 1)
        for options in ({}, {"exact": True}, {"within": range(len(ids))}):
            scores, positions = index.search(QUERIES, k, **options)
            assert positions.tolist() == order.tolist()
            assert np.abs(scores - expected).max(initial=0) <= 1e-6


class Histories(RuleBasedStateMachine):
    """Changes of an index; `documents` is what it should hold, in order."""

    folder: Path

    def __init__(self):
        super().__init__()
        self.path = Path(tempfile.mkdtemp(dir=self.folder)) / "index"
        self.documents, self.readers, self.n_killed = {}, [], 0
        self.is_checked = False

    def teardown(self):
        shutil.rmtree(self.path.parent)

    def change(self, work, after, nth):
        """Run a change, killed before its n-th file operation if n is not 0."""
        if nth:

            def killed():
                with killed_before(nth):
                    work()

            status = in_child(killed)
            assert status in (0, 9)
            self.n_killed = self.n_killed + 1 if status else 0
            if status == 9:
                left = PassageIndex.open(self.path)
                held = documents_of(left)
                assert list(held.items()) in (list(self.documents.items()), list(after.items()))
                after = held
        else:
            check_holds(work(), after)
            self.n_killed = 0
        self.documents, self.is_checked = after, False

    @initialize(documents=DOCUMENTS, has_metadata=st.booleans(), has_words=st.booleans())
    def build(self, documents, has_metadata, has_words):
        self.has_metadata, self.has_words = has_metadata, has_words
        self.documents = self.allowed(documents)
        PassageIndex.build(passages(self.documents), self.path, Encoder(DIM), hybrid=has_words)

    def allowed(self, documents):
        """Return documents without their numbers in a history without metadata."""
        return documents if self.has_metadata else {doc_id: (text, None) for doc_id, (text, _) in documents.items()}

    @rule(documents=DOCUMENTS, only_new=st.booleans(), nth=st.sampled_from([0, 0, 0]) | st.integers(1, 160))
    def add(self, documents, only_new, nth):
        after, documents = dict(self.documents), self.allowed(documents)
        for doc_id, document in documents.items():
            if doc_id in after and (only_new or after[doc_id] == document):
                continue
            after.pop(doc_id, None)
            after[doc_id] = document
        self.change(
            lambda: PassageIndex.open(self.path).add(
                passages(documents), encoder=Encoder(DIM), only_new=only_new, metadata="all"
            ),
            after,
            nth,
        )

    @rule(ids=st.sets(IDS, min_size=1, max_size=4), nth=st.sampled_from([0, 0, 0]) | st.integers(1, 60))
    def delete(self, ids, nth):
        after = {doc_id: document for doc_id, document in self.documents.items() if doc_id not in ids}
        self.change(lambda: PassageIndex.open(self.path).delete(sorted(ids), missing_ok=True), after, nth)

    @precondition(lambda self: any(number for _, number in self.documents.values()))
    @rule(number=st.sampled_from(NUMBERS), nth=st.sampled_from([0, 0, 0]) | st.integers(1, 60))
    def delete_by_filter(self, number, nth):
        after = {doc_id: document for doc_id, document in self.documents.items() if document[1] != number}
        self.change(lambda: PassageIndex.open(self.path).delete(filter=f"number = {number}"), after, nth)

    @rule(nth=st.sampled_from([0, 0, 0]) | st.integers(1, 110))
    def compact(self, nth):
        self.change(lambda: PassageIndex.open(self.path).compact(), dict(self.documents), nth)

    @precondition(lambda self: len(self.readers) < 3)
    @rule()
    def open_reader(self):
        self.readers.append((PassageIndex.open(self.path, check="sizes"), dict(self.documents)))

    @precondition(lambda self: self.readers)
    @rule(number=st.integers(0, 2), refresh=st.booleans())
    def use_reader(self, number, refresh):
        number %= len(self.readers)
        index, documents = self.readers[number]
        check_holds(index, documents)
        if refresh:
            self.readers[number] = (index.refresh(), dict(self.documents))

    @rule()
    def go_on_with_a_snapshot(self):
        target = self.path.with_name("snapshot")
        PassageIndex.open(self.path).snapshot(target)
        shutil.rmtree(self.path)
        target.rename(self.path)
        self.readers.clear()
        self.is_checked = False

    @invariant()
    def holds_the_documents(self):
        if self.path.exists() and not self.is_checked:  # readers change nothing on disk
            self.is_checked = True
            index = PassageIndex.open(self.path, check="all")
            check_holds(index, self.documents)
            assert (index.lexical is not None) == self.has_words
            # Each change that is killed may leave a segment that nobody has merged yet.
            assert len(IndexContents.read(self.path).segments) <= compaction.MAX_SEGMENTS + self.n_killed


def try_histories(folder: Path, n: int, n_steps: int = 15) -> None:
    """Try random histories; always the same ones if they are few."""
    compaction.MAX_SEGMENTS, compaction._SMALL = 3, 3
    Histories.folder = folder
    prepare_for_forks()
    chosen = settings(
        max_examples=n,
        stateful_step_count=n_steps,
        deadline=None,
        database=None,
        derandomize=n <= FEW,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Histories, settings=chosen)


if __name__ == "__main__":
    try_histories(Path(sys.argv[1]), int(sys.argv[2]))
