"""Vectors of fewer dimensions than the encoder has (Matryoshka): passages, queries and index agree."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex, Retriever
from elasticdenser.cli import app
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.errors import EncoderMismatchError, ModelError

TEXTS = ["who wrote dune", "frank herbert wrote dune", "cats", "how long is a piece of string?"]


def corpus() -> Corpus:
    passages = [Passage(doc_id=f"d{number}", text=text, title="") for number, text in enumerate(TEXTS)]
    return Corpus.from_passages("texts", lambda: iter(passages))


def first_ones(vectors: np.ndarray, dim: int) -> np.ndarray:
    return vectors[:, :dim] / np.linalg.norm(vectors[:, :dim], axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_all_subnets_keep_the_first_dimensions(tiny_elastic, dtype):
    whole = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype=dtype, device="cpu")
    cut = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype=dtype, device="cpu", dim=8)
    assert cut.dim == cut.fingerprint.settings.dim == 8
    for subnet in whole.subnets:
        vectors = cut.encode(TEXTS, subnet)
        np.testing.assert_allclose(vectors, first_ones(whole.encode(TEXTS, subnet), 8), atol=1e-6)
        alone = np.concatenate([cut.encode([text], subnet) for text in TEXTS])
        assert np.abs(vectors - alone).max() <= (0 if dtype == "int8" else 2e-6)
    passages = PassageEncoder.from_pretrained(str(tiny_elastic), dtype=dtype, device="cpu", dim=8)
    assert (passages.encode(TEXTS) == next(passages.encode_windows([TEXTS], workers=1))).all()


def test_without_normalisation_the_dimensions_are_only_cut(tiny_model):
    options = {"dtype": "float32", "device": "cpu", "normalize": False}
    whole = PassageEncoder.from_pretrained(str(tiny_model), **options).encode(TEXTS)
    cut = PassageEncoder.from_pretrained(str(tiny_model), dim=8, **options).encode(TEXTS)
    np.testing.assert_array_equal(cut, whole[:, :8])


@pytest.fixture
def matryoshka(tmp_path, tiny_elastic):
    """A copy of the elastic encoder with `truncate_dim` 16."""
    folder = tmp_path / "matryoshka"
    shutil.copytree(tiny_elastic, folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": 16}))
    return folder


@pytest.mark.slow
def test_an_index_is_searched_in_its_own_dimensions(tmp_path, matryoshka):
    own = PassageEncoder.from_pretrained(str(matryoshka), dtype="int8")
    less = PassageEncoder.from_pretrained(str(matryoshka), dtype="int8", dim=4)
    for name, encoder, dim in (("own", own, 16), ("less", less, 4)):
        index = PassageIndex.build(corpus(), tmp_path / name, encoder, workers=1)
        assert index.dim == index.manifest.encoder.settings.dim == dim
        retriever = Retriever.open(tmp_path / name)
        assert retriever.encoder.dim == dim
        assert next(retriever.search("cats")).doc_id == "d2"
        assert len(list(retriever.search("cats", subnet="level0"))) == 4
    with pytest.raises(EncoderMismatchError, match="dim: 4 against 16"):
        Retriever(ElasticQueryEncoder.from_pretrained(str(matryoshka)), index)


def test_an_index_with_all_dimensions_stays_readable(tmp_path, matryoshka):
    """As one that was built before `truncate_dim` was read."""
    PassageIndex.build(corpus(), tmp_path / "i", PassageEncoder.from_pretrained(str(matryoshka), dim=32), workers=1)
    retriever = Retriever.open(tmp_path / "i")
    assert retriever.encoder.dim == retriever.index.dim == 32
    assert next(retriever.search("cats")).doc_id == "d2"


def test_an_index_ranked_by_dot_product_stays_so(tmp_path, matryoshka):
    """As one that was built before vectors of cosine models were normalised; even for a similarity that is refused."""
    encoder = PassageEncoder.from_pretrained(str(matryoshka), normalize=False)
    PassageIndex.build(corpus(), tmp_path / "i", encoder, workers=1)
    (matryoshka / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": "euclidean"}))
    assert not Retriever.open(tmp_path / "i").encoder.settings.normalize
    with pytest.raises(ModelError, match="similarity_fn_name = 'euclidean'"):
        PassageEncoder.from_pretrained(str(matryoshka))


@pytest.mark.slow
def test_the_options_of_the_command_line(tmp_path, tiny_model):
    (tmp_path / "c.jsonl").write_text(
        "".join(json.dumps({"_id": f"p{number}", "text": text}) + "\n" for number, text in enumerate(TEXTS))
    )
    arguments = ["index", str(tmp_path / "c.jsonl"), "--encoder", str(tiny_model), "--precision", "int8"]

    def index(*options: str) -> str:
        return CliRunner().invoke(app, [*arguments, *options]).output

    assert "expected cosine" in index("-o", str(tmp_path / "j"), "--dim", "8", "--similarity", "dot")
    assert "expected 1 to 32" in index("-o", str(tmp_path / "j"), "--dim", "33")
    assert "expected 'cosine' or 'dot'" in index("-o", str(tmp_path / "j"), "--similarity", "angle")
    index("-o", str(tmp_path / "i"), "--dim", "8")
    assert "8 dimensions" in CliRunner().invoke(app, ["info", str(tmp_path / "i")]).output
    assert "dune" in CliRunner().invoke(app, ["search", str(tmp_path / "i"), "who wrote dune"]).output
