"""Hybrid search against a fusion of all passages' scores in plain NumPy."""

import numpy as np
import pytest
from hashing import HashingEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.datasets import Passage
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.retrieval import hybrid
from elasticdenser.retrieval.hybrid import search_hybrid, weight_of

WORDS = ["dune", "novel", "desert", "planet", "worm", "spice", "herbert", "sand"]
N = 60


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    rng = np.random.default_rng(3)
    passages = [Passage(f"p{number}", f"{' '.join(rng.choice(WORDS, 5))} {number}") for number in range(N)]
    path = tmp_path_factory.mktemp("hybrid") / "index"
    return PassageIndex.build(passages, path, HashingEncoder(), hybrid=True)


def expected_hits(index, text, vector, k, weight, n_candidates, allowed=None):
    """Return scores and positions of the fusion of both sides' best candidates."""
    everywhere = np.arange(N) if allowed is None else np.sort(np.array(allowed))
    meaning = np.array([np.float32(index.vectors[position] @ vector) for position in everywhere])
    words = index.lexical.scores(text, everywhere)
    by_meaning = np.lexsort((everywhere, -meaning))[: max(k, n_candidates)]
    by_words = np.lexsort((everywhere, -words))[: max(k, n_candidates)]
    by_words = by_words[words[by_words] > 0]

    def scaled(scores, best, lowest):
        high = scores[best[0]] if len(best) else 0
        return (scores - lowest) / (high - lowest) if high > lowest else (scores >= high) * float(len(best) > 0)

    expected = np.asarray(index.vectors).mean(axis=0) @ vector
    fused = (1 - weight) * scaled(meaning, by_meaning, expected) + weight * scaled(words, by_words, 0)
    candidates = np.union1d(by_meaning, by_words)
    order = candidates[np.argsort(-fused[candidates], kind="stable")][:k]
    return fused[order], everywhere[order]


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([*WORDS, "7", "unknown"]), max_size=4).map(" ".join),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.sampled_from([1, 4, 10, 100]),
    st.one_of(st.none(), st.sets(st.integers(0, N - 1), min_size=1).map(list)),
)
def test_hits_are_those_of_a_fusion_of_all_scores(index, text, k, weight, n_candidates, allowed):
    vector = HashingEncoder().encode([text or "nothing"])
    within = None if allowed is None else np.array(allowed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybrid, "N_CANDIDATES", n_candidates)
        scores, positions = search_hybrid(index, [text], vector, k, weight=weight, within=within)
    expected_scores, expected_positions = expected_hits(index, text, vector[0], k, weight, n_candidates, allowed)
    assert np.allclose(scores[0], expected_scores, atol=1e-4)
    # Rounding may swap hits of nearly equal scores.
    exchanged = positions[0] != expected_positions
    assert np.allclose(np.diff(scores[0])[exchanged[1:]], 0, atol=1e-4) or not exchanged.any()


def test_a_query_has_the_same_hits_alone_and_in_a_batch(index):
    texts = ["dune novel", "sand", "unknown", "7 spice"]
    vectors = HashingEncoder().encode(texts)
    scores, positions = search_hybrid(index, texts, vectors, 10, weight=0.3)
    for row, text in enumerate(texts):
        alone = search_hybrid(index, [text], vectors[row : row + 1], 10, weight=0.3)
        assert np.array_equal(alone[0][0], scores[row]) and np.array_equal(alone[1][0], positions[row])


def test_fewer_hits_are_the_first_of_more(index):
    vectors = HashingEncoder().encode(["dune novel"])
    scores, positions = search_hybrid(index, ["dune novel"], vectors, 30, weight=0.3)
    for k in (1, 5, 29):
        fewer = search_hybrid(index, ["dune novel"], vectors, k, weight=0.3)
        assert np.array_equal(fewer[0], scores[:, :k]) and np.array_equal(fewer[1], positions[:, :k])


def test_weight_0_ranks_by_meaning_and_weight_1_by_words(index):
    vectors = HashingEncoder().encode(["dune worm"])
    by_meaning = index.search(vectors, 10)[1]
    assert np.array_equal(search_hybrid(index, ["dune worm"], vectors, 10, weight=0.0)[1], by_meaning)
    by_words = index.lexical.search("dune worm", 10)[1]
    assert np.array_equal(search_hybrid(index, ["dune worm"], vectors, 10, weight=1.0)[1][0], by_words)


def test_a_query_without_known_words_is_ranked_by_meaning(index):
    vectors = HashingEncoder().encode(["xyzzy"])
    assert np.array_equal(search_hybrid(index, ["xyzzy"], vectors, 10, weight=0.9)[1], index.search(vectors, 10)[1])


def test_weights(index):
    assert [weight_of(value) for value in (None, False, True, 0, 1, 0.25)] == [
        None,
        None,
        hybrid.DEFAULT_WEIGHT,
        0.0,
        1.0,
        0.25,
    ]
    for wrong in (-0.1, 1.1, float("nan"), "rrf"):
        with pytest.raises(QueryError, match="expected True, False, or the weight of words from 0 to 1"):
            weight_of(wrong)


def test_an_index_without_words_says_how_to_add_them(tmp_path):
    bare = PassageIndex.build([Passage("a", "dune")], tmp_path / "bare", HashingEncoder())
    with pytest.raises(QueryError, match=r"rebuild .*bare --hybrid`, or search without --hybrid"):
        search_hybrid(bare, ["dune"], HashingEncoder().encode(["dune"]), 1, weight=0.5)
