"""Late-interaction rankers: states of tokens, scores, stored vectors, and files."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
from kernel_helpers import needs_fast_path
from late_interaction_models import DIM, write_late_interaction
from transformer_models import save_sentence_encoder

from elasticdenser import LateInteractionRanker
from elasticdenser.encoders.token_encoder import load_token_encoder
from elasticdenser.errors import BadInputError, ModelError, QueryError
from elasticdenser.models.locate import find_model
from elasticdenser.rankers import load_ranker
from elasticdenser.rankers.late_interaction_files import read_late_interaction, save_late_interaction
from elasticdenser.rankers.pairs import SeparateTokenizer
from elasticdenser.subnet import LEVEL_0, Subnet

pytestmark = needs_fast_path

QUERY = "who wrote dune"
TEXTS = ["Dune is a novel by Frank Herbert.", "a", "", "The sand of the dune moves. " * 20, "naïve café"]


@pytest.fixture(scope="module")
def folder(tiny_elastic, tmp_path_factory):
    return write_late_interaction(tmp_path_factory.mktemp("late") / "tiny", tiny_elastic)


@pytest.fixture(scope="module")
def ranker(folder):
    return LateInteractionRanker.from_pretrained(folder)


def test_a_score_is_made_of_the_cosines_of_tokens_and_of_texts(folder, tiny_elastic):
    ranker = LateInteractionRanker.from_pretrained(folder, dtype="float32")
    model, encoder = read_late_interaction(folder), load_token_encoder(find_model(str(tiny_elastic)), dtype="float32")
    tokenizer = SeparateTokenizer(tiny_elastic, 24, 12)
    passages, (query,) = tokenizer.passages(TEXTS), tokenizer.queries([QUERY])

    def normalised(vectors):
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    def encode(subnet, sequence, weight, bias):
        tokens, (text,) = encoder.projector(subnet, weight, bias)([sequence])
        return normalised(tokens.astype(np.float64)), text

    assert LEVEL_0 in ranker.subnets
    for subnet in ranker.subnets:
        own = model.queries[subnet]
        query_tokens, query_vector = encode(subnet, query, own.weight, own.bias)
        weights = np.log1p(np.exp(encoder.states(subnet, [query]) @ own.token_weight + np.log(np.e - 1)))
        assert weights.std() > 0.01
        encoded = [encode(encoder.full_subnet, passage, model.full, np.zeros(DIM, np.float32)) for passage in passages]
        expected = [
            weights @ (query_tokens @ tokens.T).max(axis=1) / weights.sum() + 0.5 * float(vector @ query_vector)
            for tokens, vector in encoded
        ]
        assert np.allclose(ranker.score(QUERY, TEXTS, subnet), expected, atol=2e-2)  # 8 bits are stored


def test_the_weight_of_the_texts_is_in_the_manifest(folder, tiny_elastic, tmp_path):
    content = json.loads((folder / "late-interaction.json").read_text())
    scores = []
    for number, weight in enumerate((0, 0.5, 1)):
        other = write_late_interaction(tmp_path / str(number), tiny_elastic)
        content["vector_weights"]["w1-d2"] = weight
        (other / "late-interaction.json").write_text(json.dumps(content))
        scores.append(LateInteractionRanker.from_pretrained(other).score(QUERY, TEXTS))
    assert np.allclose(scores[2] - scores[1], scores[1] - scores[0], atol=1e-5)
    assert np.abs(scores[1] - scores[0]).min() > 1e-3


def test_subnets_are_packed_when_they_are_used(folder):
    ranker = LateInteractionRanker.from_pretrained(folder)
    packed = ranker._encoder._backend._models
    assert not packed
    ranker.score(QUERY, TEXTS, "w0.5-d1")
    assert set(packed) == {ranker.full_subnet, Subnet.parse("w0.5-d1")}


def test_a_query_needs_no_subnet_of_its_own(ranker):
    assert all(ranker.subnet_beside(subnet) == subnet for subnet in ranker.subnets)
    assert ranker.subnet_beside(Subnet.parse("w0.75-d1")) == ranker.full_subnet


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deberta-v2", "modernbert"])
def test_any_transformer_has_such_a_ranker(kind, tmp_path):
    encoder = save_sentence_encoder(kind, tmp_path / "encoder", "mean", ["Normalize"])
    folder = write_late_interaction(tmp_path / "late", encoder)
    ranker = LateInteractionRanker.from_pretrained(
        folder, dtype="float32", token_vectors=tmp_path / "v", max_bytes=10**7
    )
    scores = ranker.score(QUERY, TEXTS)
    assert ranker.subnets == [ranker.full_subnet] and ranker.dtype == "float32"
    ranker.store(TEXTS)
    assert np.allclose(ranker.score(QUERY, TEXTS), scores, atol=1e-3)
    assert np.allclose([ranker.score(QUERY, [text])[0] for text in TEXTS], scores, atol=1e-3)
    same = ranker.score("the sand", ["the sand", "a novel"])
    assert same[0] == pytest.approx(1.5, abs=2e-2) and same[1] < same[0]


def test_a_score_does_not_depend_on_the_other_passages(ranker):
    for subnet in ranker.subnets:
        together = ranker.score(QUERY, TEXTS, subnet)
        assert [float(ranker.score(QUERY, [text], subnet)[0]) for text in TEXTS] == together.tolist()
        assert ranker.score(QUERY, TEXTS[::-1], subnet).tolist() == together[::-1].tolist()


def test_pairs_of_several_queries_are_scored_together(ranker):
    queries = [QUERY, "sand", QUERY]
    pairs = [ranker.pairs(query, [text])[0] for query, text in zip(queries, TEXTS, strict=False)]
    scores = ranker.score_pairs(pairs, ranker.full_subnet)
    assert scores.tolist() == [
        float(ranker.score(query, [text])[0]) for query, text in zip(queries, TEXTS, strict=False)
    ]
    assert len(pairs[0]) == len(pairs[0].query) + len(pairs[0].passage.tokens)


def test_stored_vectors_give_the_same_scores_to_the_bit(folder, ranker, tmp_path):
    writer = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path, max_bytes=10**7)
    assert writer.store(TEXTS) == len(TEXTS)
    writer.stored_vectors.flush()
    reader = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path)
    for subnet in ranker.subnets:
        assert reader.score(QUERY, TEXTS, subnet).tolist() == ranker.score(QUERY, TEXTS, subnet).tolist()
    counts = reader.stored_vectors.counts
    assert counts.computed == 0 and counts.read == len(TEXTS) * len(ranker.subnets)


@pytest.mark.parametrize("changed", ["max_length", "prompt", "pooling"])
def test_vectors_of_passages_that_were_read_otherwise_are_not_taken(tiny_elastic, tmp_path, changed):
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_elastic, encoder)
    folder = write_late_interaction(tmp_path / "late", encoder)
    writer = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path / "vectors", max_bytes=10**7)
    writer.store(TEXTS)
    writer.stored_vectors.flush()
    before = writer.score(QUERY, TEXTS)
    if changed == "max_length":
        path = folder / "late-interaction.json"
        content = json.loads(path.read_text())
        content["settings"]["max_length"] = 12
    elif changed == "prompt":
        path = encoder / "config_sentence_transformers.json"
        content = {"prompts": {"document": "sand "}}
    else:
        path = encoder / "1_Pooling" / "config.json"
        content = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    path.write_text(json.dumps(content))
    expected = LateInteractionRanker.from_pretrained(folder).score(QUERY, TEXTS)
    reader = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path / "vectors")
    assert reader.score(QUERY, TEXTS).tolist() == expected.tolist() != before.tolist()


def test_searches_only_read_the_folder(folder, ranker, tmp_path):
    reader = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path / "vectors")
    assert reader.score(QUERY, TEXTS).tolist() == ranker.score(QUERY, TEXTS).tolist()
    reader.stored_vectors.flush()
    assert not (tmp_path / "vectors").exists()


def test_two_rankers_share_a_folder(folder, tiny_elastic, tmp_path):
    other = write_late_interaction(tmp_path / "other", tiny_elastic)
    model = read_late_interaction(other)
    model.full[0] *= 3
    save_late_interaction(other, model)
    scores = {}
    for path in (folder, other):
        ranker = LateInteractionRanker.from_pretrained(path, token_vectors=tmp_path / "vectors", max_bytes=10**7)
        ranker.store(TEXTS)
        ranker.stored_vectors.flush()
        scores[path] = ranker.score(QUERY, TEXTS).tolist()
    assert len(list((tmp_path / "vectors").iterdir())) == 2
    assert scores[folder] != scores[other]


def test_the_size_on_disk_is_known_before(folder, tmp_path):
    texts = [f"{word} {TEXTS[3]}" for word in "abcdefghij"]
    ranker = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path, max_bytes=10**7)
    ranker.store(texts)
    ranker.stored_vectors.flush()
    assert 0 < ranker.stored_vectors.n_bytes - ranker.stored_bytes(texts) < 2000


def test_a_passage_may_have_been_cut_where_it_has_all_tokens_whatever_the_query_has(ranker):
    long_query = "dune " * 20
    short, long = ranker.pairs(long_query, ["a csv file", "sand " * 40])
    assert len(short) > ranker.max_length - 8 and not ranker.is_full(short) and ranker.is_full(long)


def test_it_ranks_like_any_ranker(ranker):
    ranked = ranker.rerank(QUERY, TEXTS, 2)
    scores = ranker.score(QUERY, TEXTS)
    assert [position for position, _, _ in ranked] == np.argsort(-scores, kind="stable")[:2].tolist()
    assert ranker.full_subnet == Subnet.parse("w1-d2") and ranker.first_stage_weight == 0
    assert ranker.max_length == 24 and len(ranker.score(QUERY, [])) == 0
    with pytest.raises(QueryError, match="expected one of this ranker's: w1-d2"):
        ranker.score(QUERY, TEXTS, "w1-d9")
    with pytest.raises(QueryError, match="got one string"):
        ranker.score(QUERY, "text")
    assert ranker.score(QUERY, (text for text in TEXTS)).tolist() == scores.tolist()


def test_another_process_opens_it_with_its_vectors(folder, tmp_path):
    ranker = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path, max_bytes=10**7)
    ranker.store(TEXTS)
    ranker.stored_vectors.flush()
    again = pickle.loads(pickle.dumps(ranker))
    assert again.score(QUERY, TEXTS).tolist() == ranker.score(QUERY, TEXTS).tolist()
    assert again.stored_vectors.counts.computed == 0


def test_the_kind_of_a_folder_is_recognised(folder, tiny_ranker, tmp_path):
    assert isinstance(load_ranker(folder, device="cuda"), LateInteractionRanker)  # it computes on the CPU anyway
    with pytest.raises(ModelError, match="leave it out, or name a late-interaction ranker"):
        load_ranker(tiny_ranker, token_vectors=tmp_path)


@pytest.mark.slow
def test_what_cannot_be_used_is_refused(folder, tiny_elastic, tiny_model, tmp_path):
    with pytest.raises(ModelError, match="expected int8 or float32"):
        LateInteractionRanker.from_pretrained(folder, dtype="bfloat16")
    with pytest.raises(ModelError, match="give the folder of a late-interaction ranker"):
        LateInteractionRanker.from_pretrained(tmp_path)
    foreign = write_late_interaction(tmp_path / "foreign", tiny_elastic, weights_sha256="0" * 64)
    with pytest.raises(ModelError, match="was fitted to other weights"):
        LateInteractionRanker.from_pretrained(foreign)
    lacking = write_late_interaction(tmp_path / "lacking", tiny_elastic, name=str(tiny_model))
    with pytest.raises(ModelError, match=r"has no subnet w.*fit it again"):
        LateInteractionRanker.from_pretrained(lacking)
    gone = write_late_interaction(tmp_path / "gone", tiny_elastic, name=str(tmp_path / "moved"))
    with pytest.raises(ModelError, match=r"there is no folder .*moved.* \(made_by\.name in .*late-interaction\.json\)"):
        LateInteractionRanker.from_pretrained(gone)
    with pytest.raises(ModelError, match=r"holds no ranker, neither ranker\.json nor late-interaction\.json"):
        load_ranker(tmp_path)
    with pytest.raises(ModelError, match="got device 'tpu', expected auto, cpu"):
        load_ranker(folder, device="tpu")
    with pytest.raises(QueryError, match="which holds bytes that are not UTF-8"):
        LateInteractionRanker.from_pretrained(folder).score(QUERY, ["a", "b \ud800 c"])
    (tmp_path / "vectors").write_text("")
    with pytest.raises(BadInputError, match="expected a folder"):
        LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path / "vectors")
    with pytest.raises(QueryError, match="open the ranker with token_vectors=FOLDER"):
        LateInteractionRanker.from_pretrained(folder).store(TEXTS)
    for wrong, message in ((["\ud800"], "not UTF-8"), ([3], "text number 1 is 3")):
        with pytest.raises(QueryError, match=message):
            LateInteractionRanker.from_pretrained(folder).store(wrong)
        with pytest.raises(QueryError, match=message):
            LateInteractionRanker.from_pretrained(folder).stored_bytes(wrong)


def test_stored_passages_are_not_tokenised(folder, ranker, tmp_path, monkeypatch):
    expected = ranker.score(QUERY, TEXTS).tolist()
    writer = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path, max_bytes=10**7)
    writer.store(TEXTS)
    monkeypatch.delattr(SeparateTokenizer, "passages")
    assert writer.score(QUERY, TEXTS).tolist() == expected
    writer.stored_vectors.flush()
    reader = LateInteractionRanker.from_pretrained(folder, token_vectors=tmp_path)
    assert reader.score(QUERY, TEXTS[::-1]).tolist() == expected[::-1]
