"""Token ids turned back into texts, for the kinds of tokenizers that encoders have."""

from __future__ import annotations

import pytest
from tokenizers import BertWordPieceTokenizer, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from elasticdenser.errors import QueryError
from elasticdenser.models.token_ids import TokenIdReader

TEXTS = ["who wrote dune", "do not read Kölns, isn't it?", "a  b", "x\ty (z) [UNK] 3.5%", "unbelievably-long " * 9]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz'-,.?()35%", "do", "not", "don"]
_CONTINUED_O = len(WORDS) + WORDS[5:].index("o")
"""The id of ##o: the tokenizer would write d and ##o as the one token do."""


def word_piece():
    vocabulary = {word: n for n, word in enumerate([*WORDS, *(f"##{word}" for word in WORDS[5:])])}
    return BertWordPieceTokenizer(vocabulary, lowercase=True)._tokenizer


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 1)])
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=["<s>", "</s>", "<unk>"], unk_token="<unk>")
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 1)])
    return tokenizer


@pytest.mark.parametrize("make", [word_piece, byte_level, unigram])
@pytest.mark.parametrize("limit", [12, 500])
def test_the_text_has_the_same_tokens(make, limit):
    whole = make()
    tokenizer = Tokenizer.from_str(whole.to_str())
    tokenizer.enable_truncation(limit)
    reader = TokenIdReader(tokenizer)
    for text in TEXTS:
        assert tokenizer.encode(reader.text_of(whole.encode(text).ids)).ids == tokenizer.encode(text).ids
        assert tokenizer.encode(reader.text_of(tokenizer.encode(text).ids)).ids == tokenizer.encode(text).ids


def test_a_tokenizer_without_special_tokens():
    tokenizer = word_piece()
    tokenizer.post_processor = processors.TemplateProcessing("$A", None, [])
    reader = TokenIdReader(tokenizer)
    assert reader.text_of(tokenizer.encode("do not").ids) == "do not"
    with pytest.raises(QueryError, match="got no token ids; expected at least one"):
        reader.text_of([])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "expected ids of this model's tokenizer with its special tokens: 2, the ids of the text, 3"),
        ([2, 3], r"got the token ids \[2, 3\]; expected"),
        ([5, 6], "with its special tokens"),
        ([2, 5, 3, 0], "with its special tokens"),
        ([2, 8, _CONTINUED_O, 3], r"produces them, which for the same text .'do'. are the token ids \[2, 4"),
        ([2, -1, 3], "got the token id -1; expected ids of this model's tokenizer, 0 to"),
        ([2, 1 << 40, 3], "got the token id 1099511627776"),
    ],
)
def test_ids_that_the_tokenizer_does_not_produce_are_refused(ids, message):
    with pytest.raises(QueryError, match=message):
        TokenIdReader(word_piece()).text_of(ids)
