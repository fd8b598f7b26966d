"""Tokens of filters."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from elasticdenser.errors import QueryError
from elasticdenser.index.filters.nodes import KEYWORDS, NAME

Kind = Literal["name", "quoted name", "keyword", "string", "number", "symbol", "end"]

_TOKEN = re.compile(
    rf"""\s*(?:
        (?P<string>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")+")
      | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<word>{NAME.pattern})
      | (?P<symbol><=|>=|!=|<>|==|[=<>(),])
    )""",
    re.VERBOSE,
)
_SHOWN = 24
"""Characters of a filter that a message quotes."""


class Token(NamedTuple):
    """Token of a filter.

    Attributes:
        kind: Its kind.
        text: Keywords in lower case, names and strings without their quotes, the others as they are written.
        start: Index of its first character.
    """

    kind: Kind
    text: str
    start: int


def tokens_of(source: str) -> list[Token]:
    """Return the tokens of a filter; the last is its end.

    Raises:
        QueryError: Some characters belong to no token.
    """
    tokens: list[Token] = []
    position = 0
    while match := _TOKEN.match(source, position):
        kind, text = str(match.lastgroup), match[str(match.lastgroup)]
        start, position = match.start(kind), match.end()
        if kind == "string":
            tokens.append(Token("string", text[1:-1].replace("''", "'"), start))
        elif kind == "quoted":
            tokens.append(Token("quoted name", text[1:-1].replace('""', '"'), start))
        elif kind == "word":
            is_keyword = text.lower() in KEYWORDS
            tokens.append(Token("keyword" if is_keyword else "name", text.lower() if is_keyword else text, start))
        else:
            tokens.append(Token("number" if kind == "number" else "symbol", text, start))
    end = len(source.rstrip())
    if position < end:
        start = position + len(source[position:]) - len(source[position:].lstrip())
        raise fault(source, start, "expected a field, a value or an operator", _hint(source[start]))
    return [*tokens, Token("end", "", end)]


def _hint(character: str) -> str:
    if character == "'":
        return "close the text with ', and write '' for an apostrophe within"
    if character == '"':
        return 'close the name with "'
    return "write texts as 'ops', and other names of fields than words as \"page count\""


def fault(source: str, start: int, expected: str, hint: str) -> QueryError:
    """Return the error for a place of a filter.

    Args:
        source: The filter.
        start: Index of the character at which the fault is.
        expected: What was expected there.
        hint: The way out.
    """
    rest = source[start:].strip()
    shown = repr(rest[:_SHOWN] + "..." * (len(rest) > _SHOWN)) if rest else "its end"
    return QueryError(f"filter, position {start + 1}: got {shown}, {expected}: {hint}")
