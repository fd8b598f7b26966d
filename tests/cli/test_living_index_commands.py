"""`elasticdenser add`, `delete`, `compact` and `snapshot`, and what `info` and `verify` say afterwards."""

from __future__ import annotations

import json
import shutil

import pytest
from cli_helpers import TEXTS, assert_fails, run


@pytest.fixture
def changing(index, tmp_path) -> str:
    """Copy of the index of three passages, to change."""
    return str(shutil.copytree(index, tmp_path / "mine"))


def write(path, texts) -> str:
    path.write_text("".join(json.dumps({"_id": doc_id, "text": text}) + "\n" for doc_id, text in texts.items()))
    return str(path)


def found(index, query) -> list[str]:
    result = run("search", index, query, "--json")
    assert result.exit_code == 0, result.output
    return [hit["doc_id"] for hit in json.loads(result.stdout)["hits"]]


@pytest.mark.slow
def test_added_and_replaced_passages_are_found(changing, corpus, tmp_path):
    more = write(tmp_path / "more.jsonl", {**TEXTS, "d1": "a book about water", "d4": "the engine of a car"})
    result = run("add", changing, more)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "added 1, replaced 1, unchanged 2; it holds 4 passages, generation 2" in result.stderr
    assert found(changing, "the engine of a car")[0] == "d4"
    assert sorted(found(changing, "book")) == ["d1", "d2", "d3", "d4"]
    result = run("add", changing, str(corpus), "--only-new")
    assert "added 0, replaced 0, unchanged 3; it holds 4 passages, generation 2" in result.stderr
    assert "is undamaged: 4 passages, 14 files, 2 segments, generation 2" not in run("verify", changing).stdout


@pytest.mark.slow
def test_deleted_passages_are_not_found(changing, tmp_path):
    result = run("delete", changing, "d2", "--dry-run")
    assert "would delete 1; it holds 3 passages, generation 0" in result.stderr
    result = run("delete", changing, "d2")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "deleted 1; it holds 2 passages, generation 2" in result.stderr
    assert "d2" not in found(changing, TEXTS["d2"])
    ids = tmp_path / "ids.txt"
    ids.write_text("d1\n\nx\n")
    result = run("delete", changing, "--ids", str(ids))
    assert result.exit_code == 1
    assert "deleted 1, 1 unknown: x; it holds 1 passages" in result.stderr
    assert run("delete", changing, "--ids", "-", "--missing-ok", input="d1\n").exit_code == 0
    assert found(changing, "dune") == ["d3"]


@pytest.mark.slow
def test_documents_are_added_with_metadata_and_deleted_by_it(changing, tmp_path):
    records = [{"_id": "d4", "text": "a car", "section": "ops"}, {"_id": "d5", "text": "a train", "section": "dev"}]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    run("add", changing, str(tmp_path / "more.jsonl"), "--metadata", "section")
    assert "section (text)" in run("info", changing).stdout
    result = run("search", changing, "car", "--filter", "section = 'ops'", "--json")
    assert [hit["metadata"] for hit in json.loads(result.stdout)["hits"]] == [{"section": "ops"}]
    result = run("delete", changing, "--filter", "section in ('ops', 'dev')", "--dry-run")
    assert "would delete 2; it holds 5 passages, generation 2" in result.stderr
    result = run("delete", changing, "--filter", "section = 'ops'")
    assert (result.exit_code, result.stdout) == (0, "") and "deleted 1; it holds 4 passages" in result.stderr
    assert found(changing, "car") and "d4" not in found(changing, "car")
    result = run("delete", changing, "d1", "--filter", "section = 'ops'")
    assert result.exit_code == 2 and "got ids and --filter" in result.output
    assert_fails(run("delete", changing, "--filter", "sectoin = 'ops'"), "did you mean section?")


