"""Tokenizer of encoders without a vocabulary: the tokens of a text are its bytes in UTF-8, whose values are the ids."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE


def byte_tokenizer(max_length: int) -> Tokenizer:
    """Return the tokenizer, which cuts texts at `max_length` bytes."""
    # `tokenizers` has bytes as characters only: printable ones as they are, the others from U+0100 on, in their order.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [value for value in range(256) if value not in printable]
    ids = {chr(value): value for value in printable} | {chr(256 + n): value for n, value in enumerate(others)}
    tokenizer = Tokenizer(BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.enable_truncation(max_length)
    return tokenizer
