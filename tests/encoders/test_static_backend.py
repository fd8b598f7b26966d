"""Static encoders: the mean of token vectors, as sentence-transformers and model2vec compute it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import VOCABULARY

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex, Retriever
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.locate import find_model
from elasticdenser.models.settings import read_settings

TEXTS = ["who wrote dune", "a", "", "Frank HERBERT, 1965; 'Dune' \u4e2d", "word " * 700]
DIM = 16


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def save_tokenizer(folder: Path) -> None:
    from tokenizers import BertWordPieceTokenizer

    (folder / "vocab").write_text("\n".join(VOCABULARY) + "\n")
    BertWordPieceTokenizer(str(folder / "vocab"), lowercase=True).save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def sentence_transformer(tmp_path_factory) -> Path:
    """Folder in the layout of sentence-transformers, with the table in an inner folder."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("static")
    inner = folder / "0_StaticEmbedding"
    inner.mkdir()
    save_tokenizer(inner)
    save_file({"embedding.weight": numbers(len(VOCABULARY), DIM)}, inner / "model.safetensors")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{path[2:]}"}
        for number, path in enumerate(("0_StaticEmbedding", "1_Normalize"))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def save_model2vec(folder: Path, **tensors: np.ndarray) -> Path:
    from safetensors.numpy import save_file

    save_tokenizer(folder)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "model2vec", "normalize": True, "seq_length": 1000000})
    )
    return folder


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.slow
def test_equals_sentence_transformers(sentence_transformer):
    reference = pytest.importorskip("sentence_transformers").SentenceTransformer(
        str(sentence_transformer), device="cpu"
    )
    vectors = PassageEncoder.from_pretrained(str(sentence_transformer)).encode(TEXTS)
    np.testing.assert_allclose(vectors, reference.encode(TEXTS), atol=1e-6)


def test_a_vector_is_the_mean_of_the_token_vectors(sentence_transformer):
    encoder = ElasticQueryEncoder.from_pretrained(str(sentence_transformer))
    table, tokens = numbers(len(VOCABULARY), DIM), [VOCABULARY.index("d"), VOCABULARY.index("##u")]
    np.testing.assert_allclose(encoder.encode(["du"])[0], unit(table[tokens].mean(axis=0)), rtol=1e-5)
    assert encoder.dtype == "float32" and encoder.dim == DIM
    assert [str(subnet) for subnet in encoder.subnets] == ["level0"]
    with pytest.raises(QueryError, match=r"level0 \(it is a table of token vectors\)"):
        encoder.encode(["dune"], "w1-d2")
    with pytest.raises(ModelError, match=r"got dtype 'int8' for .*a table of token vectors"):
        PassageEncoder.from_pretrained(str(sentence_transformer), dtype="int8")


def test_a_vector_does_not_depend_on_its_neighbours_to_the_bit(sentence_transformer):
    encoder = PassageEncoder.from_pretrained(str(sentence_transformer))
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert (encoder.encode(TEXTS) == alone).all()
    assert not encoder.encode([""]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
def test_a_folder_of_model2vec_leaves_out_unknown_words(tmp_path, dtype):
    table = (100 * numbers(len(VOCABULARY), DIM).clip(-1.2, 1.2)).astype(dtype)
    encoder = PassageEncoder.from_pretrained(str(save_model2vec(tmp_path, embeddings=table)))
    assert encoder.settings.max_length == 512 and encoder.settings.normalize
    known, with_unknown = encoder.encode(["du", "du \u4e2d"])
    tokens = [VOCABULARY.index("d"), VOCABULARY.index("##u")]
    np.testing.assert_allclose(known, unit(table[tokens].astype(np.float32).mean(axis=0)), rtol=1e-3)
    np.testing.assert_array_equal(known, with_unknown)


def test_a_smaller_table_with_weights_of_tokens(tmp_path):
    table, weights = numbers(10, DIM), np.abs(numbers(len(VOCABULARY), seed=1))
    mapping = np.arange(len(VOCABULARY)) % 10
    folder = save_model2vec(tmp_path, embeddings=table, weights=weights, mapping=mapping)
    tokens = np.array([VOCABULARY.index("d"), VOCABULARY.index("##u")])
    expected = (table[tokens % 10] * weights[tokens, None]).mean(axis=0)
    np.testing.assert_allclose(PassageEncoder.from_pretrained(str(folder)).encode(["du"])[0], unit(expected), rtol=1e-5)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"other": numbers(3, 4)}, "got no table embedding.weight or embeddings"),
        ({"embeddings": numbers(3)}, "cannot be read as a table"),
        ({"embeddings": numbers(3, 4), "mapping": np.arange(9)}, "a mapping to rows that the table of 3 does not have"),
        ({"embeddings": numbers(3, 4), "weights": numbers(2)}, "got weights of 2 tokens, expected 3"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, tensors, message):
    with pytest.raises(ModelError, match=message):
        PassageEncoder.from_pretrained(str(save_model2vec(tmp_path, **tensors)))


def test_tokens_without_a_vector_are_refused(tmp_path):
    encoder = PassageEncoder.from_pretrained(str(save_model2vec(tmp_path, embeddings=numbers(3, 4))))
    with pytest.raises(ModelError, match="its tokenizer does not belong to its weights"):
        encoder.encode(["dune"])


def test_an_index_is_made_and_searched(tmp_path, sentence_transformer):
    passages = [
        Passage(doc_id=f"d{number}", text=text, title="") for number, text in enumerate(("dune", "cats", "zoo"))
    ]
    encoder = PassageEncoder.from_pretrained(str(sentence_transformer))
    PassageIndex.build(Corpus.from_passages("texts", lambda: iter(passages)), tmp_path / "i", encoder)
    assert next(Retriever.open(tmp_path / "i").search("cats")).doc_id == "d1"


def test_fingerprints_tell_tables_apart(tmp_path, sentence_transformer):
    (tmp_path / "other").mkdir()
    other = save_model2vec(tmp_path / "other", embeddings=numbers(len(VOCABULARY), DIM, seed=9))
    assert find_model(str(other)).sha256 != find_model(str(sentence_transformer)).sha256
    assert read_settings(other).dim == DIM
