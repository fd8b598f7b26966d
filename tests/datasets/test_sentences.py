"""Sentences: their boundaries, and that they cover the text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.datasets.sentences import sentence_spans


def sentences(text):
    return [text[start:end].strip() for start, end in sentence_spans(text) if text[start:end].strip()]


@pytest.mark.parametrize(
    "expected",
    [
        ["One sentence."],
        ["He came.", "She left!", "Did they meet?", "No..."],
        ['"Come here."', '"Why?"', "(I do not know.)", "Good."],
        ["Dr. Smith met J. R. Tolkien, e.g. in Oxford.", "They ate approx. 3.5 pies vs. 4 cakes."],
        ["So do I.", "And you?"],
        ["今天天气很好。", "我们去公园吧！", "「はい。」", "Ende."],
        ["3.14 is no sentence and neither is example.com or v1.2.3 of it"],
        ["Grün.", "Été.", "Это кот.", "Да."],
    ],
    ids=lambda expected: expected[0][:12],
)
def test_sentences(expected):
    assert sentences(" ".join(expected)) == expected


def test_paragraphs_end_sentences_and_lines_do_not():
    assert sentences("A heading\n\nThe first line\nand the second.\n \nMore") == [
        "A heading",
        "The first line\nand the second.",
        "More",
    ]


@given(st.text(st.sampled_from("aA.?! \n。\"'(")) | st.text())
def test_sentences_cover_the_text(text):
    spans = list(sentence_spans(text))
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(start < end for start, end in spans)


@pytest.mark.slow
@pytest.mark.parametrize("piece", [".", ".'", "\n ", "\n", " ", "。", "a.", "J. "])
def test_time_grows_with_the_length_alone(piece):
    def cpu_s(n):
        started = time.process_time()
        for text in (piece * n + "x", "x" + piece * n):
            for _ in sentence_spans(text):
                pass
        return time.process_time() - started

    assert cpu_s(80_000) < 24 * cpu_s(10_000) + 0.2  # 8 times if linear, 64 times if quadratic
