"""Teachers that are sentence encoders of any kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_helpers import Recorder
from transformer_models import save_sentence_encoder

from elasticdenser import PassageEncoder, PassageIndex
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.training.ranker.queries import RankerQueries
from elasticdenser.training.ranker.settings import TeacherSettings
from elasticdenser.training.ranker.teachers import prepare_teacher
from elasticdenser.training.ranker.teachers.base import TeacherInputs

PASSAGES = ["frank herbert wrote dune", "cats sleep all day", "a piece of string"]
QUERIES = ["who wrote dune", "cats"]
POOLS = np.array([[0, 2, -1], [1, 0, 2]])


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_model) -> PassageIndex:
    passages = [Passage(doc_id=f"d{number}", text=text, title="") for number, text in enumerate(PASSAGES)]
    corpus = Corpus.from_passages("texts", lambda: iter(passages))
    encoder = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu")
    return PassageIndex.build(corpus, tmp_path_factory.mktemp("index") / "i", encoder, workers=1)


@pytest.mark.parametrize("kind", ["bert", "deberta-v2"])
def test_scores_are_inner_products_of_its_vectors(tmp_path, index, kind, tiny_model):
    pytest.importorskip("transformers")
    folder: Path = tiny_model if kind == "bert" else save_sentence_encoder("deberta-v2", tmp_path / "deberta")
    inputs = TeacherInputs(
        queries=RankerQueries(texts=QUERIES, judgements={}, hits={}),
        pools=POOLS,  # type: ignore[arg-type]  # the part of `CandidatePools` that it needs
        index=index,
        bm25=None,
        data=tmp_path,
        folder=tmp_path,
        device=torch.device("cpu"),
        offline=True,
        trust_remote_code=False,
        progress=Recorder(),
    )
    teacher = prepare_teacher(TeacherSettings(kind="encoder", path=str(folder)), inputs)
    encoder = ElasticQueryEncoder.from_pretrained(str(folder), dtype="float32", device="cpu")
    expected = encoder.encode(QUERIES) @ encoder.encode_passages(PASSAGES).T
    scores = teacher.scores(slice(0, 2))
    assert np.isnan(scores[0, 2])
    np.testing.assert_allclose(scores[0, :2], expected[0, [0, 2]], atol=2e-3)  # the cache is float16
    np.testing.assert_allclose(scores[1], expected[1, [1, 0, 2]], atol=2e-3)
