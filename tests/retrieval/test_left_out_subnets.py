"""Indexes whose encoder has the weights of the elastic encoder in this package, but another vector space."""

from __future__ import annotations

import json
import shutil

import pytest

from elasticdenser import PassageEncoder, PassageIndex, RetrievalEngine, Retriever
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.engine.profiling.quick import quick_profile
from elasticdenser.errors import QueryError
from elasticdenser.models import locate

TEXTS = ["who wrote dune", "frank herbert wrote dune", "cats", "how long is a piece of string?"]


@pytest.fixture
def shipped(tmp_path, monkeypatch, tiny_elastic):
    """The tiny elastic encoder in the place of the shipped one."""
    shutil.copytree(tiny_elastic, tmp_path / "pretrained" / "all-MiniLM-L6-v2")
    monkeypatch.setattr(locate, "_SHIPPED", tmp_path / "pretrained")


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def cls_pooling(folder):
    change(folder / "1_Pooling/config.json", pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)


def fewer_layers(folder):
    change(folder / "config.json", num_hidden_layers=1)


def cased(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def build(tmp_path, tiny_model, change_folder=None) -> Retriever:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    if change_folder is not None:
        change_folder(folder)
    passages = [Passage(doc_id=f"d{number}", text=text, title="") for number, text in enumerate(TEXTS)]
    corpus = Corpus.from_passages("texts", lambda: iter(passages))
    PassageIndex.build(corpus, tmp_path / "index", PassageEncoder.from_pretrained(str(folder)), workers=1)
    return Retriever.open(tmp_path / "index")


def test_the_same_encoder_is_served_by_the_shipped_subnets(tmp_path, tiny_model, shipped, caplog):
    retriever = build(tmp_path, tiny_model)
    assert len(retriever.encoder.subnets) == 7 and not caplog.text
    shutil.rmtree(tmp_path / "model")  # nothing to compare with: the weights decide
    assert len(Retriever.open(tmp_path / "index").encoder.subnets) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change_folder", "warning", "refusal"),
    [
        (cls_pooling, "they were trained for mean pooling, and it is used with cls", "left out"),
        (fewer_layers, "but with another config.json; queries", "no trained subnets"),
        (cased, "but with another tokenizer; queries", "no trained subnets"),
    ],
)
def test_other_encoders_are_searched_by_the_full_encoder_alone(
    tmp_path, tiny_model, shipped, caplog, change_folder, warning, refusal
):
    retriever = build(tmp_path, tiny_model, change_folder)
    assert len([line for line in caplog.messages if warning in line]) == 1
    assert retriever.encoder.subnets == [retriever.encoder.full_subnet]
    hit = next(retriever.search(TEXTS[0], k=1))
    assert hit.doc_id == "d0" and hit.score > 0.97
    assert next(retriever.opener().search(TEXTS[0], k=1)) == hit
    with pytest.raises(QueryError, match=f"got subnet level0, expected .*{refusal}"):
        retriever.search("dune", subnet="level0")
    profile = quick_profile(retriever)
    assert [level.name for level in profile.levels] == [str(retriever.encoder.full_subnet)]
    with RetrievalEngine(retriever, slo_s=5, profile=profile) as engine:
        assert engine.submit(TEXTS[2], k=1).result().hits[0].doc_id == "d2"


@pytest.mark.slow
def test_levels_that_come_with_left_out_subnets_are_not_used(tmp_path, tiny_model, shipped, data_profile):
    data_profile(tmp_path / "pretrained" / "all-MiniLM-L6-v2")
    retriever = build(tmp_path, tiny_model, cls_pooling)
    assert [level.name for level in quick_profile(retriever).levels] == ["w1-d2"]


@pytest.fixture
def data_profile():
    """Write a profile that names levels of the shipped subnets."""

    def write(folder):
        (folder / locate.PROFILE).write_text(
            json.dumps({"levels": [{"name": "w1-d2", "quality": 1.0}, {"name": "level0", "quality": 0.9}]})
        )

    return write
