"""Filters as text and as JSON: what they mean, and what the messages say."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticdenser.datasets.metadata import FieldType
from elasticdenser.errors import QueryError
from elasticdenser.index.filters import parse_filter
from elasticdenser.index.filters.checking import check_filter
from elasticdenser.index.filters.json_form import OPERATORS
from elasticdenser.index.filters.nodes import And, Comparison, IsMissing, Not, OneOf, Or

A, B, C = Comparison("a", "=", 1), Comparison("b", "<", "x"), Comparison("c", "=", True)
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FIELDS = {
    "section": "text",
    "date": "date",
    "price": "number",
    "draft": "boolean",
    "tags": "text[]",
    "sizes": "number[]",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1", A),
        ("A=1 ", Comparison("A", "=", 1)),
        ("a == 1", A),
        ("a != 1", Not(A)),
        ("a <> 1", Not(A)),
        ("a=1 and b<'x' or c", Or((And((A, B)), C))),
        ("a=1 AND (b<'x' Or c = true)", And((A, Or((B, C))))),
        ("not a=1 and b<'x'", And((Not(A), B))),
        ("not (a=1 and b<'x')", Not(And((A, B)))),
        ("not not c", Not(Not(C))),
        ("tag in ('draft', \n'old')", OneOf("tag", ("draft", "old"))),
        ("tag not in (1)", Not(OneOf("tag", (1,)))),
        ("not tag in ('draft')", Not(OneOf("tag", ("draft",)))),
        ("a is null or a is not null", Or((IsMissing("a"), Not(IsMissing("a"))))),
        ("a like 'x%'", Comparison("a", "like", "x%")),
        ("a not contains 'it''s'", Not(Comparison("a", "contains", "it's"))),
        ('"page count" >= -1.5e3', Comparison("page count", ">=", -1500.0)),
        ('"and" = false', Comparison("and", "=", False)),
        ("dc.title-2 = 'é'", Comparison("dc.title-2", "=", "é")),
        ("größe > .5", Comparison("größe", ">", 0.5)),
    ],
)
def test_text_is_parsed(text, expected):
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("a >", 4, "got its end, expected a value"),
        ("a = ", 4, "got its end, expected a value"),
        ("a b", 3, "got 'b', expected an operator"),
        ("= 1", 1, "expected the name of a field"),
        ("a = 1 b = 2", 7, "expected 'and', 'or' or the end"),
        ("(a = 1", 7, "expected ')': close the parenthesis"),
        ("a = 1)", 6, "expected 'and', 'or' or the end"),
        ("a = 'x", 5, "close the text with '"),
        ('"a = 1', 1, 'close the name with "'),
        ("section = ops", 11, "write texts and dates in single quotes: 'ops'"),
        ('section = "it\'s"', 11, "write texts and dates in single quotes: 'it''s'"),
        ('section = "a\nb"', 11, "expected a value: write texts and dates in single quotes"),
        ("a in ()", 7, "expected a value"),
        ("a in 1", 6, "expected '('"),
        ("a is 3", 6, "expected 'null'"),
        ("a not = 1", 7, "expected 'in', 'like' or 'contains' after 'not'"),
        ("a = 1; drop table passages", 6, "got '; drop table passages', expected"),
        ("a = 1 -- x", 7, "got '-- x', expected"),
        ("a = 1e999", 5, "expected a number that 64 bits can hold"),
        ("a = 1x", 5, "expected a field, a value or an operator"),
        ("not " * 101 + "a", 405, "expected at most 100 levels"),
    ],
)
def test_the_place_of_a_fault_is_named(text, position, message):
    with pytest.raises(QueryError) as error:
        parse_filter(text)
    assert str(error.value).startswith(f"filter, position {position}: got ") and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "got an empty filter"),
        (3, "filter: got a JSON number, expected text"),
        ("a = 1 or " * 200 + "a = 1", "got a filter with 201 conditions, expected at most 200"),
        (f"a in ({', '.join(['1'] * 10_001)})", "got a filter with 10,001 values, expected at most 10,000"),
        ("not " * 51 + "a", "got a filter with 51 levels"),
        ("x" * 100_001, "got a filter of 100,001 characters"),
        ("{'a': 1}", "not JSON"),
        ({}, "expected an object with must, should, must_not"),
        ({"must": []}, "got no condition"),
        ({"must": {"field": "a"}}, 'filter, must: got {"field": "a"}, expected a list'),
        ({"must": [], "maybe": []}, "got the key 'maybe', expected must, should, must_not"),
        ({"must": [{"field": "a", "operator": "~", "value": 1}]}, "filter, must[0]: got the operator '~'"),
        (
            {"must": [{"should": [{"field": "a", "operator": "=", "value": None}]}]},
            "filter, must[0].should[0]: got the",
        ),
        ({"field": "a", "operator": "in", "value": []}, "expected a list of at least one"),
        ({"field": "a", "operator": "=", "value": float("nan")}, "got the value NaN"),
        ({"field": "a", "operator": ["="], "value": 1}, 'got the operator ["="]'),
        ({"field": "a", "operator": "is null", "value": 1}, "got a value for 'is null'"),
        ({"field": 1, "operator": "=", "value": 1}, "got the field 1"),
    ],
)
def test_other_faults_are_explained(value, message):
    with pytest.raises(QueryError) as error:
        parse_filter(value)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_json_means_the_same_as_text():
    value = {
        "must": [
            {"field": "section", "operator": "=", "value": "ops"},
            {"field": "date", "operator": ">=", "value": "2026-01-01"},
        ],
        "should": [{"field": "price", "operator": "<", "value": 5}, {"field": "price", "operator": "is null"}],
        "must_not": [{"field": "tags", "operator": "in", "value": ["draft"]}],
    }
    text = "section = 'ops' and date >= '2026-01-01' and (price < 5 or price is null) and not tags in ('draft')"
    assert parse_filter(value) == parse_filter(text) == parse_filter(json.dumps(value))


@pytest.mark.parametrize("operator", OPERATORS)
def test_each_operator_of_json_is_one_of_text(operator):
    value = {"field": "a", "operator": operator}
    if "null" not in operator:
        value["value"] = [1] if "in" in operator.split() else 1
    literal = "" if "null" in operator else "(1)" if "in" in operator.split() else "1"
    assert parse_filter(value) == parse_filter(f"a {operator} {literal}")


LITERALS = st.text(max_size=8) | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
NAMES = st.text(min_size=1, max_size=6) | st.sampled_from(["and", "NULL", "a", "x-y"])
CONDITIONS = (
    st.builds(Comparison, NAMES, st.sampled_from(["=", "<", "<=", ">", ">=", "like", "contains"]), LITERALS)
    | st.builds(OneOf, NAMES, st.lists(LITERALS, min_size=1, max_size=3).map(tuple))
    | st.builds(IsMissing, NAMES)
)
TREES = st.recursive(
    CONDITIONS,
    lambda part: (
        st.builds(Not, part)
        | st.builds(And, st.lists(part, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(part, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=6,
)


@pytest.mark.slow
@SETTINGS
@given(TREES)
def test_the_text_of_a_filter_is_read_back_as_the_same_filter(tree):
    parsed = parse_filter(str(tree))
    assert parsed == tree and str(parsed) == str(tree)


@SETTINGS
@given(st.text(alphabet="ab ='\"()<>!,.1-andortilk\n%", max_size=40))
def test_any_text_is_parsed_or_refused(text):
    try:
        assert parse_filter(str(parse_filter(text))) == parse_filter(text)
    except QueryError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sectoin = 'x'",
            "position 1: got the field 'sectoin', expected one of section (text), date (date), price (number)",
        ),
        ("price > 1 and secton = 'x'", "position 15: got the field 'secton'"),
        ("nothing = 1", "correct the name"),
        ("price = '5'", "the field 'price' is of type number: got the text '5', expected a number"),
        ("price = true", "got true, expected a number"),
        ("draft = 1", "got the number 1, expected true or false"),
        ("draft < true", "got the operator <, expected one of =, !=, in, is null"),
        ("section > 3", "got the number 3, expected text"),
        ("section = 'a\0'", "expected text without NUL"),
        ("date > 'soon'", "got the text 'soon', expected a date such as 2026-01-31"),
        ("date like '2026%'", "got the operator like, expected one of"),
        ("tags in ('a', 1)", "the field 'tags' is of type text[]: got the number 1, expected text"),
        ("sizes like 'x'", "got the operator like"),
        ("section", "got true, expected text"),
    ],
)
def test_fields_and_values_are_checked_against_the_index(text, message):
    with pytest.raises(QueryError) as error:
        check_filter(parse_filter(text), {name: FieldType.parse(kind) for name, kind in FIELDS.items()}, "mine")
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "draft and not draft = false",
        "date in ('2026-01-01', '2026-01-01T10:00Z')",
        "sizes contains 3",
        "tags like '%a'",
    ],
)
def test_filters_that_fit_are_accepted(text):
    check_filter(parse_filter(text), {name: FieldType.parse(kind) for name, kind in FIELDS.items()}, "mine")