@pytest.mark.slow
def test_words_are_added_to_a_changed_index(changing, tmp_path):
    run("delete", changing, "d2")
    result = run("rebuild", changing, "--hybrid")
    assert result.exit_code == 0 and "different words" in result.stderr
    run("add", changing, write(tmp_path / "more.jsonl", {"d4": "the engine of a car"}), "--no-compact")
    result = run("search", changing, "engines", "--hybrid", "--word-weight", "1", "-k", "1", "--json")
    assert [hit["doc_id"] for hit in json.loads(result.stdout)["hits"]] == ["d4"]
    assert "at least" in run("info", changing).stdout


@pytest.mark.slow
def test_additions_can_prune_what_has_vanished_from_the_folder(tiny_model, tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(3):
        (docs / f"{number}.md").write_text(f"# Page {number}\n\ntext {number}\n")
    path = str(tmp_path / "index")
    assert run("index", str(docs), "-o", path, "--encoder", str(tiny_model), "--precision", "fp32").exit_code == 0
    (docs / "1.md").unlink()
    (docs / "3.md").write_text("# Page 3\n\nnew\n")
    result = run("add", path, str(docs), "--prune", "--dry-run")
    expected = "added 1, replaced 0, unchanged 2, deleted 1; it holds 3 passages, generation"
    assert f"would have {expected} 0" in result.stderr, result.output
    assert expected in run("add", path, str(docs), "--prune").stderr
    for corpus, expected in [
        ((str(docs), str(docs)), "expected one folder that exists"),
        ((str(docs / "nowhere"),), "expected one folder that exists"),
        ((str(docs), "--skip-bad"), "stands in bad lines"),
    ]:
        result = run("add", path, *corpus, "--prune")
        assert result.exit_code == 2 and expected in " ".join(result.output.split())


def test_ids_are_needed_to_delete(changing, tmp_path):
    result = run("delete", changing)
    assert result.exit_code == 2
    assert "give the ids to delete" in result.output
    (tmp_path / "empty").write_text("\n")
    assert_fails(run("delete", changing, "--ids", str(tmp_path / "empty")), "no document id in it")
    assert_fails(run("delete", str(tmp_path / "absent"), "d1"), "does not exist: build an index")
    assert_fails(run("add", str(tmp_path / "absent"), str(tmp_path / "empty")), "does not exist: build an index")


@pytest.mark.slow
def test_info_and_verify_name_the_segments(changing, tmp_path):
    run("delete", changing, "d2")
    run("add", changing, write(tmp_path / "more.jsonl", {"d5": "more"}))
    result = run("info", changing)
    assert (result.exit_code, result.stderr) == (0, "")
    assert all(part in result.stdout for part in ("3 (and 1 deleted", "generation", "segments", "Flat"))
    value = json.loads(run("info", changing, "--json").stdout)
    assert value["generation"] == 3
    assert [(own["name"], own["n_passages"], own["n_deleted"]) for own in value["segments"]] == [
        ("1", 2, 1),
        ("3", 1, 0),
    ]
    result = run("verify", changing)
    assert "is undamaged: 3 passages, 13 files, 2 segments, generation 3" in result.stderr


@pytest.mark.slow
def test_a_compacted_index_and_a_snapshot_hold_the_same(changing, tmp_path):
    run("delete", changing, "d2")
    before = found(changing, "dune")
    result = run("compact", changing)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "2 passages in one segment, structure Flat, generation 3" in result.stderr
    snapshot = str(tmp_path / "snapshot")
    result = run("snapshot", changing, snapshot)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "2 passages, generation 3" in result.stderr
    assert_fails(run("snapshot", changing, snapshot), "exists: choose another place")
    run("delete", changing, "d1")
    assert found(snapshot, "dune") == before == ["d1", "d3"]


def test_a_change_with_another_encoder_is_refused(changing, tiny_elastic, corpus):
    assert_fails(run("add", changing, str(corpus), "--encoder", str(tiny_elastic.parent)), "")
