"""`/v1`: what OpenAI's own client makes of it, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from serving_helpers import live_server
from test_search_endpoint import refusal

from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings


@pytest.fixture
def name(client):
    return client.app.state.service.model


def embed(client, **body):
    return client.post("/v1/embeddings", json=body)


def test_vectors_are_those_of_the_encoder(client, retriever, name):
    texts = ["who wrote dune", "CSV", *(f"text {number}" for number in range(30))]
    made = embed(client, input=texts, model=name).json()
    vectors = np.asarray([row["embedding"] for row in made["data"]], np.float32)
    assert np.array_equal(vectors, retriever.encoder.encode(texts))
    assert [row["index"] for row in made["data"]] == list(range(len(texts)))
    assert (made["object"], made["model"]) == ("list", name)
    tokens = sum(retriever.encoder.count_tokens(texts))
    assert made["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_a_size_is_part_of_the_model_name(client, retriever, name):
    made = embed(client, input="who wrote dune", model=f"{name}/level0", dimensions=32).json()
    assert np.array_equal(
        np.float32(made["data"][0]["embedding"]), retriever.encoder.encode(["who wrote dune"], "level0")[0]
    )


def test_models_are_listed(client, retriever, name):
    made = client.get("/v1/models").json()
    assert [row["id"] for row in made["data"]] == [name, *(f"{name}/{size}" for size in retriever.encoder.subnets)]


def test_one_model(client, name):
    listed = client.get("/v1/models").json()["data"]
    for wanted in (name, f"{name}/level0"):
        for asked in (wanted, wanted.replace("/", "%2F")):
            assert client.get(f"/v1/models/{asked}").json() == next(one for one in listed if one["id"] == wanted)
    for asked in ("gpt", f"{name}/", f"{name}/w9", ""):
        error = refusal(client.get(f"/v1/models/{asked}"), 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert f"got model {asked!r}; expected {name}" in error["message"]


@pytest.mark.parametrize(
    ("more", "status", "said", "param"),
    [
        ({"input": [1, 2, 3]}, 422, "token ids are not taken", "input"),
        ({"input": [[1, 2], [3]]}, 422, "token ids are not taken", "input"),
        ({"input": ""}, 422, "input: got ''", "input"),
        ({"input": []}, 422, "input: got []", "input"),
        ({"input": ["a", " "]}, 422, "none of them blank", "input"),
        ({"input": ["a"] * 257}, 422, "1 to 256 texts", "input"),
        ({"model": "gpt"}, 404, "got model 'gpt'; expected", "model"),
        ({"model": 3}, 422, "model: got 3; expected text", "model"),
        ({"dimensions": 8}, 422, "vectors of this encoder have 32", "dimensions"),
        ({"encoding_format": "int8"}, 422, "expected 'float' or 'base64'", "encoding_format"),
        ({"colour": "red"}, 422, "unknown field 'colour'", "colour"),
    ],
)
def test_bad_input(client, name, more, status, said, param):
    error = refusal(embed(client, **{"input": "x", "model": name, **more}), status)
    assert said in error["message"] and error["param"] == param


def test_input_and_model_are_needed(client, name):
    assert refusal(embed(client, model=name), 422)["message"].startswith("input is missing")
    assert refusal(embed(client, input="x"), 422)["message"].startswith("model is missing")


def test_too_many_at_once_are_refused(make_client, name):
    client = make_client(max_encoding=1)
    client.app.state.service.n_encoding = 1
    response = embed(client, input="x", model=name)
    assert "waiting" in refusal(response, 429)["message"] and int(response.headers["retry-after"]) >= 1


def test_with_the_client_of_openai(retriever, engine):
    openai = pytest.importorskip("openai")
    app = make_app(engine, retriever, ServeSettings(log=False, api_key="secret-1"))
    model = app.state.service.model
    with live_server(app) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="secret-1", max_retries=0)
        wanted = retriever.encoder.encode(["who wrote dune", "csv"])
        for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
            made = client.embeddings.create(input=["who wrote dune", "csv"], model=model, **options)
            if options.get("encoding_format") != "base64":  # which the client hands out as it is
                assert np.allclose([row.embedding for row in made.data], wanted, atol=1e-7)
            assert made.usage.prompt_tokens > 4
        smaller = client.embeddings.create(input="csv", model=f"{model}/level0")
        assert np.allclose(smaller.data[0].embedding, retriever.encoder.encode(["csv"], "level0")[0], atol=1e-7)
        assert next(one.id for one in client.models.list()) == model
        for size in (model, f"{model}/level0"):
            found = client.models.retrieve(size)
            assert (found.id, found.object, found.owned_by) == (size, "model", "elasticdenser")
        with pytest.raises(openai.NotFoundError, match="got model 'gpt/4'") as refused:
            client.models.retrieve("gpt/4")
        assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError, match="got model 'gpt'"):
            client.embeddings.create(input="x", model="gpt")
        with pytest.raises(openai.UnprocessableEntityError, match="token ids are not taken"):
            client.embeddings.create(input=[1, 2], model=model)
        with pytest.raises(openai.AuthenticationError, match="no valid API key"):
            openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0).models.list()
