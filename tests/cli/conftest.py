"""A corpus of three passages, and its index."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import TEXTS, run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "passages.jsonl"
    rows = ({"_id": doc_id, "title": "", "text": text} for doc_id, text in TEXTS.items())
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def index(corpus, tiny_model, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("indexes") / "mine"
    result = run("index", str(corpus), "-o", str(path), "--encoder", str(tiny_model), "--dtype", "float32")
    assert result.exit_code == 0, result.output
    return str(path)
