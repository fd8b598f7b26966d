"""Encoders of any architecture on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import assert_fails, run
from transformer_models import save_sentence_encoder, save_transformer

from elasticdenser.cli.encoder_check import missing_prompts
from elasticdenser.models.architectures import ARCHITECTURES
from elasticdenser.models.known import known_encoder, known_encoders
from elasticdenser.models.poolings import POOLINGS

PASSAGES = {"d1": "frank herbert wrote dune", "d2": "cats sleep all day", "d3": "a piece of string"}


@pytest.fixture(scope="module")
def deberta(tmp_path_factory) -> Path:
    """Folder of a tiny DeBERTa with mean pooling."""
    pytest.importorskip("transformers")
    return save_sentence_encoder("deberta-v2", tmp_path_factory.mktemp("deberta"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("corpus") / "passages.jsonl"
    path.write_text("".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in PASSAGES.items()))
    return str(path)


@pytest.mark.slow
def test_a_deberta_indexes_and_searches(tmp_path, deberta, corpus):
    index = str(tmp_path / "index")
    result = run("index", corpus, "-o", index, "--encoder", str(deberta), "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "3 passages" in result.stderr and "8 bits" not in result.stderr
    for name, text in PASSAGES.items():
        hits = run("search", index, text, "-k", "1", "--json", "--device", "cpu")
        assert hits.exit_code == 0, hits.output
        (hit,) = json.loads(hits.stdout)["hits"]
        assert hit["doc_id"] == name and hit["score"] == pytest.approx(1, abs=1e-5)
    assert "deberta" in run("info", index).stdout
    assert_fails(run("search", index, "dune", "--subnet", "w0.5-d1"), "w1-d2")
    assert_fails(run("search", index, "dune", "--precision", "int8"), "'deberta-v2'", "expected auto, float32")


@pytest.mark.slow
def test_a_plain_transformer_is_used_with_the_pooling_that_is_given(tmp_path, corpus):
    pytest.importorskip("transformers")
    plain = save_transformer("deberta-v2", tmp_path / "plain")
    command = ["index", corpus, "-o", str(tmp_path / "index"), "--encoder", str(plain), "--device", "cpu"]
    assert_fails(run(*command), "no modules.json", "--pooling")
    assert_fails(run(*command, "--pooling", "median"), "'median'", "'lasttoken'")
    assert run(*command, "--pooling", "lasttoken").exit_code == 0
    hits = run("search", str(tmp_path / "index"), PASSAGES["d2"], "-k", "1", "--json", "--device", "cpu")
    assert json.loads(hits.stdout)["hits"][0]["doc_id"] == "d2", hits.output


@pytest.mark.slow
def test_doctor_says_what_an_encoder_is(tmp_path, deberta):
    found = run("doctor", "--encoder", str(deberta), "--offline")
    assert found.exit_code == 0, found.output
    assert all(part in found.stdout for part in ("transformers", "32 dimensions, mean pooling, cosine", "48 tokens"))
    lacking = run("doctor", "--encoder", str(tmp_path), "--offline")
    assert "cannot be used" in lacking.stdout and "modules.json is missing" in lacking.stderr
    assert lacking.exit_code == 1


@pytest.mark.slow
def test_doctor_fails_for_an_encoder_that_cannot_be_used():
    result = run("doctor", "--encoder", "nowhere", "--offline")
    assert result.exit_code == 1 and "(--encoder)" in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_well_known_encoders_are_listed():
    result = run("models", "--json")
    listed = {encoder["name"]: encoder for encoder in map(json.loads, result.stdout.splitlines())}
    assert len(listed) == len(list(known_encoders())) > 20
    assert listed["sentence-transformers/all-MiniLM-L6-v2"]["computed_by"] == "kernel"
    assert listed["sentence-transformers/all-mpnet-base-v2"]["computed_by"] == "kernel"
    assert listed["minishlab/potion-base-8M"]["computed_by"] == "numpy"
    assert listed["sentence-transformers/LaBSE"]["computed_by"] == "transformers"  # for its Dense module
    assert "intfloat/e5-small-v2" in run("models").stdout


def test_known_encoders_make_sense():
    for encoder in known_encoders():
        assert encoder.pooling in POOLINGS and encoder.dim > 0 and encoder.licence and "/" in encoder.name
        assert encoder.query_prompt or not encoder.passage_prompt
    assert {known.architecture for known in known_encoders()} & set(ARCHITECTURES)
    assert known_encoder("nobody/nothing") is None


def test_prompts_that_files_do_not_name_are_recommended():
    advice = missing_prompts("intfloat/e5-small-v2", "")
    assert "--query-prompt 'query: ' --passage-prompt 'passage: '" in advice
    assert missing_prompts("intfloat/e5-small-v2", "query: ") == ""
    assert missing_prompts("sentence-transformers/all-MiniLM-L6-v2", "") == ""
