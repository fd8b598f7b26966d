"""`index --metadata`, `search` and `run --filter`, and metadata in `info` and in hits."""

from __future__ import annotations

import json

import pytest
from cli_helpers import assert_fails, assert_fails_after_notes, run

RECORDS = [
    {"_id": "d1", "text": "dune is a novel", "section": "books", "date": "1965-08-01", "tags": ["sand", "[red]"]},
    {"_id": "d2", "text": "read a csv file", "section": "docs", "date": "2026-01-31", "secret": {"a": 1}},
    {"_id": "d3", "text": "wait for threads", "section": "docs", "price": "free"},
]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return str(path)


@pytest.fixture(scope="module")
def build(records, tiny_model, tmp_path_factory):
    def build(metadata):
        path = str(tmp_path_factory.mktemp("indexes") / "mine")
        options = ("--encoder", str(tiny_model), "--precision", "fp32", "--metadata", metadata)
        return path, run("index", records, "-o", path, *options)

    return build


@pytest.fixture(scope="module")
def filtered(build):
    path, result = build("section,date:date,tags")
    assert result.exit_code == 0, result.output
    assert "not read: price, secret" in result.stderr and "now try:" in result.stderr
    return path


def hits_of(*args):
    (line,) = run("search", *args, "--json").stdout.splitlines()
    return json.loads(line)["hits"]


def test_info_shows_the_fields(filtered):
    assert "metadata │ date (date), section (text), tags (text[])" in " ".join(run("info", filtered).stdout.split())
    shown = json.loads(run("info", filtered, "--json").stdout)
    assert shown["metadata"] == {"date": "date", "section": "text", "tags": "text[]"}


@pytest.mark.slow
def test_hits_are_filtered_and_show_their_metadata(filtered):
    (hit,) = hits_of(filtered, "dune", "--filter", "section = 'docs' and date >= '2026-01-01'")
    assert (hit["doc_id"], hit["metadata"]) == ("d2", {"section": "docs", "date": "2026-01-31"})
    assert [hit["doc_id"] for hit in hits_of(filtered, "dune", "--filter", "not section in ('docs', 'x')")] == ["d1"]
    json_form = '{"must": [{"field": "tags", "operator": "is null"}]}'
    assert {hit["doc_id"] for hit in hits_of(filtered, "dune", "--filter", json_form)} == {"d2", "d3"}


def test_the_table_shows_metadata(filtered):
    shown = run("search", filtered, "dune", "--filter", "section = 'books'").stdout
    assert "metadata" in shown and "section: books" in shown and "tags: sand, [red]" in shown


def test_a_run_is_filtered(filtered, tmp_path):
    (tmp_path / "queries.tsv").write_text("q1\tdune\nq2\tcsv\n")
    output = str(tmp_path / "run.trec")
    assert (
        run("run", filtered, str(tmp_path / "queries.tsv"), "-o", output, "--filter", "section = 'docs'").exit_code == 0
    )
    lines = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert [(line[0], line[2]) for line in sorted(lines)] == [("q1", "d2"), ("q1", "d3"), ("q2", "d2"), ("q2", "d3")]


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("sektion = 'x'", "expected one of date (date), section (text), tags (text[]): did you mean section?"),
        ("section = x", "filter, position 11: got 'x', expected a value: write texts and dates in single quotes: 'x'"),
        ("date = 'soon'", "expected a date such as 2026-01-31"),
    ],
)
def test_faults_of_a_filter_are_one_line(filtered, filter, message):
    assert_fails(run("search", filtered, "dune", "--filter", filter), message)


def test_an_index_without_metadata_says_how_to_get_it(index):
    assert_fails(run("search", index, "dune", "--filter", "a = 1"), "has no metadata: build it with --metadata a, or")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("price:number", "records.jsonl:3: record 'd3', field 'price': got the text 'free', expected a number"),
        ("price:money", "metadata field 'price': got the type 'money', expected text, number, boolean, date"),
        ("nope", "has a field 'nope'"),
        ("secret", "record 'd2', field 'secret': got an object"),
    ],
)
def test_faults_of_metadata_are_explained(build, metadata, message):
    _, result = build(metadata)
    assert_fails_after_notes(result, message)
