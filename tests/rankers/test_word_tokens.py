"""Tokens from remembered words are those of the tokenizer, for every text."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import ByteLevel

import elasticdenser
from elasticdenser.models.tokenizer import load_tokenizer
from elasticdenser.rankers import word_tokens
from elasticdenser.rankers.word_tokens import WordTokenizer, joins_no_words

N = 40
ENCODER = Path(elasticdenser.__file__).parent / "pretrained" / "all-MiniLM-L6-v2"
PIECES = [
    *("dune", "Frank", "Herbert's", "3,000", "don't", "U.S.A.", "(sic)", "naïve", "CAFÉ", "İstanbul", "ὈΔΥΣΣΕΎΣ", "ß"),
    *(
        "[MASK]",
        "[SEP]x",
        "x[CLS]",
        "[unused0]",
        "##ing",
        "日本語",
        "東京 京都",
        "👩‍🚀",
        "e\u0301",
        "\u0301",
        "\u200b",
        "\xa0",
    ),
    *("\x00", "\x1c", "\x85", "\t", "\n", "\r\n", "\u2028", "\u3000", "\ufffd", "…", "—", "w" * 99, "w" * 101, "ﬁ"),
]


def make_tokenizer(max_length: int, *, lowercase: bool) -> Tokenizer:
    tokenizer = load_tokenizer(ENCODER, max_length)
    tokenizer.normalizer = BertNormalizer(lowercase=lowercase)
    return tokenizer


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def lowercase(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def tokenizer(lowercase) -> Tokenizer:
    return make_tokenizer(N + 2, lowercase=lowercase)


@pytest.fixture(scope="module")
def whole(lowercase) -> Tokenizer:
    """The same tokenizer, which cuts nothing."""
    return make_tokenizer(100_000, lowercase=lowercase)


def random_texts(n: int, seed: int = 0) -> list[str]:
    random = Random(seed)
    separators = [" ", "  ", " ", "", "\n", " \t "]
    return [
        "".join(random.choice(PIECES) + random.choice(separators) for _ in range(random.randrange(60)))
        for _ in range(n)
    ]


@pytest.mark.slow
def test_they_are_those_of_the_whole_text(tokenizer, whole):
    words = WordTokenizer(tokenizer)
    n_given_up = 0
    for text in ["", " ", "dune " * 3000, *random_texts(600)]:
        tokens = words.tokens(text, N)
        n_given_up += tokens is None
        if tokens is not None:
            assert tokens == whole.encode(text, add_special_tokens=False).ids[:N], repr(text)
    assert n_given_up < 60


@pytest.mark.slow
def test_random_characters_are_tokenised_alike(tokenizer, whole):
    random, words = Random(1), WordTokenizer(tokenizer)
    ranges = [(0, 0x250), (0, 0x250), (0x300, 0x3100), (0xF900, 0xFFFF), (0x1F300, 0x1F700)]
    for _ in range(400):
        codes = (random.randrange(*random.choice(ranges)) if random.random() < 0.8 else 32 for _ in range(60))
        text = "".join(map(chr, codes))
        assert words.tokens(text, N) == whole.encode(text, add_special_tokens=False).ids[:N], repr(text)


def test_printable_ascii_is_tokenised_alike(tokenizer, whole):
    random, words = Random(2), WordTokenizer(tokenizer)
    for _ in range(600):
        text = "".join(random.choices([*map(chr, range(33, 127)), *"aeionst  "], k=80))
        assert words.tokens(text, N) == whole.encode(text, add_special_tokens=False).ids[:N], repr(text)


def test_long_texts_are_decided_by_their_beginning_or_not_at_all(tokenizer):
    words = WordTokenizer(tokenizer)
    assert len(words.tokens("dune " * 10**6, N)) == N
    assert words.tokens("w" * 10**6, N) is None
    assert words.tokens(" " * 10**6 + "dune", N) is None


def test_what_is_remembered_has_a_bound(tokenizer, monkeypatch):
    monkeypatch.setattr(word_tokens, "_MAX_WORDS", 8)
    words = WordTokenizer(tokenizer)
    text = " ".join(f"é{number} w{number}" for number in range(12))
    expected = tokenizer.encode(text, add_special_tokens=False).ids[:N]
    assert words.tokens(text, N) == words.tokens(text, N) == expected
    assert 0 < len(words._words) <= 8 and 0 < len(words._chunks) <= 8
    words.tokens("v" * 65, N)
    assert "v" * 65 not in words._words


def test_other_tokenizers_are_refused(tokenizer):
    assert joins_no_words(tokenizer)
    other = load_tokenizer(ENCODER, N)
    other.pre_tokenizer = ByteLevel()
    assert not joins_no_words(other)
    for added in ("[new york]", "dune"):
        other = load_tokenizer(ENCODER, N)
        other.add_tokens([added])
        assert not joins_no_words(other)
