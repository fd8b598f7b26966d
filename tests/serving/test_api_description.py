"""/openapi.json describes what the server does; schemathesis searches for requests where it does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving_helpers import live_server

from elasticdenser.serving.app import make_app
from elasticdenser.serving.settings import ServeSettings

# schemathesis expects 4xx for an invalid list, and an invalid list may be too large a body, hence 413.
_CONFIG = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "405", "413", "415", "422", "429"]
"""


def test_every_path_is_described(client):
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {
        *("/search", "/v1/embeddings", "/v1/models", "/v1/models/{model}"),
        *("/", "/healthz", "/readyz", "/metrics", "/live"),
    }
    schemas = description["components"]["schemas"]
    levels = schemas["SearchRequest"]["properties"]["minimum_level"]["anyOf"][0]["enum"]
    assert levels == ["w1-d2", "level0"]
    for body in ("SearchRequest", "BatchSearchRequest"):
        quality = schemas[body]["properties"]["minimum_quality"]
        assert quality["anyOf"][0] == {"type": "number", "minimum": 0, "maximum": 1}
    assert schemas["EmbeddingsRequest"]["properties"]["model"]["enum"][0] == client.app.state.service.model
    responses = description["paths"]["/search"]["post"]["responses"]
    assert set(responses) == {"200", "400", "401", "404", "408", "413", "415", "421", "422", "429", "500", "503"}
    assert "Retry-After" in responses["429"]["headers"]


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, "s3cret"])
def test_schemathesis_finds_nothing(retriever, engine, tmp_path, key):
    pytest.importorskip("schemathesis", reason="needs pip install schemathesis")
    command = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("needs the command schemathesis")
    (tmp_path / "schemathesis.toml").write_text(_CONFIG)
    with live_server(make_app(engine, retriever, ServeSettings(log=False, api_key=key))) as url:
        headers = [] if key is None else ["-H", f"Authorization: Bearer {key}"]
        options = ["-n", "25", "--seed", "1", "--request-timeout", "20", "--warnings", "off"]
        result = subprocess.run(
            [command, "run", f"{url}/openapi.json", *options, *headers],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert result.returncode == 0, "\n".join(line[:500] for line in result.stdout.splitlines())[-6000:]
