"""Elastic rankers: pairs, files, and scores of all subnets by both backends."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import torch
from elastic_models import padded, write_ranker
from tiny import VOCABULARY, one_thread, write_sentence_encoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError, ModelError, QueryError
from elasticdenser.kernel.paths import has_fast_path
from elasticdenser.models.bert import Weights, segment_vector
from elasticdenser.models.calibration import Calibration
from elasticdenser.models.ranker_files import load_ranker, save_ranker
from elasticdenser.models.ranker_manifest import PairSettings, read_ranker_manifest
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.models.scorer_init import scorer_from_full
from elasticdenser.models.settings import read_settings
from elasticdenser.models.shape import ElasticShape
from elasticdenser.rankers import ElasticRanker
from elasticdenser.rankers.backends.kernel import KernelRankerBackend
from elasticdenser.rankers.backends.torch import TorchRankerBackend
from elasticdenser.rankers.pairs import PairTokenizer

QUERY = "who wrote dune"
TEXTS = ["Dune is a novel by Frank Herbert.", "a", "", "The sand of the dune moves. " * 20, "naïve café"]


@pytest.fixture(scope="module", params=["cls", "mean"])
def ranker_folder(request, tiny_model, tmp_path_factory):
    return write_ranker(tmp_path_factory.mktemp("ranker") / "tiny", tiny_model, pooling=request.param)


@pytest.fixture(scope="module")
def pairs(tiny_model) -> PairTokenizer:
    return PairTokenizer(tiny_model, len(VOCABULARY), PairSettings(max_length=48, max_query_length=16))


def test_pairs_are_those_of_the_tokenizer(tiny_model, pairs):
    reference = AutoTokenizer.from_pretrained(tiny_model)
    (query,), passages = pairs.query_tokens([QUERY]), pairs.passage_tokens(TEXTS)
    for text, passage in zip(TEXTS, passages, strict=True):
        if not text:  # which transformers takes for no second text
            continue
        expected = reference(QUERY, text, truncation="only_second", max_length=48)
        ids = [
            id_ + type_id * len(VOCABULARY)
            for id_, type_id in zip(expected["input_ids"], expected["token_type_ids"], strict=True)
        ]
        assert pairs.pair(query, passage) == ids


def test_long_queries_are_cut(pairs):
    (query,) = pairs.query_tokens(["word " * 100])
    assert len(query) == 16
    assert len(pairs.pair(query, pairs.passage_tokens(["word " * 100])[0])) == 48


def test_pairs_without_space_for_a_passage_are_refused(tiny_model):
    with pytest.raises(ModelError, match="expected space for a passage: raise max_length, or lower max_query_length"):
        PairTokenizer(tiny_model, len(VOCABULARY), PairSettings(max_length=16, max_query_length=16))


@pytest.mark.parametrize(("n_types", "expected"), [(0, 0.0), (1, 0.0), (2, 1.0)])
def test_the_segment_vector_is_the_difference_of_the_token_types(n_types, expected):
    names = {"embeddings.word_embeddings.weight": torch.zeros(3, 4)}
    if n_types:
        rows = torch.arange(n_types, dtype=torch.float32)[:, None].expand(n_types, 4)
        names["embeddings.token_type_embeddings.weight"] = rows
    assert segment_vector(Weights(names), 4).tolist() == [expected] * 4


def test_the_full_subnet_is_a_cross_encoder_of_transformers(tmp_path, pairs):
    """With BERT's own pair encoding, token types included; its pooler and classifier become the exit."""
    one_thread()
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
        num_labels=1,
    )
    reference = BertForSequenceClassification(config).eval()
    reference.bert.save_pretrained(tmp_path)
    write_sentence_encoder(tmp_path)
    model = scorer_from_full(tmp_path, read_settings(tmp_path))
    with torch.no_grad():
        for cell in np.ndindex(*model.exits.shape[:2]):
            model.exits[cell] = reference.classifier.weight
    (query,), passages = pairs.query_tokens([QUERY]), pairs.passage_tokens(TEXTS)
    sequences = [pairs.pair(query, passage) for passage in passages]
    token_ids, mask = padded(sequences)
    is_second = (token_ids >= len(VOCABULARY)).long()
    with torch.no_grad():
        states = reference.bert(token_ids - is_second * len(VOCABULARY), mask.long(), is_second).last_hidden_state
        expected = states[:, 0] @ reference.classifier.weight[0]
        scores = model(token_ids, mask, model.shape.grid[0])[:, 0]
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_scores_of_both_backends_are_those_of_the_model(ranker_folder, pairs):
    model, manifest = load_ranker(ranker_folder)
    (query,), passages = pairs.query_tokens([QUERY]), pairs.passage_tokens(TEXTS)
    sequences = [pairs.pair(query, passage) for passage in passages]
    token_ids, mask = padded(sequences, padding=0)
    backends = [TorchRankerBackend.load(ranker_folder, dtype="float32", device="cpu")]
    if has_fast_path():
        backends.append(KernelRankerBackend.load(ranker_folder))
    ranker = ElasticRanker.from_pretrained(ranker_folder, dtype="float32", device="cpu")
    for subnet in manifest.shape.grid:
        with torch.no_grad():
            expected = model(token_ids, mask, subnet)[:, 0].numpy()
        assert np.allclose(ranker.score(QUERY, TEXTS, subnet), expected, atol=1e-4)
        for backend in backends:
            scores = backend.forward(sequences, subnet)
            tolerance = 1e-4 if backend.dtype == "float32" else 0.05 * np.ptp(expected) + 0.02
            assert np.allclose(scores, expected, atol=tolerance), (backend.dtype, subnet)


