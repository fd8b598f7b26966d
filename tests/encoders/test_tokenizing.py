"""Tokens of long texts: only a beginning is tokenised, and the token ids are those of the whole text."""

from __future__ import annotations

import json
import string
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import VOCABULARY
from tokenizers import (
    BertWordPieceTokenizer,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from elasticdenser.encoders.tokenizing import TextTokenizer

MAX_LENGTH = 12
TRAINING_TEXT = [
    "it's a dog's life, they're here and we've been",
    "日本語のテキスト и русский",
    "aaaa bbbb 1234 5678",
] * 3


def bert(**options):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "aa", "##aa", "the", "##ing"]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*words, *VOCABULARY]))}
    return BertWordPieceTokenizer(vocabulary, **options)._tokenizer


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def bpe_with_bytes():
    """Return a tokenizer as those of Llama 2: the whole text is one word, and unknown characters become bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(vocab_size=140, special_tokens=["<unk>", "<s>", "</s>"])
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary.update({f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)})
    state["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(state))


def unigram(*, split):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    metaspace = pre_tokenizers.Metaspace(split=split)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace]) if split else metaspace
    )
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(TRAINING_TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return tokenizer


TOKENIZERS = {
    "bert": bert(),
    "bert that keeps control characters": bert(clean_text=False, strip_accents=False, lowercase=False),
    "byte-level BPE": byte_level(),
    "BPE with bytes": bpe_with_bytes(),
    "unigram, words": unigram(split=True),
    "unigram, whole text": unigram(split=False),
}
for each in TOKENIZERS.values():
    each.enable_truncation(MAX_LENGTH)

PIECES = st.sampled_from(
    [
        *("a", "aa", "the", "it's", "they're", "'", "'v", "e", ".", "...", "[MASK]", "[MA", "SK]", "<mask>", "</s>"),
        *(" ", "  ", "\t\n", "\r\n\r\n", "\0", "\x1c", "\x85", "\u00a0", "\u200b", "\u2028", "\u3000", "\ufeff"),
        *("é", "e\u0301", "\u0301", " \u0301", "ß", "İ", "ΑΣ", "日本", "が", "か\u3099", "ﬁ", "😀", "👩‍👩‍👧", "🇩🇪"),
        *(
            "a" * 99,
            "a" * 101,
            "b" * 150,
            "x1" * 180,
            "1234567890" * 3,
            "я" * 130,
            "が" * 90,
            "한" * 60,
            "Éé" * 70,
            " " * 40,
            "\0" * 30,
            "\u0301" * 30,
        ),
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=80).map("".join),
    st.lists(st.text(max_size=6), max_size=40).map(" ".join),
    st.tuples(PIECES, st.integers(1, 400), PIECES).map(lambda parts: parts[0] * parts[1] + parts[2]),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXTS, prompt=st.sampled_from(["", "query: ", "'"]), limit=st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_ids_are_those_of_the_whole_text(name, text, prompt, limit):
    whole = TOKENIZERS[name].encode(prompt + text)
    tokenizer = TextTokenizer(TOKENIZERS[name], MAX_LENGTH)
    tokenizer._max_characters = limit  # far below what is used, so that more can go wrong
    for texts in ([text], [text, "short"] * 40):
        for tokenized in tokenizer.tokenize(texts, prompt)[::2]:
            assert tokenized == (whole.ids, bool(whole.overflowing))
    shorter = tokenizer.shorten(text, prompt)
    assert len(shorter) <= len(text)
    assert TOKENIZERS[name].encode(prompt + shorter).ids == whole.ids


ENDLESS_WORDS = st.tuples(
    st.lists(
        st.sampled_from([*"ae'1.é日ガ한😀", "the", "aaa", "3456", "ﷺ", "e\u0301", "\u0301"]), min_size=1, max_size=5
    ),
    st.lists(st.sampled_from([*"aet'1日", "th", "aa", "текст", " ", "\u0301", "<mask>"]), min_size=1, max_size=6),
    st.integers(1000, 3000),
).map(lambda parts: "".join(parts[0]) + "".join(parts[1]) * (parts[2] // len(parts[1])) + "".join(parts[0]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TOKENIZERS if "bert" not in name])
@given(text=ENDLESS_WORDS, limit=st.integers(150, 300), max_length=st.integers(3, 40))
@settings(max_examples=40, deadline=None)
def test_ids_of_a_text_without_words_are_those_of_the_whole(name, text, limit, max_length):
    whole = Tokenizer.from_str(TOKENIZERS[name].to_str())
    whole.enable_truncation(max_length)
    tokenizer = TextTokenizer(whole, max_length)
    tokenizer._max_characters = limit
    encoding = whole.encode(text)
    assert tokenizer.tokenize([text]) == [(encoding.ids, bool(encoding.overflowing))]


def test_tokens_that_depend_on_the_end_of_a_text_are_not_cut():
    """Each merge takes the character from the one before: from the end of the text to its beginning."""
    letters = [chr(0x4E00 + number) for number in range(3000)]
    merges = [*pairwise(letters)][::-1]
    vocabulary = {token: number for number, token in enumerate([*letters, *map("".join, merges)])}
    whole = Tokenizer(models.BPE(vocabulary, merges))
    whole.enable_truncation(MAX_LENGTH)
    tokenizer = TextTokenizer(whole, MAX_LENGTH)
    tokenizer._max_characters = 200
    for n in (2999, 3000):
        text = "".join(letters[:n])
        assert tokenizer.tokenize([text])[0].ids == whole.encode(text).ids
    assert whole.encode("".join(letters)).ids != whole.encode("".join(letters[:2999])).ids


@pytest.mark.parametrize("name", TOKENIZERS)
def test_texts_of_every_length_around_the_maximum(name):
    tokenizer = TextTokenizer(TOKENIZERS[name], MAX_LENGTH)
    for n_words in [*range(16), 2000]:
        text = "a. " * n_words
        whole = TOKENIZERS[name].encode(text)
        assert tokenizer.tokenize([text]) == [(whole.ids, bool(whole.overflowing))]


@pytest.mark.parametrize(
    "text",
    [
        *("word " * 1_000_000, "日" * 2_000_000),
        *("x" * 5_000_000, "я" * 2_000_000, " " * 5_000_000 + "end", "\0" * 5_000_000 + "end"),
    ],
    ids=["words", "Chinese", "one word", "one Russian word", "white space", "zeros"],
)
def test_a_huge_text_reaches_the_tokenizer_only_in_part(text):
    counting = Counting("bert")
    (tokenized,) = TextTokenizer(counting, MAX_LENGTH).tokenize([text])
    assert counting.n_characters < 20_000
    assert tokenized.is_truncated == text.startswith(("word", "日"))


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if "bert" not in name])
@pytest.mark.parametrize(
    "text", ["gattaca" * 100_000, "日本語のテキスト" * 100_000, "1234567890" * 100_000, "xyz, " * 200_000]
)
def test_a_huge_text_without_words_reaches_other_tokenizers_only_in_part(name, text):
    counting = Counting(name)
    (tokenized,) = TextTokenizer(counting, MAX_LENGTH).tokenize([text])
    assert counting.n_characters < 20_000 and tokenized.is_truncated


class Counting:
    """Tokenizer that counts the characters it gets."""

    def __init__(self, name):
        self.tokenizer, self.n_characters = TOKENIZERS[name], 0

    def encode(self, text):
        self.n_characters += len(text)
        return self.tokenizer.encode(text)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


def test_ends_of_tokens_are_offsets_into_the_text():
    text = f"  The {string.ascii_lowercase[:3]}. É"
    ends = TextTokenizer(TOKENIZERS["bert"], MAX_LENGTH).token_ends(text)
    assert ends[0] == 5 and text[: ends[-1]] == text and ends == sorted(ends)
