"""Sentences of a text, found by punctuation and white space alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BOUNDARY = re.compile(
    r"""
    (?<![.!?…]) [.!?…]+ ["'”’»)\]]* (?=\s)  # the end of a sentence, with closing quotes and brackets
    | [。！？]+ ["'”’」』）]*                 # the same in Chinese and Japanese, which put no white space between them
    | \n [^\S\n]* (?=\n)                    # the end of a paragraph
    """,
    re.VERBOSE,
)
_NO_END = re.compile(
    r"""
    (?:\A | [\s(\["'“‘])
    (?:
        [^\W\d_a-zI]                # an initial
        | (?i:al|approx|ca|cf|co|corp|dept|dr|ed|e\.g|eq|etc|figs?|gen|gov|i\.e|inc|jr|ltd?|mr|mrs|ms|no|nr|pp?|prof|sec
            |sgt|sr|st|u\.k|u\.s|vol|vs)
    )
    \Z
    """,
    re.VERBOSE,
)
"""Texts before a full stop that does not end a sentence."""
_LONGEST = 8
"""More characters than the longest of these has."""
_NEXT_CHARACTER = re.compile(r"\s*(\S?)")


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each sentence, in characters; together they cover the text.

    White space between two sentences belongs to the second. A full stop ends a sentence unless a small letter follows,
    or it ends an initial or one of the common English abbreviations.
    """
    start = 0
    for match in _BOUNDARY.finditer(text):
        if match[0].startswith(".") and not _ends_sentence(text, match.start(), match.end()):
            continue
        yield start, match.end()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def _ends_sentence(text: str, position: int, end: int) -> bool:
    """Return whether the full stop at `position` ends a sentence; the next word starts after `end`."""
    following = _NEXT_CHARACTER.match(text, end)
    if following is not None and following[1].islower():
        return False
    return _NO_END.search(text[max(0, position - _LONGEST) : position]) is None