@pytest.mark.skipif(not has_fast_path(), reason="needs a fast path of the kernel")
def test_a_score_in_8_bits_does_not_depend_on_the_other_passages(ranker_folder):
    ranker = ElasticRanker.from_pretrained(ranker_folder)
    assert ranker.dtype == "int8"
    for subnet in ranker.subnets:
        alone = [ranker.score(QUERY, [text], subnet)[0] for text in TEXTS]
        assert ranker.score(QUERY, TEXTS * 9, subnet).tolist() == alone * 9


def test_a_ranker_is_read_as_it_was_written(ranker_folder, tiny_model, tmp_path):
    model, manifest = load_ranker(ranker_folder)
    assert manifest == read_ranker_manifest(ranker_folder)
    assert {*os.listdir(ranker_folder)} >= {"ranker.json", "ranker.safetensors", "tokenizer.json"}
    again = tmp_path / "again"
    save_ranker(
        again,
        base=tiny_model,
        model=model,
        settings=manifest.settings,
        provenance=manifest.provenance,
        first_stage_weight=0.5,
    )
    assert (manifest.first_stage_weight, read_ranker_manifest(again).first_stage_weight) == (0.0, 0.5)
    for name, tensor in load_ranker(again)[0].state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-6, rtol=1e-3)


def test_the_api(ranker_folder):
    ranker = ElasticRanker.from_pretrained(ranker_folder)
    assert ranker.full_subnet == ranker.subnets[0] and str(ranker.full_subnet) == "w1-d2"
    assert ranker.score(QUERY, []).shape == (0,)
    assert ranker.score(QUERY, TEXTS).dtype == np.float32
    assert not np.array_equal(ranker.score(QUERY, TEXTS), ranker.score(QUERY, TEXTS, "w0.25-d1"))
    with pytest.raises(QueryError, match="expected one of this ranker's: w1-d2"):
        ranker.score(QUERY, TEXTS, "w0.5-d6")
    with pytest.raises(QueryError, match="expected text with at least one character"):
        ranker.score(" ", TEXTS)
    with pytest.raises(QueryError, match="expected a list of texts"):
        ranker.score(QUERY, "Dune")
    with pytest.raises(ModelError, match="there is no folder"):
        ElasticRanker.from_pretrained("absent/folder")
    with pytest.raises(ModelError, match="expected one of int8, auto"):
        ElasticRanker.from_pretrained(ranker_folder, dtype="int4")


