"""Filters as conditions of SQLite, with values as parameters only.

Every condition is true or false, never NULL: a passage without a value meets no comparison, and `not` turns exactly the
others into hits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from elasticdenser.datasets.metadata.dates import Span, parse_date
from elasticdenser.datasets.metadata.types import FieldType
from elasticdenser.datasets.metadata.values import Scalar, plain_number
from elasticdenser.index.filters.nodes import And, Comparison, Filter, IsMissing, Literals, Not, OneOf, Or

_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})
"""Pattern of `like` to that of SQLite's GLOB, which tells upper from lower case."""


class Column(NamedTuple):
    """Field of the table that holds metadata; see `elasticdenser.index.metadata.table`.

    Attributes:
        type: Its type.
        number: Its number: the values are in the column `fN`, or those of lists in the table `listN`.
    """

    type: FieldType
    number: int


class Clause(NamedTuple):
    """Condition of SQL, and its parameters."""

    sql: str
    parameters: tuple[Scalar, ...] = ()


def clause_of(filter: Filter, columns: Mapping[str, Column]) -> Clause:
    """Return a filter as a condition on the table `passages`.

    Args:
        filter: The filter; `check_filter` has accepted it.
        columns: The fields; a passage has no value in any other field.
    """
    if isinstance(filter, And | Or):
        clauses = [clause_of(part, columns) for part in filter.parts]
        joined = (" AND " if isinstance(filter, And) else " OR ").join(clause.sql for clause in clauses)
        return Clause(f"({joined})", tuple(value for clause in clauses for value in clause.parameters))
    if isinstance(filter, Not):
        clause = clause_of(filter.part, columns)
        return Clause(f"(NOT {clause.sql})", clause.parameters)
    column = columns.get(filter.field)
    if column is None:
        return Clause("1" if isinstance(filter, IsMissing) else "0")
    if column.type.is_list:
        return _list_clause(filter, column)
    name = f"f{column.number}"
    if isinstance(filter, IsMissing):
        return Clause(f"({name} IS NULL)")
    clause = _value_clause(filter, name, column.type)
    return Clause(f"({name} IS NOT NULL AND {clause.sql})", clause.parameters)


def _list_clause(condition: Comparison | OneOf | IsMissing, column: Column) -> Clause:
    table = f"list{column.number}"
    if isinstance(condition, IsMissing):
        return Clause(f"(position NOT IN (SELECT position FROM {table}))")
    if isinstance(condition, Comparison) and condition.operator == "contains":
        condition = Comparison(condition.field, "=", condition.value)
    clause = _value_clause(condition, "value", column.type)
    return Clause(f"(position IN (SELECT position FROM {table} WHERE {clause.sql}))", clause.parameters)


def _value_clause(condition: Comparison | OneOf, name: str, kind: FieldType) -> Clause:
    """Return a condition on the column `name`, whose values are not NULL."""
    values = condition.values if isinstance(condition, OneOf) else (condition.value,)
    if kind.kind == "date":
        spans = [span for span in (parse_date(str(value)) for value in values) if span is not None]
        if isinstance(condition, Comparison):
            return _span_clause(condition.operator, spans[0], name)
        clauses = [_span_clause("=", span, name) for span in spans]
        sql = " OR ".join(clause.sql for clause in clauses)
        return Clause(f"({sql})", tuple(value for clause in clauses for value in clause.parameters))
    parameters = tuple(_parameter(value) for value in values)
    if isinstance(condition, OneOf):
        return Clause(f"({name} IN ({', '.join('?' * len(values))}))", parameters)
    if condition.operator == "contains":
        return Clause(f"(instr({name}, ?) > 0)", parameters)
    if condition.operator == "like":
        return Clause(f"({name} GLOB ?)", (str(condition.value).translate(_GLOB),))
    return Clause(f"({name} {condition.operator} ?)", parameters)


def _span_clause(operator: str, span: Span, name: str) -> Clause:
    """Return the comparison of a moment with the span of a date."""
    if operator == "=":
        return Clause(f"({name} >= ? AND {name} < ?)", span)
    if operator in (">=", "<"):
        return Clause(f"({name} {operator} ?)", (span.start,))
    return Clause(f"({name} {'>=' if operator == '>' else '<'} ?)", (span.end,))


def _parameter(value: Literals) -> Scalar:
    return value if isinstance(value, str) else plain_number(value)
