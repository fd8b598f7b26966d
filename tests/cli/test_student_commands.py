"""Students on the command line: from vectors alone to a search, and failures in one line each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import assert_fails_after_notes, run

from elasticdenser import ElasticQueryEncoder
from elasticdenser.cli.encoder_check import check_encoder

WORDS = ("dune", "desert", "planet", "novel", "csv", "file", "header")
TEXTS = [" ".join(WORDS[(number + step) % 7] for step in range(4 + number // 7)) for number in range(40)]


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_model) -> Path:
    """Working directory with passages, and vectors of 48 dimensions of them and of queries, by an unknown model."""
    monkeypatch.chdir(tmp_path)
    rows = [{"_id": str(number), "text": text} for number, text in enumerate(TEXTS)]
    Path("passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    turn = np.random.default_rng(0).normal(size=(32, 48))
    vectors = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32").encode(TEXTS) @ turn
    np.save("vectors.npy", vectors.astype(np.float32))
    Path("ids.txt").write_text("".join(f"{number}\n" for number in range(40)))
    queries = [{"query": text, "embedding": vector.tolist()} for text, vector in zip(TEXTS, vectors, strict=True)]
    Path("queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    return tmp_path


def import_api(*options: str):
    source = ["vectors.npy", "--ids", "ids.txt", "--corpus", "passages.jsonl"]
    return run("import", *source, "-o", "api", "--space", "some-api-3", *options)


@pytest.mark.slow
def test_vectors_alone_lead_to_a_search(folder, tiny_model):
    imported = import_api()
    assert imported.exit_code == 0, imported.output
    assert "now train a student:  elasticdenser train --teacher-vectors api --index api" in imported.stderr
    options = ["--encoder", str(tiny_model), "--steps", "0", "--device", "cpu", "--offline", "-o", "student"]
    trained = run("train", "--teacher-vectors", "queries.jsonl", "--index", "api", *options)
    assert trained.exit_code == 0, trained.output
    assert "student: a student of space:some-api-3, 7 subnets: w1-d2" in trained.stderr
    for subnet in ("w1-d2", "level0"):
        hits = run("search", "api", TEXTS[3], "--encoder", "student", "--subnet", subnet, "-k", "5", "--json")
        assert hits.exit_code == 0, hits.output
        assert TEXTS[3] in hits.stdout
    report = str(check_encoder("student", download=False, trust_remote_code=False))
    assert "a student, for queries only" in report and "space:some-api-3" in report and "48 dimensions" in report


def test_passages_of_a_space_are_added_with_their_vectors_only(folder):
    assert import_api().exit_code == 0
    added = run("add", "api", "passages.jsonl")
    assert added.exit_code == 1
    assert "got vectors of some-api-3, which no encoder here makes: add passages with their vectors" in added.stderr
    assert "--overwrite" not in added.stderr  # which `import` does not have


@pytest.mark.slow
def test_failures_are_one_line_each(folder, tiny_model):
    assert import_api().exit_code == 0
    mine = ["--encoder", str(tiny_model), "--steps", "0", "--offline", "-o", "student"]
    lines = Path("queries.jsonl").read_text().splitlines()
    Path("lacking.jsonl").write_text("\n".join([*lines[:2], json.dumps({"text": "dune"})]))
    Path("nan.jsonl").write_text("\n".join([*lines[:1], lines[1].replace("[", "[NaN, ", 1)]))
    np.save("short.npy", np.eye(40, dtype=np.float32))
    Path("short.txt").write_text("\n".join(TEXTS[:39]))
    for args, part in (
        (
            ["train", "--teacher-vectors", "lacking.jsonl", "--index", "api", *mine],
            "lacking.jsonl:3: got a text without",
        ),
        (["train", "--teacher-vectors", "nan.jsonl", "--index", "api", *mine], "nan.jsonl:2: got a vector of 49"),
        (["train", "--teacher-vectors", "short.npy", "--index", "api", *mine], "got 39 texts for 40 vectors"),
        (["train", "--teacher-vectors", "none.jsonl", "--index", "api", *mine], "none.jsonl' does not exist"),
        (["train", "--teacher-vectors", "queries.jsonl", *mine], "nothing says which model made these vectors"),
        (
            ["train", "--teacher", "none/", "--teacher-vectors", "queries.jsonl", *mine],
            "'teacher_vectors' and 'teacher'",
        ),
        (["search", "api", "dune"], "got vectors of some-api-3, which no encoder here makes"),
        (["search", "api", "dune", "--encoder", str(tiny_model)], "got vectors of some-api-3"),
    ):
        result = run(*args)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and part in errors[0], result.stderr


def test_a_space_has_no_options_of_an_encoder(folder):
    result = import_api("--encoder", "some/model")
    assert result.exit_code == 2 and "--space" in result.stderr


@pytest.mark.parametrize("teacher", ["nowhere/model", "/nowhere"])
def test_a_teacher_that_is_not_found_is_advised_as_such(folder, tiny_model, teacher):
    options = ["--encoder", str(tiny_model), "--steps", "0", "--device", "cpu", "--offline", "-o", "student"]
    result = run("train", "--teacher", teacher, "--passages", "passages.jsonl", *options)
    assert_fails_after_notes(result, f"{teacher}", "(--teacher)")
    assert "--encoder" not in result.stderr
