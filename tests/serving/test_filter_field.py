"""`POST /search` with `filter`: both of its forms, its faults, and metadata in the hits."""

from __future__ import annotations

import json

import pytest
from serving_helpers import error_of, search

from elasticdenser.index.filters import parse_filter
from elasticdenser.index.filters.json_form import OPERATORS

RECORDS = [
    {"_id": "d1", "text": "dune is a novel", "section": "books", "year": 1965, "tags": ["sand", "worms"]},
    {"_id": "d2", "text": "read a csv file", "section": "docs", "year": 2020},
    {"_id": "d3", "text": "wait for threads", "section": "docs", "year": 2024, "draft": True},
    {"_id": "d4", "text": "nothing is known"},
]


CLAUSES = {
    "must": [{"field": "year", "operator": ">=", "value": 2000}],
    "must_not": [{"field": "draft", "operator": "=", "value": True}],
}


@pytest.fixture(scope="module")
def retriever(tiny_elastic, tmp_path_factory):
    from elasticdenser import PassageEncoder, PassageIndex, Retriever

    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    path = tmp_path_factory.mktemp("filtered") / "mine"
    PassageIndex.build(RECORDS, path, encoder, workers=1, metadata="all")
    return Retriever.open(path, encoder=str(tiny_elastic), device="cpu", download=False)


def ids(client, filter, **body):
    response = search(client, query="dune", filter=filter, **body)
    assert response.status_code == 200, response.text
    return {hit["doc_id"] for hit in response.json()["results"][0]["hits"]}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("section = 'docs'", {"d2", "d3"}),
        ("section = 'docs' and not draft", {"d2"}),
        ("year is null", {"d4"}),
        ("year > 3000", set()),
        ({"field": "tags", "operator": "contains", "value": "worms"}, {"d1"}),
        (CLAUSES, {"d2"}),
        ('{"field": "year", "operator": "<", "value": 2000}', {"d1"}),
    ],
)
def test_only_matching_passages_are_hits(client, filter, expected):
    assert ids(client, filter) == expected


def test_hits_have_their_metadata_unless_it_is_not_wanted(client):
    (hit,) = search(client, query="dune", filter="year = 1965").json()["results"][0]["hits"]
    assert hit["metadata"] == {"section": "books", "year": 1965, "tags": ["sand", "worms"]}
    (hit,) = search(client, query="dune", filter="year is null").json()["results"][0]["hits"]
    assert hit["metadata"] == {}
    (hit,) = search(client, query="dune", filter="year = 1965", with_text=False).json()["results"][0]["hits"]
    assert set(hit) == {"doc_id", "score"}


def test_a_filter_holds_for_all_queries_and_within_documents(client):
    results = search(client, queries=["dune", "csv"], filter="section = 'docs'").json()["results"]
    assert [{hit["doc_id"] for hit in result["hits"]} for result in results] == [{"d2", "d3"}] * 2
    assert ids(client, "section = 'docs'", doc_ids=["d1", "d2"]) == {"d2"}


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ("sektion = 'x'", "filter, position 1: got the field 'sektion', expected one of section (text), year (number)"),
        ("year > '2'", "got the text '2', expected a number"),
        ("year >", "filter, position 7: got its end, expected a value"),
        ("", "got an empty filter"),
        (3, "filter: got a JSON number, expected text such as"),
        ([], "filter: got a JSON array"),
        ({"must": [{"field": "year", "operator": "=", "value": None}]}, "got the value null, expected text"),
        ({}, "expected an object with must, should, must_not"),
        ({"must": [{"field": "year", "operator": "~", "value": 1}]}, "filter, must[0]: got the operator '~'"),
    ],
)
def test_faults_are_explained(client, filter, message):
    error = error_of(search(client, query="dune", filter=filter), 422)
    assert message in error["message"] and error["param"] == "filter"


@pytest.mark.slow
def test_the_description_has_both_forms(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name in ("SearchRequest", "BatchSearchRequest"):
        described = json.dumps(schemas[name]["properties"]["filter"])
        assert "FilterClauses" in described and "FilterCondition" in described and '"string"' in described
    assert tuple(sorted(schemas["FilterCondition"]["properties"]["operator"]["enum"])) == tuple(sorted(OPERATORS))
    for operator in OPERATORS:  # what is described is what is read
        value = {} if "null" in operator else {"value": [1] if "in" in operator.split() else 1}
        assert parse_filter({"field": "year", "operator": operator} | value)
