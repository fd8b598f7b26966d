"""`index --chunk`, the report of truncated passages, and `--by-document`."""

from __future__ import annotations

import json

import pytest
from cli_helpers import assert_fails, run


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    path = tmp_path_factory.mktemp("documents") / "documents.jsonl"
    texts = ["The short one.", "Dune is a novel. " * 20, "A csv file. Read it. " * 30]
    path.write_text("".join(json.dumps({"_id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    return str(path)


@pytest.fixture(scope="module")
def build(documents, tiny_model, tmp_path_factory):
    def build(*options):
        path = str(tmp_path_factory.mktemp("indexes") / "mine")
        return path, run("index", documents, "-o", path, "--encoder", str(tiny_model), "--precision", "fp32", *options)

    return build


@pytest.fixture(scope="module")
def chunked(build):
    path, result = build("--chunk", "40/10")
    assert result.exit_code == 0, result.output
    assert "passages of 3 documents" in result.stderr and "cut " not in result.stderr
    return path


@pytest.mark.slow
def test_truncated_passages_are_reported(build):
    path, result = build()
    assert "cut 2 of 3 passages at 64 tokens, the most that the encoder reads" in result.stderr
    assert "--overwrite --chunk 64" in result.stderr
    assert "2 passages (66.7%) are longer than 64 tokens" in " ".join(run("info", path).stdout.split())
    assert json.loads(run("info", path, "--json").stdout)["n_truncated"] == 2
    assert_fails(run("search", path, "dune", "--by-document"), "expected an index built with --chunk")


def test_info_describes_chunks(chunked):
    shown = " ".join(run("info", chunked).stdout.split())
    assert "of 3 documents, up to 40 tokens each, repeating up to 10" in shown
    assert "truncated │ none" in shown
    assert json.loads(run("info", chunked, "--json").stdout)["chunking"] == {"tokens": 40, "overlap": 10}


@pytest.mark.parametrize("value", ["nine", "40/40", "3", "65", ""])
def test_wrong_lengths_are_refused(build, value):
    _, result = build("--chunk", value)
    assert_fails(result, "got", "expected", "use")


@pytest.mark.slow
def test_hits_name_their_document(chunked):
    (line,) = run("search", chunked, "dune", "--json", "-k", "100").stdout.splitlines()
    hits = json.loads(line)["hits"]
    assert len(hits) > 10
    assert all(hit["doc_id"] == f"{hit['document']}#{hit['chunk']}" for hit in hits)
    (line,) = run("search", chunked, "dune", "--json", "--by-document").stdout.splitlines()
    by_document = json.loads(line)["hits"]
    assert sorted(hit["doc_id"] for hit in by_document) == ["d0", "d1", "d2"]
    assert by_document[0] | {"doc_id": hits[0]["doc_id"]} == hits[0]
    assert by_document[0]["document"] == by_document[0]["doc_id"]
    assert by_document[0]["doc_id"] in run("search", chunked, "dune", "--by-document").stdout


def test_a_run_of_documents(chunked, tmp_path):
    (tmp_path / "queries.tsv").write_text("q1\tdune\nq2\tcsv file\n")
    output = tmp_path / "run.trec"
    result = run("run", chunked, str(tmp_path / "queries.tsv"), "-o", str(output), "--by-document")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in output.read_text().splitlines()]
    assert sorted((row[0], row[2]) for row in rows) == [(q, d) for q in ("q1", "q2") for d in ("d0", "d1", "d2")]


def test_a_search_within_documents(chunked, tmp_path):
    (tmp_path / "ids.txt").write_text("d0\nd2#1\n")
    (line,) = run("search", chunked, "dune", "--json", "--within", str(tmp_path / "ids.txt")).stdout.splitlines()
    assert sorted(hit["doc_id"] for hit in json.loads(line)["hits"]) == ["d0#0", "d2#1"]
