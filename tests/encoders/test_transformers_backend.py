"""Encoders that transformers computes: they equal sentence-transformers, and what is promised for every encoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformer_models import MAX_LENGTH, TEXTS, save_sentence_encoder, save_transformer, write_modules, write_own_code

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.encoders import backends
from elasticdenser.encoders.backends import check_encoder
from elasticdenser.encoders.deferred import DeferredPassageEncoder
from elasticdenser.errors import MissingExtraError, ModelError, QueryError
from elasticdenser.models.locate import find_model
from elasticdenser.models.settings import read_settings

pytest.importorskip("transformers")

TOLERANCE = 1e-5
"""Largest difference of a component between batches; the table in elasticdenser/encoders/backends promises it."""

ENCODERS = {
    "mpnet": ("mpnet", "mean", ["Normalize"]),
    "modernbert": ("modernbert", "cls", []),
    "xlm-roberta, max": ("xlm-roberta", "max", ["Normalize"]),
    "deberta-v2": ("deberta-v2", "mean", ["Normalize"]),
    "qwen3, last token, left padding": ("qwen3", "lasttoken", ["Normalize"]),
    "gemma3, two Dense": ("gemma3_text", "mean", ["Dense", "Dense", "Normalize"]),
    "t5, Dense": ("t5", "mean", ["Dense", "Normalize"]),
    "gpt2, weighted mean, left padding": ("gpt2", "weightedmean", []),
    "bert, sqrt": ("bert", "mean_sqrt_len_tokens", []),
    "bert, Normalize within": ("bert", "cls", ["Normalize", "Dense", "LayerNorm", "Dropout"]),
}


def load(folder: Path, kind=PassageEncoder, **options):
    return kind.from_pretrained(str(folder), dtype="float32", device="cpu", **options)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Return a function that makes the folder of an encoder of `ENCODERS`, once."""
    made = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = save_sentence_encoder(ENCODERS[name][0], tmp_path_factory.mktemp("e"), *ENCODERS[name][1:])
        return made[name]

    return make


@pytest.fixture(scope="module")
def st():
    return pytest.importorskip("sentence_transformers")


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
def test_equals_sentence_transformers(st, encoders, name):
    reference = st.SentenceTransformer(str(encoders(name)), device="cpu", model_kwargs={"dtype": "float32"})
    assert reference.max_seq_length == MAX_LENGTH
    encoder = load(encoders(name))
    # Padded on the left, the absolute positions of GPT-2 would begin behind the padding: there, each text alone.
    batch_size = 1 if "gpt2" in name else len(TEXTS)
    expected = reference.encode(TEXTS, normalize_embeddings=True, batch_size=batch_size)
    vectors = encoder.encode(TEXTS)
    assert encoder.dim == reference.get_embedding_dimension() == vectors.shape[1]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.linalg.norm(vectors - vectors.mean(axis=0), axis=1).min() > 1e-3  # texts are told apart


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deberta-v2", "qwen3, last token, left padding", "gemma3, two Dense"])
def test_a_vector_does_not_depend_on_its_neighbours(encoders, name):
    encoder = load(encoders(name), ElasticQueryEncoder)
    texts = ["x" * length for length in range(1, 60, 3)]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert np.abs(together - alone).max() <= TOLERANCE
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


@pytest.mark.slow
def test_passages_are_encoded_in_windows_and_cut_to_the_first_dimensions(encoders):
    folder = encoders("gemma3, two Dense")
    whole, cut = load(folder), load(folder, dim=8)
    windows = list(cut.encode_windows([TEXTS, ["a"]], workers=2))
    assert [len(window) for window in windows] == [len(TEXTS), 1]
    kept = whole.encode(TEXTS)[:, :8]
    np.testing.assert_allclose(windows[0], kept / np.linalg.norm(kept, axis=1, keepdims=True), atol=TOLERANCE)


def test_the_full_encoder_is_the_only_subnet(encoders):
    encoder = load(encoders("deberta-v2"), ElasticQueryEncoder)
    assert [str(subnet) for subnet in encoder.subnets] == ["w1-d2"]
    with pytest.raises(QueryError, match=r"expected one of this encoder's: w1-d2 \(its folder holds no trained"):
        encoder.encode(["dune"], "level0")


def test_bert_keeps_its_own_backends(encoders, tiny_model):
    for folder, expected in (
        (tiny_model, "torch.TorchBackend"),
        (encoders("mpnet"), "torch.TorchBackend"),
        (encoders("deberta-v2"), None),
        (encoders("bert, sqrt"), None),
    ):
        location, settings = find_model(str(folder)), read_settings(folder)
        backend = check_encoder(location, settings, dtype="float32", device="cpu")
        assert backend == (expected or "transformers.TransformersBackend")


