"""`/highlights`: the best sentence of each passage, by the encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_helpers import PROFILE, error_of
from waiting import LONG_DEADLINE_S

from elasticdenser import PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

TEXTS = {
    "two": "  The harvest failed. Dune is a novel by Herbert.\n",
    "astral": "𝒟𝓊𝓃𝑒 is far. Who reads csv files? Nobody does.",
    "one": "a single sentence without a stop",
    "none": "",
    "many": " ".join(f"Sentence number {number}." for number in range(200)),
}


@pytest.fixture(scope="module")
def many_sentences(tiny_elastic, tmp_path_factory):
    """Retriever of an index of `TEXTS`."""
    folder = tmp_path_factory.mktemp("sentences")
    lines = (json.dumps({"_id": key, "title": "t", "text": text}) for key, text in TEXTS.items())
    (folder / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    for name, options in (("mine", {}), ("bare", {"texts": False})):
        PassageIndex.build(folder / "corpus.jsonl", folder / name, encoder, workers=1, **options)
    return folder, Retriever.open(folder / "mine", encoder=str(tiny_elastic), device="cpu", download=False)


@pytest.fixture(scope="module")
def highlighting(many_sentences):
    _, retriever = many_sentences
    with RetrievalEngine(retriever, PROFILE, workers=1) as engine:
        yield TestClient(make_app(engine, retriever, ServeSettings(log=False, api_key="s3cret")))


def highlight(client, **body):
    return client.post("/highlights", json=body, headers={"Authorization": "Bearer s3cret"})


@pytest.mark.parametrize("query", ["dune", "who reads csv", "sentence number 3", "the harvest"])
def test_the_best_sentence_is_that_of_the_encoder(highlighting, many_sentences, query):
    encoder = many_sentences[1].encoder
    sentences = {
        "two": ["The harvest failed.", "Dune is a novel by Herbert."],
        "astral": ["𝒟𝓊𝓃𝑒 is far.", "Who reads csv files?", "Nobody does."],
        "one": [TEXTS["one"]],
        "many": [f"Sentence number {number}." for number in range(64)],
    }
    found = highlight(highlighting, query=query, doc_ids=list(sentences)).json()["highlights"]
    for (doc_id, texts), best in zip(sentences.items(), found, strict=True):
        scores = encoder.encode_passages(texts) @ encoder.encode([query])[0]
        assert best["doc_id"] == doc_id
        assert TEXTS[doc_id][best["start"] : best["end"]] == texts[int(np.argmax(scores))]
        assert best["score"] == pytest.approx(float(scores.max()), abs=1e-6)


def test_a_passage_without_text_has_no_best_sentence(highlighting, many_sentences):
    empty = {"doc_id": "none", "start": 0, "end": 0, "score": None, "words": []}
    assert highlight(highlighting, query="x", doc_ids=["none"]).json() == {"highlights": [empty]}
    folder, retriever = many_sentences
    bare = Retriever(retriever.encoder, PassageIndex.open(folder / "bare"))
    with RetrievalEngine(bare, PROFILE, workers=1) as engine:
        client = TestClient(make_app(engine, bare, ServeSettings(log=False)))
        found = client.post("/highlights", json={"query": "x", "doc_ids": ["two"]}).json()["highlights"]
    assert found == [{**empty, "doc_id": "two"}]


def test_chunks_name_their_document(many_sentences):
    folder, retriever = many_sentences
    path, encoder = str(retriever.encoder.location.path), retriever.encoder
    passages = PassageEncoder.from_pretrained(path, dtype="float32", device="cpu")
    built = PassageIndex.build(folder / "corpus.jsonl", folder / "chunks", passages, workers=1, chunk="40")
    chunked = Retriever(encoder, PassageIndex.open(built.path))
    with RetrievalEngine(chunked, PROFILE, workers=1, slo_s=LONG_DEADLINE_S) as engine:
        client = TestClient(make_app(engine, chunked, ServeSettings(log=False, deadline_s=LONG_DEADLINE_S)))
        hits = client.post("/search", json={"query": "sentence number 3", "k": 50}).json()["results"][0]["hits"]
        assert {hit["document"] for hit in hits} <= set(TEXTS)
        assert all(hit["doc_id"].rpartition("#")[0] == hit["document"] for hit in hits)
        many = [hit for hit in hits if hit["document"] == "many"][:3]
        body = {"query": "sentence number 3", "doc_ids": [hit["doc_id"] for hit in many]}
        found = client.post("/highlights", json=body).json()["highlights"]
        assert [best["doc_id"] for best in found] == body["doc_ids"]
        for hit, best in zip(many, found, strict=True):
            assert hit["text"][best["start"] : best["end"]].startswith("Sentence number")
        error_of(client.post("/highlights", json={"query": "x", "doc_ids": ["many"]}), 404)


def test_bad_requests_are_refused(highlighting):
    for doc_ids, status, message in (
        (["two", "gone"], 404, "not in the index"),
        ([], 422, "got an empty list"),
        (["two"] * 33, 422, "got a list of 33; expected at most 32"),
    ):
        error = error_of(highlight(highlighting, query="x", doc_ids=doc_ids), status)
        assert message in error["message"] and error["param"] == "doc_ids"
    assert error_of(highlight(highlighting, query=" ", doc_ids=["two"]), 422)["param"] == "query"
    error_of(highlighting.post("/highlights", json={"query": "x", "doc_ids": ["two"]}), 401)


def test_too_many_requests_at_once_are_rejected(highlighting):
    server = highlighting.app.state.server
    server.n_encoding = server.settings.max_encoding
    try:
        error_of(highlight(highlighting, query="x", doc_ids=["two"]), 429)
    finally:
        server.n_encoding = 0


def test_words_of_the_query_are_found_in_any_form(highlighting):
    (found,) = highlight(highlighting, query="who wrote novels, Herbert?", doc_ids=["two"]).json()["highlights"]
    words = [TEXTS["two"][word["start"] : word["end"]] for word in found["words"]]
    assert words == [word for word in ("novel", "Herbert") if word in TEXTS["two"][found["start"] : found["end"]]]
