"""`elasticdenser info`, `verify`, `rebuild`, `import` and `export`."""

from __future__ import annotations

import json

from cli_helpers import TEXTS, run


def test_info_verify_rebuild(index):
    result = run("info", index)
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(part in result.stdout for part in ("passages", "3", "32 dimensions", "SHA-256"))
    assert json.loads(run("info", index, "--json").stdout)["n_passages"] == 3
    result = run("verify", index)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "is whole: 3 passages" in result.stderr
    result = run("rebuild", index, "--factory", "Flat")
    assert result.exit_code == 0, result.output
    assert "structure Flat, recall@10 1.0000" in result.stderr


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
