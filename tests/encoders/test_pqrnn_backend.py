"""pQRNNs as query encoders: their files, their vectors by NumPy, and the indexes that they open."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pqrnn_models import write_pqrnn

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex, Retriever
from elasticdenser.datasets import Corpus, Passage
from elasticdenser.datasets.words import split_words
from elasticdenser.encoders.backends.pqrnn import PQRNNBackend
from elasticdenser.encoders.deferred import DeferredPassageEncoder
from elasticdenser.errors import BuildError, EncoderMismatchError, ModelError, QueryError
from elasticdenser.models.manifest import is_student
from elasticdenser.models.pqrnn import PQRNNVectors, word_features
from elasticdenser.models.pqrnn_files import save_pqrnn
from elasticdenser.models.pqrnn_manifest import PQRNNManifest, read_pqrnn_manifest
from elasticdenser.models.projection import WordProjection
from elasticdenser.models.space import space_of
from elasticdenser.models.stored_tensors import read_tensors

QUERIES = ["who wrote dune", "a", "?", "Frank HERBERT, 1965; 'Dune'", "Αθήνα 北京 ?", "the capital of france " * 3]


@pytest.fixture
def folder(tmp_path, tiny_encoder) -> Path:
    write_pqrnn(tmp_path / "pqrnn", tiny_encoder.fingerprint)
    return tmp_path / "pqrnn"


def vectors_by_torch(folder: Path, manifest: PQRNNManifest) -> np.ndarray:
    model = PQRNNVectors(manifest.shape, manifest.dim).eval()
    model.load_state_dict(read_tensors(folder / "model.safetensors"))
    with torch.no_grad():
        inputs = word_features([split_words(query) for query in QUERIES], WordProjection(manifest.projection))
        return F.normalize(model(*inputs), dim=-1).numpy()


@pytest.mark.parametrize(("pooling", "n_layers", "kernel"), [("attention", 1, 2), ("attention", 2, 3), ("mean", 2, 1)])
def test_vectors_are_those_of_torch(tmp_path, tiny_encoder, pooling, n_layers, kernel):
    folder = tmp_path / "pqrnn"
    manifest = write_pqrnn(folder, tiny_encoder.fingerprint, pooling=pooling, n_layers=n_layers, kernel=kernel)
    vectors = ElasticQueryEncoder.from_pretrained(str(folder)).encode(QUERIES)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors_by_torch(folder, manifest), atol=1e-5)


def test_a_query_has_the_same_vector_alone_and_in_a_batch(folder):
    encoder = ElasticQueryEncoder.from_pretrained(str(folder))
    alone = np.concatenate([encoder.encode([query]) for query in QUERIES])
    np.testing.assert_allclose(encoder.encode(QUERIES), alone, atol=1e-5)


def test_texts_of_any_kind_have_vectors(folder):
    encoder = ElasticQueryEncoder.from_pretrained(str(folder))
    vectors = encoder.encode(["word " * 5000, "x" * 100_000, "…" * 100, "word " * 20])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[3])  # both are cut at 100 bytes
    assert encoder.count_tokens(["Αθήνα"]) == [10]


def test_weights_take_one_byte_each(folder):
    manifest = read_pqrnn_manifest(folder)
    n_weights = sum(int(np.prod(shape)) for shape in manifest.tensor_shapes().values())
    assert (folder / "model.safetensors").stat().st_size < 1.5 * n_weights + 3000


def test_it_searches_the_passages_of_its_teacher_and_no_others(folder, tmp_path, tiny_encoder):
    passages = [Passage(str(number), text) for number, text in enumerate(QUERIES)]
    corpus = Corpus.from_passages("texts", lambda: iter(passages))
    index = PassageIndex.build(corpus, tmp_path / "index", tiny_encoder)
    encoder = ElasticQueryEncoder.from_pretrained(str(folder))
    assert is_student(folder) and space_of(folder) == tiny_encoder.fingerprint
    assert encoder.location.sha256 == tiny_encoder.location.sha256
    hits = list(Retriever(encoder, index).search({"q": "dune"}, k=3))
    scores = index.vectors @ encoder.encode(["dune"])[0]
    assert [hit.doc_id for hit in hits] == [str(position) for position in np.argsort(-scores)[:3]]
    other = replace(tiny_encoder.fingerprint, weights_sha256="0" * 64)
    write_pqrnn(tmp_path / "other", other)
    with pytest.raises(EncoderMismatchError, match="was made by another encoder"):
        Retriever(ElasticQueryEncoder.from_pretrained(str(tmp_path / "other")), index)


def test_it_encodes_queries_only(folder):
    for load in (PassageEncoder.from_pretrained, DeferredPassageEncoder):
        with pytest.raises(ModelError, match="which encodes queries only"):
            load(str(folder))
    with pytest.raises(ModelError, match="which encodes queries only"):
        ElasticQueryEncoder.from_pretrained(str(folder)).encode_passages(["a passage"])


def test_it_has_one_subnet_and_one_precision(folder):
    encoder = ElasticQueryEncoder.from_pretrained(str(folder))
    assert list(map(str, encoder.subnets)) == ["level0"] and encoder.dtype == "float32"
    with pytest.raises(QueryError, match="it is a pQRNN"):
        encoder.encode(["dune"], subnet="w0.5-d1")
    with pytest.raises(ModelError, match="a pQRNN, whose weights are 8 bits in its file and float32 in memory"):
        ElasticQueryEncoder.from_pretrained(str(folder), dtype="int8")


def test_damaged_folders_are_refused(folder, tiny_encoder):
    path = folder / "pqrnn.json"
    content = json.loads(path.read_text())
    for changes, message in (
        ({"format": 9}, "got format 9, expected 1"),
        ({"dim": 7}, "got head.weight of I8"),
        ({"max_length": 1}, "expected the same number and at least 3"),
        ({"shape": content["shape"] | {"n_features": 32}}, "got 64 features of a word for a model of 32"),
        ({"made_by": {"name": "x", "weights_sha256": "y"}}, "got no made_by.space"),
    ):
        path.write_text(json.dumps(content | changes))
        with pytest.raises(ModelError, match=message):
            ElasticQueryEncoder.from_pretrained(str(folder))


def test_a_folder_of_something_else_is_not_replaced(folder, tiny_encoder):
    manifest = read_pqrnn_manifest(folder)
    other = folder.with_name("other")
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(BuildError, match="it holds something other than a pQRNN"):
        save_pqrnn(other, model=PQRNNVectors(manifest.shape, manifest.dim), manifest=manifest)
    save_pqrnn(folder, model=PQRNNVectors(manifest.shape, manifest.dim), manifest=manifest)
    assert [path.name for path in other.iterdir()] == ["notes.txt"]


def test_words_are_kept_up_to_a_limit_and_do_not_change(folder, monkeypatch):
    monkeypatch.setattr("elasticdenser.encoders.backends.pqrnn._CACHED_WORDS", 4)
    encoder = ElasticQueryEncoder.from_pretrained(str(folder))
    backend = encoder._backend
    assert isinstance(backend, PQRNNBackend)
    first = encoder.encode(["who wrote dune"])
    for query in ("who wrote emma", "the capital of france", "who wrote dune", "who wrote dune"):
        again = encoder.encode([query])
        assert len(backend._known_words) <= 4
    np.testing.assert_allclose(again, first, atol=1e-6)
    backend.forget_words()
    assert not backend._known_words
