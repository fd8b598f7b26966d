"""`elasticdenser train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import run

WORDS = ("dune", "desert", "planet", "novel", "csv", "file", "header")


def train(*args: str):
    return run("train", *args)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Working directory with queries.txt and passages.jsonl, forty of each."""
    monkeypatch.chdir(tmp_path)
    texts = [" ".join(WORDS[(number + step) % 7] for step in range(4 + number // 7)) for number in range(40)]
    Path("queries.txt").write_text("\n".join(texts))
    rows = [
        {"_id": str(number), "title": f"{WORDS[number % 7]} {number}", "text": text}
        for number, text in enumerate(texts)
    ]
    Path("passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.slow
def test_queries_and_passages_make_a_model_that_searches(folder, tiny_model):
    sources = ["--queries", "queries.txt", "--passages", "passages.jsonl", "--encoder", str(tiny_model)]
    result = train(*sources, "-o", "models/mine", "--steps", "2", "--device", "cpu", "--offline")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "models/mine: 6 subnets beside the full encoder: w0.5-d2" in result.stderr
    assert "step 2 of 2, cosines to the full encoder's vectors:" in result.stderr
    (index,) = Path("models/mine.work").glob("passages-*/")
    assert f'{index} "your question" --encoder models/mine --subnet w0.5-d1' in result.stderr
    hits = run("search", str(index), "dune", "--encoder", "models/mine", "--subnet", "w0.5-d1")
    assert hits.exit_code == 0, hits.output
    assert "dune" in hits.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--queries FILE"),
        (["recipe.toml", "--queries", "queries.txt"], "not both"),
        (["--queries", "queries.txt", "--steps", "-1"], "--steps"),
    ],
)
def test_usage_errors_exit_with_2(folder, args, message):
    result = train(*args, "-o", "models/mine")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("models").exists()


@pytest.mark.slow
def test_failures_are_one_line_each(folder, tiny_model):
    Path("bad.toml").write_text("[[texts]]\npath = 'queries.txt'\n")
    Path("letter").mkdir()
    Path("letter/dear.txt").write_text("dear")
    mine = ["--encoder", str(tiny_model), "--offline", "-o", "models/mine"]
    for args, part in (
        (["none.toml", *mine], "none.toml: cannot read this recipe"),
        (["bad.toml", *mine], "bad.toml: recipe.texts[0]: 'kind' is missing"),
        (["--queries", "none.txt", *mine], "none.txt"),
        (["--passages", "none.jsonl", *mine], "none.jsonl"),
        (["--queries", "queries.txt", *mine, "--index", "none"], "none"),
        (["--queries", "queries.txt", *mine, "--device", "tpu9"], "got device 'tpu9'"),
        (["--queries", "queries.txt", "-o", "letter"], "it holds something other than an elastic encoder"),
    ):
        result = train(*args)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        *notes, line = result.stderr.splitlines()
        assert line.startswith("error: ") and part in line, line
        assert len(notes) <= 1 and not any("error" in note for note in notes), notes  # texts are counted first


@pytest.mark.slow
def test_raw_text_makes_a_sentence_encoder_that_indexes_and_becomes_elastic(folder, tiny_model):
    shared = ["--device", "cpu", "--offline"]
    made = train("--mirror", str(tiny_model), "--passages", "passages.jsonl", "-o", "models/mirror", "--steps", "2",
                 "--seed", "3", *shared)  # fmt: skip
    assert (made.exit_code, made.stdout) == (0, ""), made.output
    assert "models/mirror: a sentence encoder, from 40 texts without labels" in made.stderr
    assert json.loads(Path("models/mirror/made_by.json").read_text())["seed"] == 3
    indexed = run("index", "passages.jsonl", "--encoder", "models/mirror", "-o", "indexes/mine", *shared)
    assert indexed.exit_code == 0, indexed.output
    elastic = train("--encoder", "models/mirror", "--queries", "queries.txt", "-o", "models/elastic", "--steps", "1",
                    *shared)  # fmt: skip
    assert elastic.exit_code == 0, elastic.output


@pytest.mark.slow
def test_options_that_do_not_fit_a_mirror_training_are_refused(folder, tiny_model):
    mirror = ["--mirror", str(tiny_model), "--queries", "queries.txt", "-o", "models/mirror"]
    for args, code, part in (
        (["recipe.toml", *mirror], 2, "not both"),
        ([*mirror, "--teacher-vectors", "vectors.jsonl"], 2, "a mirror training has no teacher"),
        ([*mirror, "--encoder", "other"], 2, "give --mirror or --encoder, not both"),
        ([*mirror, "--subnet", "w0.5-d3"], 2, "--subnet is for recipes of classifiers"),
        (
            ["--queries", "queries.txt", "-o", "models/mine", "--seed", "1"],
            2,
            "--seed is for classifiers, intents and --mirror",
        ),
        ([*mirror, "--teacher", str(tiny_model)], 1, "which learns from raw text"),
    ):
        result = train(*args)
        assert result.exit_code == code and part in " ".join(result.stderr.replace("│", "").split()), result.output
