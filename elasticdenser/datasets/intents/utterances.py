"""Utterances, the form that the files of all tasks are read into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elasticdenser.datasets.intents.frames import OUTSIDE, frame_of, frame_text, parse_frame, tags_of
from elasticdenser.datasets.words import split_words


@dataclass(frozen=True, slots=True)
class Utterance:
    """Words with their intent and slots.

    Args:
        words: The words.
        intent: The intent.
        tags: BIO tag of each word; all `O` in tasks without slots.
        frame: Intent and slots together, as `frame_text` writes them; it may hold what tags cannot express.
    """

    words: tuple[str, ...]
    intent: str
    tags: tuple[str, ...]
    frame: str


def tagged_utterance(words: Sequence[str], intent: str, tags: Sequence[str]) -> Utterance:
    """Return an utterance whose tags express its frame.

    Raises:
        ValueError: There is no intent, there are no words, or they have another number than the tags.
    """
    if not intent or not words:
        raise ValueError("got no intent or no words")
    if len(words) != len(tags):
        raise ValueError(f"got {len(words)} words and {len(tags)} tags")
    if wrong := [tag for tag in tags if tag != OUTSIDE and not tag.startswith(("B-", "I-"))]:
        raise ValueError(f"got the tag {wrong[0]!r}, expected O, B-NAME or I-NAME")
    return Utterance(tuple(words), intent, tuple(tags), frame_of(intent, words, tags))


def plain_utterance(text: str, intent: str) -> Utterance:
    """Return an utterance without slots.

    Raises:
        ValueError: There is no intent, or there are no words.
    """
    words = split_words(text)
    return tagged_utterance(words, intent, [OUTSIDE] * len(words))


def framed_utterance(text: str, logical_form: str) -> Utterance:
    """Return an utterance of MTOP.

    Raises:
        ValueError: The logical form is damaged, or there are no words.
    """
    words, frame = split_words(text), parse_frame(logical_form)
    if not words:
        raise ValueError("got no words")
    return Utterance(tuple(words), frame.label, tags_of(frame, words), frame_text(frame))
