from __future__ import annotations

from elasticdenser.models.byte_tokenizer import byte_tokenizer
from elasticdenser.models.token_ids import TokenIdReader


def test_the_ids_of_a_text_are_its_bytes() -> None:
    text = "Who wrote 'Dune',\n 1965? Αθήνα 北京 \x00\xad"
    assert byte_tokenizer(512).encode(text).ids == list(text.encode())
    assert sorted(byte_tokenizer(512).get_vocab().values()) == list(range(256))


def test_texts_are_cut_at_the_maximum_length() -> None:
    assert byte_tokenizer(5).encode("who wrote").ids == list(b"who w")


def test_bytes_are_read_back_as_their_text() -> None:
    text = "who wrote Αθήνα?"
    assert TokenIdReader(byte_tokenizer(64)).text_of(list(text.encode())) == text
