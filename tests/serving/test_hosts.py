"""Names by which the server may be called."""

from __future__ import annotations

import pytest
from test_search_endpoint import refusal, search

from elasticdenser.errors import QueryError
from elasticdenser.serving.hosts import allowed_hosts, is_allowed


@pytest.mark.parametrize(
    "given",
    [
        *(
            "localhost",
            "LOCALHOST:8000",
            "localhost.",
            "any.localhost",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]",
            "[::1]:80",
        ),
        *("search.example.org", "Search.Example.ORG:443", "search.example.org.:80", "[2001:db8::1]:80"),
    ],
)
def test_allowed(given):
    assert is_allowed([given], allowed_hosts(["search.example.org", "2001:db8::1"]))


@pytest.mark.parametrize(
    "given",
    [
        *("", " ", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80", "xlocalhost"),
        *("localhost:80:80", "localhost@evil.example", "evil.example/localhost", "::1", "[::1", "[::1]x", "128.0.0.1"),
        *("www.search.example.org", "example.org", "*", "localhost, evil.example", "localhost:port"),
    ],
)
def test_refused(given):
    assert not is_allowed([given], allowed_hosts(["search.example.org"]))
    assert is_allowed([given], allowed_hosts(["*"]))


def test_none_and_several():
    allowed = allowed_hosts([])
    assert is_allowed([], allowed) and is_allowed(["localhost", "127.0.0.1"], allowed)
    assert not is_allowed(["localhost", "evil.example"], allowed)


@pytest.mark.parametrize("name", ["http://x", "x:80", "", "a b", "*.example.org", "x/y", "[::1"])
def test_no_name(name):
    with pytest.raises(QueryError, match="expected a name such as"):
        allowed_hosts([name])


def test_every_path_asks_for_it(make_client):
    client = make_client(allowed_hosts=allowed_hosts(["testserver"]), api_key="s3cret")
    for path in ("/", "/healthz", "/readyz", "/metrics", "/live", "/openapi.json", "/v1/models", "/nothing"):
        error = refusal(client.get(path, headers={"Host": "evil.example:8000"}), 421)
        assert "got host 'evil.example:8000'" in error["message"] and "--allowed-host" in error["message"]
    refusal(search(client, query="x"), 401)
    assert client.get("/healthz").status_code == 200
