"""Scripts of other sites (CORS): nothing unless origins are given, and then exactly those."""

from __future__ import annotations

import pytest
from serving_helpers import error_of, search

from elasticdenser.errors import QueryError
from elasticdenser.serving.origins import parse_origins

ORIGIN = "https://app.example.org"


def preflight(client, origin=ORIGIN, path="/v1/embeddings"):
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = "authorization,content-type,x-stainless-lang"
    return client.options(path, headers=headers)


def allowed_origin(response):
    return response.headers.get("access-control-allow-origin")


def test_by_default_no_other_site_is_allowed(client):
    assert allowed_origin(preflight(client)) is None
    response = client.post("/search", json={"query": "csv"}, headers={"Origin": ORIGIN})
    assert response.status_code == 200 and allowed_origin(response) is None


def test_given_origins_are_allowed_and_no_others(make_client):
    client = make_client(cors_origins=parse_origins([ORIGIN, "http://localhost:3000"]), api_key="s3cret")
    for origin in (ORIGIN, "http://localhost:3000"):
        response = preflight(client, origin)  # browsers send it without the key
        assert response.status_code == 200 and allowed_origin(response) == origin
        assert "x-stainless-lang" in response.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in response.headers
        headers = {"Origin": origin, "Authorization": "Bearer s3cret"}
        response = client.post("/search", json={"query": "csv"}, headers=headers)
        assert response.status_code == 200 and allowed_origin(response) == origin
        assert "X-Request-Id" in response.headers["access-control-expose-headers"]
    for origin in ("https://evil.example", "null", f"{ORIGIN}.evil.example"):
        assert allowed_origin(preflight(client, origin)) is None


def test_pages_can_read_errors(make_client):
    client = make_client(cors_origins=(ORIGIN,), api_key="s3cret")
    unauthorised = client.post("/search", json={"query": "csv"}, headers={"Origin": ORIGIN})
    assert error_of(unauthorised, 401) and allowed_origin(unauthorised) == ORIGIN


def test_any_origin_can_be_allowed(make_client):
    client = make_client(cors_origins=("*",))
    assert allowed_origin(preflight(client, "https://any.example")) == "*"
    assert search(client, query="csv").status_code == 200


def test_origins_are_written_as_browsers_write_them():
    given = ["HTTPS://App.Example.org/", "https://app.example.org:443", "http://[::1]:8080", "http://a:80", "*"]
    assert parse_origins(given) == (ORIGIN, "http://[::1]:8080", "http://a", "*")


@pytest.mark.parametrize(
    "origin", ["app.example.org", "https://a/path", "ftp://a", "null", "", "https://*.a.org", "https://a:x", "a b"]
)
def test_what_is_no_origin_is_refused(origin):
    with pytest.raises(QueryError, match=r"expected one such as https://app\.example\.org .* without a path, or \*"):
        parse_origins([origin])
