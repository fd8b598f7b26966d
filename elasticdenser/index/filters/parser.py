"""Parser of filters written as text; `docs/filters.md` has the grammar."""

from __future__ import annotations

import math

from elasticdenser.errors import QueryError
from elasticdenser.index.filters.nodes import (
    And,
    Comparison,
    Condition,
    Filter,
    IsMissing,
    Literals,
    Not,
    OneOf,
    Operator,
    Or,
    quoted,
    quoted_name,
)
from elasticdenser.index.filters.tokens import Token, fault, tokens_of

MAX_NESTING = 100
"""Parentheses and negations in one another, those included that the tree of a filter does not need."""

_EXAMPLE = "section = 'ops' and not tag in ('draft', 'old')"
_COMPARISONS: dict[str, Operator] = {"=": "=", "==": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_NOT_EQUAL = ("!=", "<>")


def parse_text(source: str) -> Filter:
    """Return the filter that a text spells.

    Raises:
        QueryError: It has a fault; the message says where, and what was expected.
    """
    parser = _Parser(source)
    parsed = parser.disjunction(0)
    parser.expect_end()
    return parsed


class _Parser:
    """Recursive descent over the tokens of a filter."""

    def __init__(self, source: str) -> None:
        self._source, self._tokens, self._at = source, tokens_of(source), 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _accept(self, *texts: str) -> Token | None:
        """Return the next token and step behind it, if it is one of these keywords or symbols."""
        token = self._next
        if token.kind not in ("keyword", "symbol") or token.text not in texts:
            return None
        self._at += 1
        return token

    def _fault(self, expected: str, hint: str = f"write conditions such as {_EXAMPLE}") -> QueryError:
        return fault(self._source, self._next.start, expected, hint)

    def _expect(self, text: str, hint: str) -> None:
        if self._accept(text) is None:
            raise self._fault(f"expected {text!r}", hint)

    def expect_end(self) -> None:
        if self._next.kind != "end":
            raise self._fault("expected 'and', 'or' or the end", "join conditions with and, or")

    def disjunction(self, depth: int) -> Filter:
        parts = [self._conjunction(depth)]
        while self._accept("or"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self, depth: int) -> Filter:
        parts = [self._negation(depth)]
        while self._accept("and"):
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _negation(self, depth: int) -> Filter:
        if depth > MAX_NESTING:
            raise self._fault(f"expected at most {MAX_NESTING} levels of 'not' and parentheses", "simplify it")
        if self._accept("not"):
            return Not(self._negation(depth + 1))
        if self._accept("("):
            inner = self.disjunction(depth + 1)
            self._expect(")", "close the parenthesis")
            return inner
        return self._condition()

    def _condition(self) -> Filter:
        token = self._next
        if token.kind not in ("name", "quoted name"):
            raise self._fault("expected the name of a field")
        self._at += 1
        name, place = token.text, f"position {token.start + 1}"
        if self._accept("is"):
            return self._is_missing(name, place)
        if self._accept(*_NOT_EQUAL):
            return Not(Comparison(name, "=", self._value(), place))
        if symbol := self._accept(*_COMPARISONS):
            return Comparison(name, _COMPARISONS[symbol.text], self._value(), place)
        is_negated = self._accept("not") is not None
        condition = self._word_condition(name, place)
        if condition is None and is_negated:
            raise self._fault("expected 'in', 'like' or 'contains' after 'not'", f"write not {quoted_name(name)} = ...")
        if condition is None and self._is_operand_end():
            condition = Comparison(name, "=", True, place)
        if condition is None:
            raise self._fault("expected an operator: =, !=, <, <=, >, >=, in, like, contains or is null")
        return Not(condition) if is_negated else condition

    def _word_condition(self, name: str, place: str) -> Condition | None:
        if self._accept("in"):
            return OneOf(name, self._values(), place)
        if self._accept("like"):
            return Comparison(name, "like", self._value(), place)
        if self._accept("contains"):
            return Comparison(name, "contains", self._value(), place)
        return None

    def _is_missing(self, name: str, place: str) -> Filter:
        is_negated = self._accept("not") is not None
        self._expect("null", "write is null, or is not null")
        return Not(IsMissing(name, place)) if is_negated else IsMissing(name, place)

    def _is_operand_end(self) -> bool:
        """Return whether a field stands alone, which means that it is true."""
        token = self._next
        return token.kind == "end" or token.text == ")" or (token.kind == "keyword" and token.text in ("and", "or"))

    def _values(self) -> tuple[Literals, ...]:
        self._expect("(", "write in ('a', 'b')")
        values = [self._value()]
        while self._accept(","):
            values.append(self._value())
        self._expect(")", "write in ('a', 'b')")
        return tuple(values)

    def _value(self) -> Literals:
        token = self._next
        if token.kind == "string":
            self._at += 1
            return token.text
        if boolean := self._accept("true", "false"):
            return boolean.text == "true"
        if token.kind != "number":
            raise self._fault("expected a value", _hint_of_value(token))
        number = _number(token.text)
        if number is None:
            raise self._fault("expected a number that 64 bits can hold", "write a smaller one")
        self._at += 1
        return number


def _hint_of_value(token: Token) -> str:
    if "name" not in token.kind:
        return "give a value"
    example = f": {quoted(token.text)}" if token.text.isprintable() else ""  # a message is one line
    return f"write texts and dates in single quotes{example}"


def _number(text: str) -> int | float | None:
    """Return the number that a text spells; None if it is too large."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        return number if math.isfinite(number) else None
