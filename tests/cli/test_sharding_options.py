"""`elasticdenser index --shards`, and the commands that take a sharded index."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import TEXTS, assert_fails, run


@pytest.fixture(scope="module")
def sharded(corpus, tiny_model, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("sharded") / "mine"
    command = ("index", str(corpus), "-o", str(path), "--encoder", str(tiny_model), "--precision", "fp32")
    result = run(*command, "--shards", "2")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "mine: 3 passages in 2 shards, structure Flat" in result.stderr
    return str(path)


@pytest.mark.slow
def test_hits_are_those_of_one_index(sharded, index, tmp_path):
    found = [
        json.loads(run("search", path, TEXTS["d2"], "--json", "--precision", "fp32").stdout)["hits"]
        for path in (sharded, index)
    ]
    assert [hit["doc_id"] for hit in found[0]] == [hit["doc_id"] for hit in found[1]]
    assert np.allclose([hit["score"] for hit in found[0]], [hit["score"] for hit in found[1]], atol=1e-6)
    (tmp_path / "queries.tsv").write_text("q1\ta desert planet\n")
    result = run("run", sharded, str(tmp_path / "queries.tsv"), "-o", str(tmp_path / "run.trec"))
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "run.trec").read_text().splitlines()) == 3


def test_info_and_verify_describe_the_shards(sharded):
    result = run("info", sharded)
    assert "shards" in result.stdout and "00001" in result.stdout and "format 6" in result.stdout
    described = json.loads(run("info", sharded, "--json").stdout)
    assert described["shards"] == {"n": 2, "codebooks": None}
    assert [shard["name"] for shard in described["segments"]] == ["00000", "00001"]
    assert "is undamaged: 3 passages, 12 files, 2 shards" in run("verify", sharded).stderr


def test_damage_of_a_shard_is_told(sharded, tmp_path):

    copy = Path(shutil.copytree(sharded, tmp_path / "copy"))
    (copy / "shards/00001/ids.txt").unlink()
    assert_fails(run("verify", str(copy)), "copy is damaged: shards/00001/ids.txt is missing")


@pytest.mark.parametrize(
    "command",
    [("delete", "d1"), ("delete", "--filter", "a = 1"), ("compact",), ("rebuild",), ("rebuild", "--hybrid")],
    ids=lambda command: command[0],
)
def test_changes_are_refused(sharded, command):
    name, *arguments = command
    assert_fails(run(name, sharded, *arguments), "an index of 2 shards, which are never changed", "--overwrite")


@pytest.mark.slow
def test_what_shards_do_not_have_is_refused(corpus, tiny_model, tmp_path, sharded):
    command = ["index", str(corpus), "-o", str(tmp_path / "index"), "--encoder", str(tiny_model), "--precision", "fp32"]
    assert_fails(run(*command, "--ray", "local"), "got --ray without --shards", "--shards 8")
    archive = tmp_path / "corpus.jsonl.gz"
    archive.write_bytes(gzip.compress(corpus.read_bytes()))
    command[1] = str(archive)
    assert_fails(run(*command, "--shards", "2"), "at most 1 ranges, expected 2", "decompress", "corpus.jsonl.gz")
    assert_fails(run("search", sharded, "dune", "--hybrid"), "build it again with --hybrid and --overwrite")
    assert_fails(run("search", sharded, "dune", "--filter", "a = 1"), "build it with --metadata a and --overwrite")


@pytest.mark.slow
def test_an_index_is_copied_to_a_url_and_back(sharded, tmp_path):
    url = f"file://{tmp_path}/store/mine"
    result = run("snapshot", sharded, url)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert f"{url}: 3 passages" in result.stderr
    assert run("snapshot", url, str(tmp_path / "copy")).exit_code == 0
    assert "3 passages, 12 files, 2 shards" in run("verify", str(tmp_path / "copy")).stderr
    assert_fails(run("snapshot", sharded, url), "holds an index: choose another place")
    assert "expected a folder" in run("snapshot", url, url).output


def test_without_ray_the_message_names_the_extra(corpus, tiny_model, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    command = ("index", str(corpus), "-o", str(tmp_path / "index"), "--encoder", str(tiny_model), "--precision", "fp32")
    assert_fails(run(*command, "--shards", "2", "--ray", "local"), "(extra 'ray'): pip install '")
    assert not (tmp_path / "index.building").exists()
