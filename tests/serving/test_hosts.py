"""Host names under which the server accepts requests."""

from __future__ import annotations

import pytest
from serving_helpers import error_of, search

from elasticdenser.errors import QueryError
from elasticdenser.serving.hosts import is_allowed, parse_allowed_hosts


@pytest.mark.parametrize(
    "host",
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
def test_allowed(host):
    assert is_allowed([host], parse_allowed_hosts(["search.example.org", "2001:db8::1"]))


@pytest.mark.parametrize(
    "host",
    [
        *("", " ", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80", "xlocalhost"),
        *("localhost:80:80", "localhost@evil.example", "evil.example/localhost", "::1", "[::1", "[::1]x", "128.0.0.1"),
        *("www.search.example.org", "example.org", "*", "localhost, evil.example", "localhost:port"),
    ],
)
def test_rejected(host):
    assert not is_allowed([host], parse_allowed_hosts(["search.example.org"]))
    assert is_allowed([host], parse_allowed_hosts(["*"]))


def test_no_host_header_and_several():
    allowed = parse_allowed_hosts([])
    assert is_allowed([], allowed) and is_allowed(["localhost", "127.0.0.1"], allowed)
    assert not is_allowed(["localhost", "evil.example"], allowed)


@pytest.mark.parametrize("name", ["http://x", "x:80", "", "a b", "*.example.org", "x/y", "[::1"])
def test_invalid_names(name):
    with pytest.raises(QueryError, match="expected a name such as"):
        parse_allowed_hosts([name])


def test_every_path_checks_the_host(make_client):
    client = make_client(allowed_hosts=parse_allowed_hosts(["testserver"]), api_key="s3cret")
    for path in ("/", "/healthz", "/readyz", "/metrics", "/live", "/openapi.json", "/v1/models", "/nothing"):
        error = error_of(client.get(path, headers={"Host": "evil.example:8000"}), 421)
        assert "got host 'evil.example:8000'" in error["message"] and "--allowed-host" in error["message"]
    error_of(search(client, query="x"), 401)
    assert client.get("/healthz").status_code == 200
