"""Errors that a user can repair: exit code 1, and one line that explains."""

from __future__ import annotations

import pytest
from cli_helpers import assert_fails, run


@pytest.mark.slow
def test_each_failure_is_one_line(index, corpus, tiny_model, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"_id": "1", "text": "x"}\nnot json\n')
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    new = ["-o", str(tmp_path / "new"), "--encoder", str(tiny_model)]
    assert_fails(run("search", str(tmp_path / "none"), "dune"), str(tmp_path / "none"))
    assert_fails(run("info", str(tmp_path / "none")), str(tmp_path / "none"))
    assert_fails(run("search", index, ""), "expected text")
    assert_fails(run("search", index, "dune", "--subnet", "w0.5-d9"), "w0.5-d9", "w1-d2")
    assert_fails(run("search", index, "dune", "--encoder", "/no/such"), "there is no folder /no/such")
    assert_fails(run("search", index, "-f", str(tmp_path / "none.txt")), "none.txt")
    assert_fails(run("search", index, "-f", str(tmp_path / "latin.txt")), "latin.txt:1: byte 0xe9")
    assert_fails(run("search", index, input=b"caf\xe9\n"), "standard input:1: byte 0xe9")
    assert_fails(run("index", str(bad), *new), "bad.jsonl:2")
    assert_fails(run("index", str(tmp_path / "none.jsonl"), *new), "none.jsonl")
    assert_fails(run("index", str(corpus), *new, "--factory", "Nonsense99"), "Nonsense99")
    assert_fails(run("index", str(bad), "-o", index, "--encoder", str(tiny_model), "--skip-bad"), "--overwrite")
