"""Vectors of tokens beside an index: storing them, and searches that find them."""

from __future__ import annotations

import json

import pytest
from kernel_helpers import needs_fast_path
from late_interaction_models import write_late_interaction

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex, Retriever
from elasticdenser.errors import QueryError
from elasticdenser.rankers import LateInteractionRanker
from elasticdenser.retrieval.token_vectors import (
    estimated_bytes,
    load_ranker_for,
    store_token_vectors,
    token_vectors_folder,
)

pytestmark = needs_fast_path

WORDS = ["dune", "sand", "novel", "herbert", "spice", "desert", "worm", "water", "planet", "book"]


@pytest.fixture
def ranker(tiny_elastic, tmp_path):
    return write_late_interaction(tmp_path / "late", tiny_elastic)


@pytest.fixture
def index(tiny_elastic, tmp_path):
    texts = [f"{first} and {second}" for first in WORDS for second in WORDS]
    rows = ({"_id": f"d{number}", "text": text} for number, text in enumerate(texts))
    (tmp_path / "passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    return PassageIndex.build(tmp_path / "passages.jsonl", tmp_path / "index", encoder, workers=1)


def hits_of(index, **options):
    return [(hit.doc_id, hit.score) for hit in Retriever.open(index.path, download=False, **options).search("dune")]


def test_a_search_finds_what_was_stored(index, ranker, tmp_path):
    before = hits_of(index, ranker=ranker, reranker="20")
    stored = store_token_vectors(index, ranker, workers=2)
    assert stored.folder.parent == token_vectors_folder(index.path) == tmp_path / "index.token-vectors"
    assert (stored.n_computed, stored.n_found, stored.n_refused) == (len(index), 0, 0)
    retriever = Retriever.open(index.path, download=False, ranker=ranker, reranker="20")
    assert [(hit.doc_id, hit.score) for hit in retriever.search("dune")] == before
    assert before != hits_of(index)
    counts = retriever.ranker.stored_vectors.counts
    assert (counts.read, counts.computed) == (20, 0)


def test_a_second_call_computes_only_what_is_new(index, ranker, tiny_elastic):
    store_token_vectors(index, ranker, workers=1)
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    changed = index.add([{"_id": "new", "text": "a passage that was not there"}], encoder=encoder)
    again = store_token_vectors(changed, ranker, workers=1)
    assert (again.n_computed, again.n_found) == (1, len(index))


def test_progress_and_size_are_those_of_all_passages(index, ranker):
    calls = []
    expected = estimated_bytes(index, LateInteractionRanker.from_pretrained(ranker))
    stored = store_token_vectors(index, ranker, progress=lambda *call: calls.append(call), workers=1)
    assert calls[-1] == ("Encoding tokens", len(index), len(index))
    assert abs(stored.n_bytes - expected) < 0.1 * expected + 2000


def test_an_interrupted_call_keeps_what_it_has_computed(index, ranker):
    def interrupt(activity, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_token_vectors(index, ranker, progress=interrupt, workers=1)
    again = store_token_vectors(index, ranker, workers=1)
    assert again.n_found >= 64 and again.n_found + again.n_computed == len(index)


def test_it_is_said_where_vectors_are_of_another_precision(index, ranker, caplog):
    store_token_vectors(index, ranker, workers=1)
    load_ranker_for(index.path, ranker)
    assert not caplog.records
    load_ranker_for(index.path, ranker, dtype="float32")
    assert "passages are encoded in each search" in caplog.text


def test_what_does_not_fit_is_counted(index, ranker):
    stored = store_token_vectors(index, ranker, max_bytes=3000, workers=1)
    assert stored.n_refused > 0 and stored.n_bytes <= 3000
    assert len(hits_of(index, ranker=ranker, reranker="20")) == 10


def test_an_index_without_texts_is_refused(tiny_elastic, ranker, tmp_path):
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    (tmp_path / "one.tsv").write_text("d1\tdune\n")
    index = PassageIndex.build(tmp_path / "one.tsv", tmp_path / "bare", encoder, texts=False, workers=1)
    with pytest.raises(QueryError, match="build the index without --no-texts"):
        store_token_vectors(index, ranker)


def test_another_ranker_needs_no_vectors(index, ranker, tiny_ranker):
    store_token_vectors(index, ranker, workers=1)
    assert load_ranker_for(index.path, tiny_ranker).folder == tiny_ranker


def test_the_encoder_of_queries_may_be_another_subnet(index, ranker, tiny_elastic):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    retriever = Retriever(encoder, index, ranker=ranker, reranker="10:w0.25-d1+0")
    (first, *_) = retriever.search("dune", k=10, subnet="level0")
    assert first.score <= 1.5  # a mean of cosines, and half of one
