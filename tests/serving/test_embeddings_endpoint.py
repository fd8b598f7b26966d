"""`/v1/embeddings` and `/v1/models`: vectors, models, errors, and OpenAI's own client."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from fastapi.testclient import TestClient
from serving_helpers import PROFILE, error_of, live_server
from tokenizers import processors

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.tokenizer import load_encoder_tokenizer, load_tokenizer
from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings
from elasticdenser.serving.token_ids import load_token_reader


@pytest.fixture
def name(client):
    return client.app.state.service.model


def embed(client, **body):
    return client.post("/v1/embeddings", json=body)


def vectors_of(response):
    assert response.status_code == 200, response.text
    return np.asarray([row["embedding"] for row in response.json()["data"]], np.float32)


def token_ids(retriever, text):
    return load_tokenizer(retriever.encoder.location.path, 10_000).encode(text).ids


def test_vectors_are_those_of_the_encoder(client, retriever, name):
    texts = ["who wrote dune", "CSV", *(f"text {number}" for number in range(30))]
    response = embed(client, input=texts, model=name).json()
    vectors = np.asarray([row["embedding"] for row in response["data"]], np.float32)
    assert np.array_equal(vectors, retriever.encoder.encode(texts))
    assert [row["index"] for row in response["data"]] == list(range(len(texts)))
    assert (response["object"], response["model"]) == ("list", name)
    tokens = sum(retriever.encoder.count_tokens(texts))
    assert response["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_a_subnet_is_part_of_the_model_name(client, retriever, name):
    response = embed(client, input="who wrote dune", model=f"{name}/level0", dimensions=32).json()
    vector = np.float32(response["data"][0]["embedding"])
    assert np.array_equal(vector, retriever.encoder.encode(["who wrote dune"], "level0")[0])


def test_models_are_listed(client, retriever, name):
    models = client.get("/v1/models").json()["data"]
    assert [model["id"] for model in models] == [name, *(f"{name}/{subnet}" for subnet in retriever.encoder.subnets)]


def test_a_single_model_is_found_by_its_name(client, name):
    models = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    for known in (name, f"{name}/level0"):
        for path in (known, known.replace("/", "%2F")):
            assert client.get(f"/v1/models/{path}").json() == models[known]
    for unknown in ("gpt", f"{name}/", f"{name}/w9", ""):
        error = error_of(client.get(f"/v1/models/{unknown}"), 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert f"got model {unknown!r}; expected {name}" in error["message"]


@pytest.mark.parametrize(
    ("fields", "status", "message", "param"),
    [
        ({"input": ""}, 422, "input: got ''; expected text with at least one visible character", "input"),
        ({"input": []}, 422, "input: got an empty list; expected at least 1", "input"),
        ({"input": None}, 422, "input: got null; expected a text, a list of up to 2,048 texts, or their", "input"),
        ({"input": True}, 422, "input: got true; expected a text, a list of", "input"),
        ({"input": [None]}, 422, "input[0]: got null; expected text", "input[0]"),
        ({"input": ["a", " "]}, 422, "input[1]: got ' '; expected text with", "input[1]"),
        ({"input": ["a", 1]}, 422, "input[1]: got 1; expected text", "input[1]"),
        ({"input": ["a"] * 2049}, 422, "got a list of 2,049; expected at most 2,048: send several requests", "input"),
        ({"input": [2, "a"]}, 422, "input[1]: got 'a'; expected a whole number", "input[1]"),
        ({"input": [2, -1]}, 422, "input[1]: got -1; expected a number of at least 0", "input[1]"),
        ({"input": [2, 1.5]}, 422, "input[1]: got 1.5; expected a whole number", "input[1]"),
        ({"input": [[2, 3], []]}, 422, "input[1]: got an empty list", "input[1]"),
        ({"input": [[2, 3], 3]}, 422, "input[1]: got 3; expected a list", "input[1]"),
        ({"input_type": "document"}, 422, "got 'document'; expected 'query' or 'passage'", "input_type"),
        ({"model": "gpt"}, 404, "got model 'gpt'; expected", "model"),
        ({"model": 3}, 422, "model: got 3; expected text", "model"),
        ({"dimensions": 8}, 422, "expected 32, the dimension of this encoder: leave it out. Shorter", "dimensions"),
        ({"encoding_format": "int8"}, 422, "expected 'float' or 'base64'", "encoding_format"),
        ({"colour": "red"}, 422, "unknown field 'colour'", "colour"),
    ],
)
def test_bad_input_is_rejected_with_the_name_of_its_field(client, name, fields, status, message, param):
    error = error_of(embed(client, **{"input": "x", "model": name, **fields}), status)
    assert message in error["message"] and error["param"] == param


def test_passages_for_a_student_are_refused(client, name, monkeypatch):
    def refuse(folder, name):
        raise ModelError(f"got the student {name}, which encodes queries only")

    monkeypatch.setattr("elasticdenser.encoders.query_encoder.check_no_student", refuse)
    error = error_of(embed(client, input=["csv"], model=name, input_type="passage"), 422)
    assert "encodes queries only" in error["message"] and error["param"] == "input_type"


def test_null_is_the_default_of_every_field_that_has_one(client, name):
    nulls = dict.fromkeys(("input_type", "encoding_format", "dimensions", "user"))
    assert embed(client, input="csv", model=name, **nulls).json() == embed(client, input="csv", model=name).json()


@pytest.mark.slow
@pytest.mark.parametrize("declared_by", ["the model", "the index"])
def test_shorter_vectors_are_cut_from_an_encoder_that_is_trained_for_it(tiny_elastic, tmp_path, declared_by):
    folder, dim = tmp_path / "matryoshka", None
    shutil.copytree(tiny_elastic, folder)
    if declared_by == "the model":
        (folder / "config_sentence_transformers.json").write_text('{"truncate_dim": 16}')
    else:
        dim = 16
    PassageIndex.build(
        [{"_id": "d1", "text": "dune"}], tmp_path / "i", PassageEncoder.from_pretrained(str(folder), dim=dim), workers=1
    )
    retriever = Retriever.open(tmp_path / "i", device="cpu", download=False)
    with RetrievalEngine(retriever, PROFILE, workers=1) as engine:
        client = TestClient(make_app(engine, retriever, ServeSettings(log=False)))
        name = client.app.state.service.model
        for model, subnet in ((name, None), (f"{name}/level0", "level0")):
            assert np.array_equal(
                vectors_of(embed(client, input="csv", model=model)), retriever.encoder.encode(["csv"], subnet)
            )
            whole = ElasticQueryEncoder.from_pretrained(str(folder), device="cpu", dim=32).encode(["csv"], subnet)
            for dim in (1, 8, 16):
                got = vectors_of(embed(client, input="csv", model=model, dimensions=dim))
                np.testing.assert_allclose(got, whole[:, :dim] / np.linalg.norm(whole[:, :dim]), atol=1e-6)
        for dim in (0, 17, 32):
            error = error_of(embed(client, input="csv", model=name, dimensions=dim), 422)
            assert f"got dimensions = {dim}; expected 1 to 16" in error["message"] and error["param"] == "dimensions"
        schema = client.get("/openapi.json").json()["components"]["schemas"]["EmbeddingsRequest"]["properties"]
        limits = schema["dimensions"]["anyOf"][0]
        assert (limits["minimum"], limits["maximum"]) == (1, 16)


def test_as_many_texts_are_taken_as_openai_takes(client, retriever, name):
    vectors = vectors_of(embed(client, input=["csv", "dune"] * 1024, model=name))
    assert np.array_equal(vectors[:2], retriever.encoder.encode(["csv", "dune"]))
    assert np.array_equal(vectors, np.tile(vectors[:2], (1024, 1)))


def test_a_long_text_is_cut_at_the_token_limit(client, retriever, name):
    text = "word " * 20_000
    response = embed(client, input=text, model=name)
    assert np.array_equal(vectors_of(response), retriever.encoder.encode([text]))
    assert response.json()["usage"]["prompt_tokens"] == retriever.encoder.settings.max_length


def test_passages_get_their_own_prompt(served_index, tiny_elastic):
    retriever = Retriever.open(served_index, encoder=str(tiny_elastic), device="cpu", download=False)
    prompts = {"query_prompt": "q: ", "passage_prompt": "p: "}
    retriever.encoder.settings = replace(retriever.encoder.settings, **prompts)
    with RetrievalEngine(retriever, PROFILE, workers=1) as engine:
        client = TestClient(make_app(engine, retriever, ServeSettings(log=False)))
        name = client.app.state.service.model
        plain = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), device="cpu", download=False)
        for kind, prompt in (("query", "q: "), ("passage", "p: ")):
            for model, subnet in ((name, None), (f"{name}/level0", "level0")):
                vectors = vectors_of(embed(client, input=["csv"], model=model, input_type=kind))
                assert np.array_equal(vectors, plain.encode([f"{prompt}csv"], subnet))
        assert np.array_equal(vectors_of(embed(client, input="csv", model=name)), plain.encode(["q: csv"]))


def test_token_ids_of_the_model_give_the_vectors_of_their_texts(client, retriever, name):
    texts = ["who wrote dune", "do not read a csv!", "word " * 100]
    expected = retriever.encoder.encode(texts)
    ids = [token_ids(retriever, text) for text in texts]
    assert len(ids[2]) > retriever.encoder.settings.max_length
    assert np.array_equal(vectors_of(embed(client, input=ids, model=name)), expected)
    assert np.array_equal(vectors_of(embed(client, input=ids[0], model=name)), expected[:1])
    assert np.array_equal(vectors_of(embed(client, input=[float(n) for n in ids[0]], model=name)), expected[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[1:-1], "expected ids of this model's tokenizer with its special tokens: 2, the ids of"),
        (lambda ids: [2, 3], "got the token ids [2, 3]; expected ids of this model's tokenizer"),
        (lambda ids: [2, 100_000, 3], "got the token id 100000; expected ids of this model's tokenizer, 0 to"),
        (lambda ids: [2, *ids[2:]], "expected ids as this model's tokenizer produces them"),
    ],
)
def test_token_ids_of_another_tokenizer_are_refused(client, retriever, name, change, message):
    ids = token_ids(retriever, "who wrote dune")
    assert ids[0] == 2 and ids[-1] == 3
    error = error_of(embed(client, input=change(ids), model=name), 422)
    assert error["param"] == "input" and message in error["message"]
    assert "check_embedding_ctx_length=False" in error["message"] and "--token-ids cl100k_base" in error["message"]
    assert error_of(embed(client, input=[ids, change(ids)], model=name), 422)["param"] == "input[1]"


def test_token_ids_that_could_be_of_another_tokenizer_are_refused_unless_said_otherwise(retriever, monkeypatch):
    def unmarked(folder, max_length):
        tokenizer = load_encoder_tokenizer(folder, max_length)
        tokenizer.post_processor = processors.TemplateProcessing("$A [SEP]", None, [("[SEP]", 3)])
        return tokenizer

    monkeypatch.setattr("elasticdenser.encoders.base.load_encoder_tokenizer", unmarked)
    encoder = ElasticQueryEncoder.from_pretrained(str(retriever.encoder.location.path), device="cpu", download=False)
    ids = unmarked(encoder.location.path, 100).encode("who wrote dune").ids
    with pytest.raises(QueryError, match=r"cannot be told.*--token-ids cl100k_base, or this model's: .* model"):
        load_token_reader(None, encoder)(ids)
    assert load_token_reader("model", encoder)(ids) == "who wrote dune"


@pytest.fixture
def small_encoding(monkeypatch):
    """Let `tiktoken` load an encoding of single bytes, whose id is the byte, and of the word dune."""
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"du": 256, b"ne": 257, b"dune": 258}
    encoding = tiktoken.Encoding("cl100k_base", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens={})
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: encoding)
    return encoding


def test_token_ids_of_openai_are_read_if_the_server_is_told_so(make_client, small_encoding, retriever, name):
    client = make_client(token_ids="cl100k_base")
    texts = ["who wrote dune", "csv"]
    ids = [small_encoding.encode(text) for text in texts]
    assert 258 in ids[0]
    assert np.array_equal(vectors_of(embed(client, input=ids, model=name)), retriever.encoder.encode(texts))
    for unknown in ([119, 259], [119, (1 << 32) - 1]):
        message = error_of(embed(client, input=unknown, model=name), 422)["message"]
        assert f"got the token id {unknown[1]}; expected ids of cl100k_base" in message
    assert "blank text" in error_of(embed(client, input=[ids[0], [32, 32]], model=name), 422)["message"]


def test_a_vocabulary_that_is_not_there_is_refused(retriever, monkeypatch):
    tiktoken = pytest.importorskip("tiktoken")
    with pytest.raises(QueryError, match=r"got the token ids 'gpt5'; expected model or one of .*cl100k_base"):
        load_token_reader("gpt5", retriever.encoder)

    def fail(name):
        raise OSError("no network")

    monkeypatch.setattr(tiktoken, "get_encoding", fail)
    with pytest.raises(QueryError, match=r"cannot be fetched \(OSError\): set TIKTOKEN_CACHE_DIR"):
        load_token_reader("cl100k_base", retriever.encoder)
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(QueryError, match="pip install tiktoken"):
        load_token_reader("cl100k_base", retriever.encoder)


def test_input_and_model_are_required(client, name):
    assert error_of(embed(client, model=name), 422)["message"].startswith("input is missing")
    assert error_of(embed(client, input="x"), 422)["message"].startswith("model is missing")


def test_too_many_requests_at_once_are_rejected(make_client, name):
    client = make_client(max_encoding=1)
    client.app.state.server.n_encoding = 1
    response = embed(client, input="x", model=name)
    assert "waiting" in error_of(response, 429)["message"] and int(response.headers["retry-after"]) >= 1


@pytest.mark.slow
def test_the_client_of_openai_works(retriever, engine):
    openai = pytest.importorskip("openai")
    app = make_app(engine, retriever, ServeSettings(log=False, api_key="secret-1"))
    model = app.state.service.model
    with live_server(app) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="secret-1", max_retries=0)
        expected = retriever.encoder.encode(["who wrote dune", "csv"])
        for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
            response = client.embeddings.create(input=["who wrote dune", "csv"], model=model, **options)
            if options.get("encoding_format") != "base64":  # the client does not decode it if it was asked for
                assert np.allclose([row.embedding for row in response.data], expected, atol=1e-7)
            assert response.usage.prompt_tokens > 4
        smaller = client.embeddings.create(input="csv", model=f"{model}/level0")
        assert np.allclose(smaller.data[0].embedding, retriever.encoder.encode(["csv"], "level0")[0], atol=1e-7)
        assert next(iter(client.models.list())).id == model
        for name in (model, f"{model}/level0"):
            retrieved = client.models.retrieve(name)
            assert (retrieved.id, retrieved.object, retrieved.owned_by) == (name, "model", "elasticdenser")
        with pytest.raises(openai.NotFoundError, match="got model 'gpt/4'") as not_found:
            client.models.retrieve("gpt/4")
        assert (not_found.value.code, not_found.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError, match="got model 'gpt'"):
            client.embeddings.create(input="x", model="gpt")
        by_ids = client.embeddings.create(input=token_ids(retriever, "csv"), model=model)
        assert np.allclose(by_ids.data[0].embedding, expected[1], atol=1e-7)
        with pytest.raises(openai.UnprocessableEntityError, match="check_embedding_ctx_length=False"):
            client.embeddings.create(input=[1, 2], model=model)
        with pytest.raises(openai.AuthenticationError, match="no valid API key"):
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list()