def test_half_precision_stays_close(encoders):
    folder = encoders("deberta-v2")
    half = PassageEncoder.from_pretrained(str(folder), dtype="bfloat16", device="cpu")
    assert half.dtype == "bfloat16"
    cosines = (half.encode(TEXTS) * load(folder).encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.99


def test_weights_in_several_files_are_read(tmp_path, encoders):
    folder = write_modules(save_transformer("deberta-v2", tmp_path / "m", max_shard_size="20KB"), "mean", ["Normalize"])
    (folder / "2_Normalize").mkdir()
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    np.testing.assert_array_equal(load(folder).encode(TEXTS), load(encoders("deberta-v2")).encode(TEXTS))
    next(folder.glob("model-00002*")).unlink()
    with pytest.raises(ModelError, match=r"model.safetensors.index.json: got the files .* not all are there"):
        find_model(str(folder))


@pytest.mark.slow
def test_a_plain_transformer_needs_a_pooling(tmp_path, encoders):
    folder = save_transformer("deberta-v2", tmp_path / "plain")
    with pytest.raises(ModelError, match=r"no modules.json: it is a plain transformer.*--pooling .*one of mean, cls"):
        load(folder)
    plain = load(folder, pooling="mean", max_length=MAX_LENGTH)
    assert plain.settings.normalize and plain.settings.pooling == "mean"
    np.testing.assert_allclose(plain.encode(TEXTS), load(encoders("deberta-v2")).encode(TEXTS), atol=TOLERANCE)
    assert load(folder, pooling="lasttoken").fingerprint.differences(plain.fingerprint)


def test_prompts_are_chosen_by_name(tmp_path, encoders):
    folder = shutil.copytree(encoders("deberta-v2"), tmp_path / "m")
    prompts = {"query": "q: ", "document": "d: ", "web": "Instruct: find\nQuery: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    settings = read_settings(folder, query_prompt_name="web")
    assert (settings.query_prompt, settings.passage_prompt) == (prompts["web"], "d: ")
    assert read_settings(folder, passage_prompt_name="query").passage_prompt == "q: "
    with pytest.raises(ModelError, match=r"got the prompt 'sts', expected one that the encoder names \(query, docu"):
        read_settings(folder, query_prompt_name="sts")
    with pytest.raises(ModelError, match="expected one of them"):
        read_settings(folder, query_prompt_name="web", query_prompt="q: ")
    vectors = load(folder, ElasticQueryEncoder, query_prompt_name="web").encode(["dune"])
    expected = load(encoders("deberta-v2"), ElasticQueryEncoder).encode([prompts["web"] + "dune"])
    np.testing.assert_allclose(vectors, expected, atol=TOLERANCE)


def test_fingerprints_tell_encoders_of_other_heads_apart(tmp_path, encoders):
    folder = encoders("t5, Dense")
    mine = find_model(str(folder))
    assert mine.sha256 == find_model(str(shutil.copytree(folder, tmp_path / "same"))).sha256
    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "2_Dense" / "config.json").read_text())
    (other / "2_Dense" / "config.json").write_text(
        json.dumps(config | {"activation_function": "torch.nn.modules.activation.ReLU"})
    )
    assert find_model(str(other)).sha256 != mine.sha256
    assert load(other).fingerprint.differences(load(folder).fingerprint)[0].startswith("weights_sha256")


def test_what_transformers_computes_has_no_8_bits(encoders):
    with pytest.raises(
        ModelError, match=r"got dtype 'int8' for .*type 'deberta-v2' with mean pooling.*expected auto, float32"
    ):
        PassageEncoder.from_pretrained(str(encoders("deberta-v2")), dtype="int8")
    assert ElasticQueryEncoder.from_pretrained(str(encoders("deberta-v2")), device="cpu").dtype == "float32"


def test_without_transformers_the_extra_is_named_before_any_work(encoders, monkeypatch):
    monkeypatch.setattr(backends, "is_installed", lambda *modules: "transformers" not in modules)
    with pytest.raises(
        MissingExtraError, match=r"a model of type 'deberta-v2', needs packages .*\(extra 'transformers'\)"
    ):
        DeferredPassageEncoder(str(encoders("deberta-v2")))


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


FAULTS = {
    "unknown type": (
        lambda folder: change(folder / "config.json", model_type="jurassic"),
        "a model of type 'jurassic', which transformers .* does not know: use a newer one",
    ),
    "another type": (lambda folder: change(folder / "config.json", model_type="modernbert"), "lack .* and more, which"),
    "relative positions": (
        lambda folder: change(folder / "config.json", model_type="bert", position_embedding_type="relative_key"),
        "relative position embeddings, which neither",
    ),
    "activation of Dense": (
        lambda folder: change(folder / "2_Dense/config.json", activation_function="os.system"),
        "got the activation 'os.system', expected one of torch.nn's Identity, Tanh",
    ),
    "dimensions of Dense": (
        lambda folder: change(folder / "2_Dense/config.json", in_features=33),
        "got vectors of 32 dimensions, expected 33",
    ),
    "Dense of another shape": (
        lambda folder: change(folder / "2_Dense/config.json", out_features=5),
        "its weights do not fit its config.json",
    ),
    "no weights of Dense": (
        lambda folder: (folder / "2_Dense" / "model.safetensors").unlink(),
        "2_Dense holds no model.safetensors or pytorch_model.bin",
    ),
    "no tokenizer": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "holds neither tokenizer.json nor vocab.txt of BERT",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_unusable_encoders_are_refused(tmp_path, encoders, fault):
    folder = shutil.copytree(encoders("t5, Dense"), tmp_path / "m")
    make_fault, message = FAULTS[fault]
    make_fault(folder)
    with pytest.raises(ModelError, match=message):
        load(folder)


def test_code_that_a_model_brings_is_executed_only_if_that_is_allowed(tmp_path, encoders, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(encoders("deberta-v2"), tmp_path / "own_model")
    table = write_own_code(folder)
    with pytest.raises(ModelError, match=r"a model of type 'own' that brings its own code .*--trust-remote-code"):
        load(folder)
    assert not list(tmp_path.rglob("executed"))
    encoder = load(folder, trust_remote_code=True)
    expected = table[[0, *(ord("a") - ord("!") + 5 for _ in range(2)), 2]].mean(dim=0)
    np.testing.assert_allclose(encoder.encode(["aa"])[0], expected / expected.norm(), atol=1e-5)
