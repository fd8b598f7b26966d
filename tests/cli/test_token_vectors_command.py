"""`elasticdenser token-vectors`, and the fit of a late-interaction ranker, on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_helpers import assert_fails, assert_fails_after_notes, run
from kernel_helpers import needs_fast_path
from recipe_scripts import RECIPES

from elasticdenser.errors import BadInputError
from elasticdenser.models.calibration import Calibration
from elasticdenser.models.shipped_ranker import shipped_ranker
from elasticdenser.rankers import load_ranker
from elasticdenser.rankers.late_interaction_files import read_late_interaction
from elasticdenser.training.kinds import read_any_recipe
from elasticdenser.training.late_interaction.recipe import late_interaction_recipe

pytestmark = needs_fast_path

TEXTS = ["the sand of the dune", "a novel by frank herbert", "a csv file", "who wrote dune", "the spice"]
RECIPE = """
trains = "late-interaction"
seed = 1
encoder = "{encoder}"
dim = {dim}
subnets = ["w1-d1", "w0.25-d1", "level0"]
passages = ["passages.jsonl"]
n_passages = 4
[[texts]]
path = "queries.txt"
kind = "queries"
[settings]
max_length = 16
"""


@pytest.fixture
def data(tmp_path, tiny_elastic):
    rows = ({"_id": f"d{number}", "text": text} for number, text in enumerate(TEXTS))
    (tmp_path / "passages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "queries.txt").write_text("\n".join(TEXTS))
    (tmp_path / "late.toml").write_text(RECIPE.format(encoder=tiny_elastic, dim=6))
    return tmp_path


def fit(data, name="ranker", *options):
    return run("train", str(data / "late.toml"), "--data", str(data), "-o", str(data / name), *options)


def test_from_the_fit_to_a_search(data, tiny_elastic):
    result = fit(data)
    assert result.exit_code == 0, result.output
    assert "w0.25-d1" in result.output and "a late-interaction ranker, which keeps" in result.output
    run("index", str(data / "passages.jsonl"), "-o", str(data / "index"), "--encoder", str(tiny_elastic))
    ranker = "--ranker", str(data / "ranker")
    stored = run("token-vectors", str(data / "index"), *ranker)
    assert stored.exit_code == 0, stored.output
    assert "5 passages, whose tokens will take about 0.0 MB" in stored.output
    assert "5 passages encoded, 0 were there" in stored.output
    assert "0 passages encoded, 5 were there" in run("token-vectors", str(data / "index"), *ranker).output
    found = run("search", str(data / "index"), "dune", "--rerank", "5", *ranker)
    assert found.exit_code == 0 and "elastic:5:w1-d2" in found.output


def test_vectors_are_stored_in_the_precision_of_the_searches(data, tiny_elastic):
    fit(data)
    run("index", str(data / "passages.jsonl"), "-o", str(data / "index"), "--encoder", str(tiny_elastic))
    ranker = "--ranker", str(data / "ranker"), "--device", "cpu"
    for precision, stored_before in (("int8", 0), ("fp32", 0), ("fp32", 5)):
        stored = run("token-vectors", str(data / "index"), *ranker, "--precision", precision)
        assert f"{5 - stored_before} passages encoded, {stored_before} were there" in stored.output
        search = run("search", str(data / "index"), "dune", "--rerank", "5", *ranker, "--precision", precision)
        assert search.exit_code == 0 and "holds no vectors" not in search.output
    wrong = run("token-vectors", str(data / "index"), *ranker, "--precision", "fp7")
    assert wrong.exit_code == 2 and "got 'fp7'" in wrong.stderr


@pytest.fixture
def judged(data):
    judged = data / "judged"
    (judged / "qrels").mkdir(parents=True)
    (judged / "corpus.jsonl").write_text((data / "passages.jsonl").read_text())
    rows = [json.dumps({"_id": f"q{number}", "text": text}) for number, text in enumerate(TEXTS)]
    (judged / "queries.jsonl").write_text("\n".join(rows))
    pairs = "".join(f"q{number}\td{number}\t1\n" for number in range(len(TEXTS)))
    (judged / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{pairs}")
    return judged


def test_probabilities_are_fitted_to_judged_queries(data, judged, tiny_elastic):
    recipe = RECIPE.format(encoder=tiny_elastic, dim=6)
    (data / "late.toml").write_text(f'{recipe}\n[calibration]\npath = "judged"\nn_passages = 3\nk = 4\n')
    result = fit(data)
    assert result.exit_code == 0, result.output
    ranker = load_ranker(data / "ranker")
    assert all(ranker.calibration(subnet) != Calibration() for subnet in ranker.subnets)
    probabilities = ranker.calibration().probabilities(ranker.score(TEXTS[0], TEXTS))
    assert probabilities.argmax() == 0  # the same text
    assert probabilities[0] > 0.5 > np.median(probabilities)
    (judged / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\telsewhere\t1\n")
    assert_fails_after_notes(fit(data, "other"), "no relevant passage of these queries is in the corpus")
    (data / "late.toml").write_text(f'{recipe}\n[calibration]\npath = "nowhere"\n')
    assert_fails(fit(data, "other"), "calibration.path: 'nowhere' is neither a file or folder")


def test_weights_of_tokens_are_fitted_to_judged_queries(data, judged, tiny_elastic):
    recipe = RECIPE.format(encoder=tiny_elastic, dim=6)
    assert fit(data, "alike").exit_code == 0
    (data / "late.toml").write_text(f'token_penalty = 0.001\n{recipe}\n[token_weights]\npath = "judged"\nk = 4\n')
    result = fit(data)
    assert result.exit_code == 0, result.output
    alike, fitted = read_late_interaction(data / "alike"), read_late_interaction(data / "ranker")
    assert list(fitted.queries) == list(alike.queries) and str(list(fitted.queries)[-1]) == "level0"
    for subnet, own in fitted.queries.items():
        assert np.array_equal(own.weight, alike.queries[subnet].weight)
        assert not alike.queries[subnet].token_weight.any() and own.token_weight.any()
    (judged / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\telsewhere\t1\n")
    assert_fails_after_notes(fit(data, "other"), "no relevant passage of these queries is in the corpus")
    every = "".join(f"q0\td{number}\t1\n" for number in range(len(TEXTS)))
    (judged / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{every}")
    assert fit(data, "same").exit_code == 0  # all candidates are relevant: there is nothing to learn
    assert not any(own.token_weight.any() for own in read_late_interaction(data / "same").queries.values())
    (data / "late.toml").write_text(f'{recipe}\n[token_weights]\npath = "nowhere"\n')
    assert_fails(fit(data, "other"), "token_weights.path: 'nowhere' is neither a file or folder")


def test_a_fit_can_be_repeated(data):
    fit(data)
    first = read_late_interaction(data / "ranker")
    fit(data, "again")
    again = read_late_interaction(data / "again")
    assert np.array_equal(first.full, again.full)
    for subnet, own in first.queries.items():
        assert np.array_equal(own.weight, again.queries[subnet].weight)


def test_the_projection_keeps_the_largest_directions(data, tiny_elastic):
    (data / "late.toml").write_text(RECIPE.format(encoder=tiny_elastic, dim=32))
    assert "keeps 100.0% of the squares" in fit(data).output
    full = read_late_interaction(data / "ranker").full
    assert np.allclose(full @ full.T, np.eye(32), atol=2e-3)


def test_bad_input_is_explained(data, tiny_elastic):
    index = str(data / "index")
    run("index", str(data / "passages.jsonl"), "-o", index, "--encoder", str(tiny_elastic))
    assert_fails(run("token-vectors", index, "--gb", "0"), "got --gb 0, expected gigabytes above 0")
    assert run("token-vectors", index, "--gb", "1e300").exit_code == 0
    run("index", str(data / "passages.jsonl"), "-o", f"{index}2", "--encoder", str(tiny_elastic), "--no-texts")
    fit(data)
    result = run("token-vectors", f"{index}2", "--ranker", str(data / "ranker"))
    assert_fails(result, "holds no texts, whose tokens are encoded: build the index without --no-texts")
    (data / "late.toml").write_text(RECIPE.format(encoder=tiny_elastic, dim=33))
    assert_fails_after_notes(fit(data, "wide"), "got dim = 33, expected at most 32")
    (data / "late.toml").write_text(RECIPE.format(encoder=tiny_elastic, dim=6).replace("w1-d1", "w1-d9"))
    assert_fails_after_notes(fit(data, "wide"), "got subnet w1-d9, expected some of w1-d2")
    assert_fails(fit(data, "wide", "--steps", "5"), "which has none of these: leave them out")
    assert_fails(fit(data, "wide", "--device", "tpu"), "got device 'tpu', expected auto, cpu")


def test_a_place_that_takes_no_vectors_is_noticed_before_anything_is_encoded(data, tiny_elastic):
    run("index", str(data / "passages.jsonl"), "-o", str(data / "index"), "--encoder", str(tiny_elastic))
    fit(data)
    (data / "index.token-vectors").symlink_to(data / "nowhere")
    result = run("token-vectors", str(data / "index"), "--ranker", str(data / "ranker"))
    assert_fails(result, "index.token-vectors: something of that name is in the way")


def test_the_shipped_ranker_was_made_by_its_recipe():
    recipe = read_any_recipe(RECIPES / "all-MiniLM-L6-v2-late-interaction.toml")
    shipped = read_late_interaction(shipped_ranker())
    assert shipped.settings == recipe.settings
    assert [str(subnet) for subnet in shipped.queries][1:] == list(recipe.subnets)
    assert all(own.token_weight.any() for own in shipped.queries.values())
    assert (shipped.dim, shipped.provenance["n_passages"], shipped.provenance["seed"]) == (
        recipe.dim,
        recipe.n_passages,
        recipe.seed,
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"passages": [], "texts": [{"path": "q", "kind": "queries"}]}, "passages"),
        ({"passages": ["p"], "texts": {"path": "q", "kind": "queries"}}, r"write \[\[texts\]\]"),
        ({"passages": ["p"], "texts": [{"path": "q", "kind": "queries"}], "dims": 3}, "dims"),
        ({"passages": ["p"], "subnets": ["w0.5-d1"]}, r"got subnets and no \[\[texts\]\]"),
    ],
)
def test_wrong_recipes_are_refused(content, message):
    with pytest.raises(BadInputError, match=message):
        late_interaction_recipe(content)
