"""`elasticdenser info`, `verify`, `rebuild`, `import` and `export`."""

from __future__ import annotations

import json
import sys

import pytest
from cli_helpers import TEXTS, run


def test_info_verify_and_rebuild_report_on_the_index(index):
    result = run("info", index)
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(part in result.stdout for part in ("passages", "3", "32 dimensions", "SHA-256"))
    assert json.loads(run("info", index, "--json").stdout)["n_passages"] == 3
    result = run("verify", index)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "is undamaged: 3 passages" in result.stderr
    result = run("rebuild", index, "--factory", "Flat")
    assert result.exit_code == 0, result.output
    assert "structure Flat, recall@10 1.0000" in result.stderr


@pytest.mark.slow
def test_an_exported_index_is_imported_again(index, tiny_model, corpus, tmp_path):
    result = run("export", index, "-o", str(tmp_path / "out"))
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"index", "docid"}
    back = str(tmp_path / "back")
    result = run("import", str(tmp_path / "out"), "-o", back, "--encoder", str(tiny_model), "--corpus", str(corpus))
    assert result.exit_code == 0, result.output
    query = TEXTS["d2"]
    first, second = (json.loads(run("search", path, query, "--json").stdout)["hits"] for path in (index, back))
    assert [hit["doc_id"] for hit in first] == [hit["doc_id"] for hit in second]


@pytest.mark.slow
def test_an_index_is_exported_to_qdrant(index, tmp_path):
    pytest.importorskip("qdrant_client", reason="needs pip install 'elasticdenser[qdrant]'")
    from elasticdenser.index.qdrant import connect

    for _ in range(2):  # again, as after an interruption
        result = run("export", index, "--to", "qdrant", "--path", str(tmp_path / "q"), "--collection", "mine")
        assert (result.exit_code, result.stdout) == (0, ""), result.output
        assert "the collection 'mine' has 3 points" in result.stderr
    client = connect(path=str(tmp_path / "q"))
    assert client.count("mine").count == 3
    client.close()


def test_an_export_needs_the_options_of_its_kind(index, tmp_path):
    folder, url = str(tmp_path / "q"), "http://localhost:1"
    for args, message in (
        ([], "--to pyserini needs -o FOLDER"),
        (["--to", "qdrant", "--path", folder], "needs --collection NAME"),
        (["--to", "qdrant", "--collection", "c"], "either --url URL or --path FOLDER"),
        (["--to", "qdrant", "--collection", "c", "--url", url, "--path", folder], "either --url URL or"),
    ):
        result = run("export", index, *args)
        assert result.exit_code == 2 and message in " ".join(result.stderr.replace("│", " ").split())


def test_without_the_client_of_qdrant_the_command_says_what_to_install(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    result = run("export", index, "--to", "qdrant", "--url", "http://localhost:1", "--collection", "c")
    assert result.exit_code == 1 and "extra 'qdrant'): pip install" in result.stderr
