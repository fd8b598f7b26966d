"""Frames as tags of words and back, spans of tags, and words of any script."""

from __future__ import annotations

import pytest

from elasticdenser.datasets.intents.frames import (
    Span,
    frame_of,
    frame_text,
    is_expressible,
    is_nested,
    parse_frame,
    spans_of,
    tags_of,
)
from elasticdenser.datasets.words import split_words

FLAT = "[IN:SEND_MESSAGE [SL:RECIPIENT Matthew ] [SL:CONTENT_EXACT are you free ] ]"
NESTED = (
    "[IN:CREATE_REMINDER [SL:PERSON_REMINDED me ] [SL:TODO [IN:CREATE_CALL [SL:CONTACT [IN:GET_CONTACT "
    "[SL:CONTACT_RELATED my ] [SL:TYPE_RELATION mother ] ] ] ] ] [SL:DATE_TIME at 5 ] ]"
)


def test_a_flat_frame_has_a_tag_for_each_word():
    words = split_words("text Matthew: are you free?")
    assert words == ["text", "Matthew", ":", "are", "you", "free", "?"]
    assert tags_of(parse_frame(FLAT), words) == (
        *("O", "B-RECIPIENT", "O", "B-CONTENT_EXACT", "I-CONTENT_EXACT", "I-CONTENT_EXACT", "O"),
    )
    assert is_expressible(parse_frame(FLAT), words) and not is_nested(parse_frame(FLAT))


def test_a_nested_frame_comes_back_from_the_paths_of_its_words():
    words = split_words("remind me to call my mother at 5")
    frame = parse_frame(NESTED)
    tags = tags_of(frame, words)
    assert tags[4] == "B-TODO>CREATE_CALL>CONTACT>GET_CONTACT>CONTACT_RELATED"
    assert frame_of("CREATE_REMINDER", words, tags) == frame_text(frame) == NESTED.replace("at 5", "at5")
    assert is_expressible(frame, words) and is_nested(frame)


def test_texts_are_compared_without_white_space():
    frame = parse_frame("[IN:GET_EVENT [SL:ORGANIZER Linda 's ] ]")
    assert is_expressible(frame, split_words("Linda's"))


@pytest.mark.parametrize(
    ("logical_form", "text"),
    [
        ("[IN:GET_X [SL:A [IN:GET_Y ] ] ]", "now"),  # a slot without words
        ("[IN:GET_X [SL:A b ] [SL:B a ] ]", "a b"),  # another order than the words
        ("[IN:GET_X [SL:A a c ] ]", "a b c"),  # words that do not stand together
        ("[IN:GET_X [SL:A [IN:Y [SL:B a ] ] ] [SL:A [IN:Y [SL:B b ] ] ] ]", "a b"),  # two alike side by side
    ],
)
def test_some_frames_cannot_be_expressed(logical_form, text):
    assert not is_expressible(parse_frame(logical_form), split_words(text))


@pytest.mark.parametrize(
    ("logical_form", "message"),
    [
        ("[IN:GET_X [SL:A a ]", "1 missing ]"),
        ("[IN:GET_X ] ]", "one ] too many"),
        ("[SL:A a ]", r"got \[SL:A, expected \[IN:NAME"),
        ("[IN:GET_X a ]", "got 'a' outside a slot"),
        ("[IN:A ] [IN:B ]", "got 2 frames"),
        ("", "got 0 frames"),
    ],
)
def test_a_damaged_frame_is_refused(logical_form, message):
    with pytest.raises(ValueError, match=message):
        parse_frame(logical_form)


def test_spans_are_those_of_conlleval():
    assert spans_of(["B-a", "I-a", "B-a", "O", "I-b", "I-b", "I-a"]) == [
        Span("a", 0, 2),
        Span("a", 2, 3),
        Span("b", 4, 6),  # an I that continues nothing begins a span
        Span("a", 6, 7),
    ]
    assert spans_of(["O", "O"]) == []


def test_words_keep_the_marks_of_their_script():
    assert split_words("ที่ แองเคอเรจ") == ["ที่", "แองเคอเรจ"]
    assert split_words("वीडियो कॉल, 5:30") == ["वीडियो", "कॉल", ",", "5", ":", "30"]
    assert split_words("می\u200cروم") == ["می\u200cروم"] and split_words("क्\u200dष") == ["क्\u200dष"]  # joiners
    assert split_words(" \u3000\n") == []
