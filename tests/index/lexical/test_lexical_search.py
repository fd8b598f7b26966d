"""Scores and hits against BM25 in plain Python."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.index.lexical import Analyzer, LexicalPart, LexicalSearch, building
from elasticdenser.index.lexical.building import build_postings
from elasticdenser.index.lexical.postings import Postings

WORDS = ["dune", "novel", "desert", "planet", "worm", "spice", "running", "runs", "the", "of"]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), min_size=1, max_size=30)
queries = st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=6).map(" ".join)


def postings_of(folder, contents, stemmer="porter"):
    return Postings(folder, build_postings(contents, folder, stemmer, len(contents)), len(contents))


def search_of(folder, contents, stemmer="porter"):
    return LexicalSearch(Analyzer(stemmer), [LexicalPart(postings_of(folder, contents, stemmer))])


def plain_bm25(contents, query, k1=0.9, b=0.4):
    """Return the score of every text."""
    words = Analyzer().words
    documents = [Counter(words(text)) for text in contents]
    lengths = [sum(document.values()) for document in documents]
    mean = sum(lengths) / len(lengths) or 1
    scores = [0.0] * len(contents)
    for word in words(query):
        n = sum(word in document for document in documents)
        idf = math.log(1 + (len(contents) - n + 0.5) / (n + 0.5))
        for number, document in enumerate(documents):
            if word in document:
                norm = k1 * (1 - b + b * lengths[number] / mean)
                scores[number] += idf * document[word] / (document[word] + norm)
    return scores


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(texts, queries, st.integers(1, 12), st.sampled_from([(0.9, 0.4), (0.0, 0.0), (1.2, 1.0)]))
def test_hits_and_scores_are_those_of_plain_bm25(tmp_path_factory, contents, query, k, parameters):
    k1, b = parameters
    search = search_of(tmp_path_factory.mktemp("lexical"), contents)
    expected = np.array(plain_bm25(contents, query, k1, b))
    scores, positions = search.search(query, k, k1=k1, b=b)
    assert len(positions) == min(k, (expected > 0).sum())
    assert np.allclose(scores, np.sort(expected)[::-1][: len(scores)], atol=1e-5)
    assert np.allclose(scores, expected[positions], atol=1e-5)
    assert list(zip(-scores, positions, strict=True)) == sorted(zip(-scores, positions, strict=True))
    everywhere = np.arange(len(contents))
    assert np.allclose(search.scores(query, everywhere, k1=k1, b=b), expected, atol=1e-5)
    assert np.array_equal(search.scores(query, positions, k1=k1, b=b), scores)
    both = search.search_and_score(query, k, everywhere[::-1], k1=k1, b=b)
    assert np.array_equal(both[0], scores) and np.array_equal(both[1], positions)
    assert np.array_equal(both[2], search.scores(query, everywhere[::-1], k1=k1, b=b))


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(texts, queries, st.integers(1, 5), st.data())
def test_only_allowed_passages_are_found(tmp_path_factory, contents, query, k, data):
    search = search_of(tmp_path_factory.mktemp("lexical"), contents)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=len(contents), max_size=len(contents))), bool)
    all_scores, all_positions = search.search(query, len(contents))
    scores, positions = search.search(query, k, allowed=allowed)
    assert np.array_equal(positions, all_positions[allowed[all_positions]][:k])
    assert np.array_equal(scores, all_scores[allowed[all_positions]][:k])


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(texts, st.sets(st.integers(0, 29))), min_size=1, max_size=3), queries, st.integers(1, 5))
def test_parts_with_deleted_passages_equal_a_fresh_index_to_the_bit(tmp_path_factory, segments, query, k):
    parts, left, first = [], [], 0
    for contents, rows in segments:
        deleted = np.array(sorted(row for row in rows if row < len(contents)), np.int64)
        parts.append(LexicalPart(postings_of(tmp_path_factory.mktemp("part"), contents), first, deleted))
        left += [text for row, text in enumerate(contents) if row not in deleted]
        first += len(contents) - len(deleted)
    living = LexicalSearch(Analyzer(), parts)
    if not left:
        assert len(living.search(query, k)[0]) == 0
        return
    fresh = search_of(tmp_path_factory.mktemp("fresh"), left)
    everywhere = np.arange(len(left))
    allowed = everywhere % 2 == 0
    for options in ({}, {"allowed": allowed}):
        for found, expected in zip(living.search(query, k, **options), fresh.search(query, k, **options), strict=True):
            assert np.array_equal(found, expected)
    assert np.array_equal(living.scores(query, everywhere), fresh.scores(query, everywhere))
    assert np.array_equal(living.search_and_score(query, k, everywhere)[2], fresh.scores(query, everywhere))


def test_common_words_do_not_change_the_hits(tmp_path):
    """The postings of the common word are longer than the passages found before: it is looked up for these alone."""
    rng = np.random.default_rng(5)
    contents = [f"common {' '.join(rng.choice(WORDS, 4))} w{number % 150}" for number in range(2000)]
    search = search_of(tmp_path, contents)
    scores, positions = search.search("common w7 w8", 5)
    expected = np.array(plain_bm25(contents, "common w7 w8"))
    order = np.lexsort((np.arange(2000), -expected.round(5)))[:5]
    assert np.array_equal(positions, order)
    assert np.allclose(scores, expected[order], atol=1e-5)


def test_the_block_size_does_not_matter(tmp_path, monkeypatch):
    contents = [f"word{number % 7} word{number % 3} word{number % 3}" for number in range(100)]
    whole, in_blocks = tmp_path / "whole", tmp_path / "blocks"
    whole.mkdir(), in_blocks.mkdir()
    info = build_postings(contents, whole, "porter", 100)
    monkeypatch.setattr(building, "BLOCK", 17)
    assert build_postings(contents, in_blocks, "porter", 100) == info
    assert sorted(path.name for path in in_blocks.iterdir()) == sorted(info.files)
    for name in info.files:
        assert (whole / name).read_bytes() == (in_blocks / name).read_bytes()


def test_more_repetitions_than_fit_are_counted_as_the_most(tmp_path):
    search = search_of(tmp_path, ["dune " * 70_000, "dune"])
    scores, positions = search.search("dune", 2)
    assert positions.tolist() == [0, 1]
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("contents", [[""], ["the of", "?"]])
def test_texts_without_words_are_never_found(tmp_path, contents):
    search = search_of(tmp_path, contents)
    scores, positions = search.search("dune the", 3)
    assert (len(scores), len(positions)) == (0, 0)
    assert search.scores("dune", np.arange(len(contents))).tolist() == [0.0] * len(contents)
