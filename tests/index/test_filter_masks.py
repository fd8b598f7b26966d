"""Masks of filters, against a plain evaluation in Python."""

import json
import operator
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticdenser.errors import IndexFormatError
from elasticdenser.index import layout
from elasticdenser.index.filters import parse_filter
from elasticdenser.index.filters.checking import check_filter
from elasticdenser.index.filters.nodes import And, Comparison, IsMissing, Not, OneOf, Or
from elasticdenser.index.metadata.matches import IndexMatches, MatchCache, Matches
from elasticdenser.index.metadata.store import MetadataStore
from elasticdenser.index.metadata.table import write_table

FIELDS = {"Text": "text", "text": "text", "number": "number", "flag": "boolean", "day": "date", "words": "text[]",
          "sizes": "number[]"}  # fmt: skip
TEXTS = st.sampled_from(["", "a", "b", "ab", "Äb", "a%b", "a_b", "[a]*?", "'; DROP TABLE passages; --", "b" * 50])
NUMBERS = st.sampled_from([-1, 0, 0.5, 1, 1.0, 2**53, 2**53 + 1, 1e300, -(2**63)])
DAYS = st.sampled_from(
    ["2026-01-01", "2026-01-02", "2026-01-01T00:00:00Z", "2026-01-01T23:59:59.999999Z", "2026-01-02T01:00+02:00"]
)
VALUES = {"text": TEXTS, "number": NUMBERS, "boolean": st.booleans(), "date": DAYS}
OPERATORS = {
    "text": ["=", "<", "<=", ">", ">=", "like", "contains"],
    "number": ["=", "<", "<=", ">", ">="],
    "boolean": ["="],
    "date": ["=", "<", "<=", ">", ">="],
}


def conditions_on(name):
    kind = FIELDS[name].removesuffix("[]")
    operators = OPERATORS[kind] + ["contains"] * (FIELDS[name] != kind)
    return (
        st.builds(Comparison, st.just(name), st.sampled_from(operators), VALUES[kind])
        | st.builds(OneOf, st.just(name), st.lists(VALUES[kind], min_size=1, max_size=3).map(tuple))
        | st.builds(IsMissing, st.just(name))
    )


FILTERS = st.recursive(
    st.sampled_from(sorted(FIELDS)).flatmap(conditions_on),
    lambda part: (
        st.builds(Not, part)
        | st.builds(And, st.lists(part, min_size=2, max_size=3).map(tuple))
        | st.builds(Or, st.lists(part, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=5,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(VALUES[kind[:-2]], min_size=1, max_size=3) if kind.endswith("[]") else VALUES[kind]
        for name, kind in FIELDS.items()
    },
)
COMPARISONS = {"=": operator.eq, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def moment(text):
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def holds(symbol, kind, value, wanted, is_list):
    if symbol == "like":
        pattern = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in wanted)
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    if symbol == "contains":
        return value == wanted if is_list else wanted in value
    if kind != "date":
        return COMPARISONS[symbol](value, wanted)
    start = moment(wanted)
    end = start + (timedelta(days=1) if len(wanted) == 10 else timedelta(microseconds=1))
    value = moment(value)
    return {"=": start <= value < end, "<": value < start, "<=": value < end, ">": value >= end, ">=": value >= start}[
        symbol
    ]


def meets(filter, record):
    if isinstance(filter, And):
        return all(meets(part, record) for part in filter.parts)
    if isinstance(filter, Or):
        return any(meets(part, record) for part in filter.parts)
    if isinstance(filter, Not):
        return not meets(filter.part, record)
    is_list = FIELDS[filter.field].endswith("[]")
    value = record.get(filter.field)
    values = [] if value is None else value if is_list else [value]
    if isinstance(filter, IsMissing):
        return not values
    kind = FIELDS[filter.field].removesuffix("[]")
    if isinstance(filter, OneOf):
        return any(holds("=", kind, value, wanted, is_list) for value in values for wanted in filter.values)
    return any(holds(filter.operator, kind, value, filter.value, is_list) for value in values)


def store_of(folder, records, fields=FIELDS):
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    (folder / layout.METADATA).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    np.cumsum([len(line.encode()) + 1 for line in lines]).astype("<i8").tofile(folder / layout.METADATA_OFFSETS)
    write_table(folder / layout.METADATA_TABLE, lines, fields)
    return MetadataStore(folder, len(records), fields)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RECORDS, min_size=1, max_size=12), st.lists(FILTERS, min_size=1, max_size=4))
def test_masks_are_those_of_a_plain_evaluation(tmp_path_factory, records, filters):
    store = store_of(tmp_path_factory.mktemp("store"), records)
    assert [store.at(position) for position in range(len(records))] == records
    for filter in filters:
        expected = [meets(filter, record) for record in records]
        check_filter(filter, store.fields, "the store")
        assert store.mask(filter).tolist() == expected, filter
        assert store.mask(parse_filter(str(filter))).tolist() == expected, filter
        assert store.mask(Not(filter)).tolist() == [not met for met in expected], filter


def test_fields_of_other_segments_have_no_value(tmp_path):
    store = store_of(tmp_path, [{"text": "a"}, {}])
    for plain in (store, MetadataStore(tmp_path, 2, {})):
        assert plain.mask(parse_filter("nowhere = 1")).tolist() == [False, False]
        assert plain.mask(parse_filter("nowhere is null and not nowhere > 3")).tolist() == [True, True]
    assert store.mask(parse_filter("nowhere = 1 or text = 'a'")).tolist() == [True, False]


def test_masks_are_evaluated_once_and_forgotten_beyond_a_bound():
    evaluated = []

    def evaluate(filter):
        evaluated.append(str(filter))
        mask = np.ones(50, np.bool_)
        return IndexMatches(mask, [Matches(mask[:20].copy()), Matches(mask[20:].copy())])  # 100 bytes

    cache = MatchCache(max_bytes=250)
    for text in ("a", "b", "a", "c", "a", "b"):
        matches = cache.get(parse_filter(text), evaluate)
        assert (matches.n, matches.n_bytes) == (50, 100) and not matches.mask.flags.writeable
    assert evaluated == ["a = true", "b = true", "c = true", "b = true"]


@pytest.mark.parametrize("damage", [b"", b"no database", b"SQLite format 3\0" + b"\0" * 200])
def test_a_damaged_table_is_named(tmp_path, damage):
    store = store_of(tmp_path, [{"text": "a"}])
    (tmp_path / layout.METADATA_TABLE).write_bytes(damage)
    with pytest.raises(IndexFormatError, match=r"metadata\.sqlite is damaged"):
        store.mask(parse_filter("text = 'a'"))


def test_the_table_describes_itself(tmp_path):
    import sqlite3

    store_of(tmp_path, [{"text": "a", "words": ["b", "c"]}])
    database = sqlite3.connect(tmp_path / layout.METADATA_TABLE)
    fields = {name: (number, kind) for number, name, kind in database.execute("SELECT * FROM fields")}
    assert {name: kind for name, (_, kind) in fields.items()} == FIELDS
    number, _ = fields["words"]
    assert database.execute(f"SELECT value FROM list{number} ORDER BY value").fetchall() == [("b",), ("c",)]
    database.close()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