def test_passages_are_ranked_best_first(ranker_folder):
    ranker = ElasticRanker.from_pretrained(ranker_folder)
    scores = ranker.score(QUERY, TEXTS, "w0.5-d1")
    ranked = ranker.rerank(QUERY, TEXTS, subnet="w0.5-d1")
    assert [position for position, _, _ in ranked] == np.argsort(-scores, kind="stable").tolist()
    assert [(score, text) for _, score, text in ranked] == [(scores[n], TEXTS[n]) for n, _, _ in ranked]
    assert ranker.rerank(QUERY, TEXTS, 2, "w0.5-d1") == ranked[:2]
    passages = [Passage("a", text="the novel", title="Dune"), Passage("b", text="Dune the novel")]
    (first, second) = ranker.rerank(QUERY, passages)
    assert (first.position, second.position) == (0, 1) and first.score == second.score
    assert first.passage is passages[0]
    assert ranker.rerank(QUERY, []) == []
    with pytest.raises(QueryError, match="got k = 0, expected at least 1"):
        ranker.rerank(QUERY, TEXTS, 0)
    with pytest.raises(QueryError, match="expected a list of texts"):
        ranker.rerank(QUERY, "Dune")
    with pytest.raises(QueryError, match="got a passage of type int, expected text"):
        ranker.rerank(QUERY, [3])


def test_scores_that_are_not_finite_are_refused(ranker_folder, monkeypatch):
    ranker = ElasticRanker.from_pretrained(ranker_folder)
    monkeypatch.setattr(ranker._backend, "forward", lambda pairs, subnet: np.full(len(pairs), np.nan, np.float32))
    with pytest.raises(ModelError, match="gives scores that are not finite: train it again"):
        ranker.score(QUERY, TEXTS)


def test_rankers_are_pickled_by_their_folder(ranker_folder):
    ranker = ElasticRanker.from_pretrained(ranker_folder, dtype="float32", device="cpu")
    again = pickle.loads(pickle.dumps(ranker))
    assert (again.folder, again.dtype) == (ranker_folder, "float32")
    with pytest.raises(TypeError, match="made of objects that only this process has"):
        pickle.dumps(
            ElasticRanker(ranker_folder, TorchRankerBackend.load(ranker_folder, dtype="float32", device="cpu"))
        )


def test_folders_of_something_else_are_refused(tiny_model, ranker_folder, tmp_path):
    with pytest.raises(ModelError, match=r"ranker\.json is missing: give the folder of an elastic ranker"):
        ElasticRanker.from_pretrained(tiny_model)
    model, manifest = load_ranker(ranker_folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(BuildError, match="something other than an elastic ranker"):
        save_ranker(
            tmp_path / "mine",
            base=tiny_model,
            model=model,
            settings=manifest.settings,
            provenance=manifest.provenance,
        )
    with pytest.raises(QueryError, match="expected dim = 1 and no level 0"):
        ElasticScorer(ElasticShape(**{**manifest.shape.__dict__, "dim": 2}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "got format 2, expected 1"),
        ("settings", {"max_length": 4096}, "got max_length = 4096 for 64 positions"),
        ("shape", None, "shape"),
    ],
)
def test_damaged_manifests_are_refused(ranker_folder, tmp_path, key, value, message):
    content = json.loads((ranker_folder / "ranker.json").read_text())
    content[key] = value
    (tmp_path / "ranker.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        read_ranker_manifest(tmp_path)


def test_a_calibration_is_stored_for_each_subnet_and_may_be_missing(tiny_model, tmp_path):
    stored = {"w0.5-d1": Calibration(scale=2.5, offset=-1.5)}
    folder = write_ranker(tmp_path / "calibrated", tiny_model, calibration=stored)
    ranker = ElasticRanker.from_pretrained(folder, device="cpu")
    assert ranker.calibration("w0.5-d1") == stored["w0.5-d1"] and ranker.calibration() == Calibration()
    assert ranker.max_length == 48
    with pytest.raises(QueryError, match="got subnet w1-d9"):
        ranker.calibration("w1-d9")
    manifest = folder / "ranker.json"
    content = json.loads(manifest.read_text())
    for wrong, message in (
        ({"w0.5-d1": {"scale": -1.0, "offset": 0.0}}, "scale above 0"),
        ({"w0.5-d1": {"scale": "1"}}, "calibration"),
        ({"w0.5-d1": {"slope": 1.0}}, "slope"),
    ):
        manifest.write_text(json.dumps(content | {"calibration": wrong}))
        with pytest.raises(ModelError, match=message):
            read_ranker_manifest(folder)
