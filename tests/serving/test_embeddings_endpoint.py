"""`/v1/embeddings` and `/v1/models`: vectors, models, errors, and OpenAI's own client."""

from __future__ import annotations

import numpy as np
import pytest
from serving_helpers import error_of, live_server

from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings


@pytest.fixture
def name(client):
    return client.app.state.service.model


def embed(client, **body):
    return client.post("/v1/embeddings", json=body)


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


def test_a_single_model(client, name):
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
        ({"input": [1, 2, 3]}, 422, "token ids are not supported", "input"),
        ({"input": [[1, 2], [3]]}, 422, "token ids are not supported", "input"),
        ({"input": ""}, 422, "input: got ''", "input"),
        ({"input": []}, 422, "input: got []", "input"),
        ({"input": ["a", " "]}, 422, "none of them blank", "input"),
        ({"input": ["a"] * 257}, 422, "1 to 256 texts", "input"),
        ({"model": "gpt"}, 404, "got model 'gpt'; expected", "model"),
        ({"model": 3}, 422, "model: got 3; expected text", "model"),
        ({"dimensions": 8}, 422, "expected 32, the dimension of this encoder", "dimensions"),
        ({"encoding_format": "int8"}, 422, "expected 'float' or 'base64'", "encoding_format"),
        ({"colour": "red"}, 422, "unknown field 'colour'", "colour"),
    ],
)
def test_bad_input(client, name, fields, status, message, param):
    error = error_of(embed(client, **{"input": "x", "model": name, **fields}), status)
    assert message in error["message"] and error["param"] == param


def test_input_and_model_are_required(client, name):
    assert error_of(embed(client, model=name), 422)["message"].startswith("input is missing")
    assert error_of(embed(client, input="x"), 422)["message"].startswith("model is missing")


def test_too_many_requests_at_once_are_rejected(make_client, name):
    client = make_client(max_encoding=1)
    client.app.state.service.n_encoding = 1
    response = embed(client, input="x", model=name)
    assert "waiting" in error_of(response, 429)["message"] and int(response.headers["retry-after"]) >= 1


def test_with_the_client_of_openai(retriever, engine):
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
        with pytest.raises(openai.UnprocessableEntityError, match="token ids are not supported"):
            client.embeddings.create(input=[1, 2], model=model)
        with pytest.raises(openai.AuthenticationError, match="no valid API key"):
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list()
