"""Attention biases by distance: MPNet's, in torch, in the kernel and in its subnets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import run
from elastic_models import SHAPE, padded
from kernel_helpers import load_kernel_backend, needs_fast_path, needs_kernel
from safetensors.torch import load_file, save_file
from transformer_models import byte_level_tokenizer, write_modules

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.kernel.paths import kernel_paths
from elasticdenser.models.bert import Bert
from elasticdenser.models.distances import BUCKETS, MAX_DISTANCE, TABLE
from elasticdenser.models.elastic_files import load_elastic, save_elastic
from elasticdenser.models.elastic_init import elastic_from_full, reorder
from elasticdenser.models.settings import read_settings
from elasticdenser.models.shape import ElasticShape
from elasticdenser.subnet import Subnet

LENGTHS = [1, 2, 5, 20, 170, 297]
"""The longest are longer than the largest distance that has a bias of its own."""


@pytest.fixture(scope="module")
def mpnet(tmp_path_factory) -> Path:
    """Folder of an MPNet of random weights, with large biases, for 300 tokens."""
    tf = pytest.importorskip("transformers")
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("mpnet")
    model = tf.MPNetModel(
        tf.MPNetConfig(
            vocab_size=261, pad_token_id=1, bos_token_id=0, eos_token_id=2, max_position_embeddings=302, hidden_size=32,
            num_hidden_layers=3, num_attention_heads=4, intermediate_size=64, initializer_range=0.2,
        )
    )  # fmt: skip
    model.encoder.relative_attention_bias.weight.data.normal_(std=2.0)
    model.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    write_modules(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 299, "do_lower_case": False}))
    return folder


@pytest.fixture(scope="module")
def elastic(mpnet, tmp_path_factory) -> Path:
    """Folder of its subnets, whose layers order their heads differently."""
    model = elastic_from_full(mpnet, read_settings(mpnet), widths=(1.0, 0.5), depths=(1, 2, 3))
    generator = torch.Generator().manual_seed(4)
    reorder(model, torch.rand(3, 4, generator=generator), torch.rand(3, 64, generator=generator))
    folder = tmp_path_factory.mktemp("elastic") / "model"
    save_elastic(folder, base=mpnet, model=model, provenance={"name": "tiny", "weights_sha256": "0"})
    return folder


def texts() -> list[str]:
    random = np.random.default_rng(5)
    return ["".join(chr(97 + letter) for letter in random.integers(0, 26, length)) for length in LENGTHS]


def references(folder: Path) -> np.ndarray:
    """Return the vectors of `texts` by transformers, each alone."""
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        means = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0) for text in texts()]
    return torch.nn.functional.normalize(torch.stack(means), dim=-1).numpy()


def test_buckets_are_those_of_transformers():
    encoder = pytest.importorskip("transformers.models.mpnet.modeling_mpnet").MPNetEncoder
    distances = torch.arange(-400, 401)
    expected = encoder.relative_position_bucket(distances, num_buckets=32)
    found = torch.tensor(BUCKETS)[distances.clamp(-MAX_DISTANCE, MAX_DISTANCE) + MAX_DISTANCE]
    assert torch.equal(found, expected)


def test_torch_computes_mpnet(mpnet):
    encoder = PassageEncoder.from_pretrained(str(mpnet), dtype="float32", device="cpu")
    assert type(encoder._backend).__name__ == "TorchBackend"
    np.testing.assert_allclose(encoder.encode(texts()), references(mpnet), atol=2e-6)


def copied(mpnet: Path, tmp_path: Path) -> Path:
    return shutil.copytree(mpnet, tmp_path / "mpnet")


def test_the_biases_matter(mpnet, tmp_path):
    folder = copied(mpnet, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith(TABLE))
    without = tensors | {name: torch.zeros_like(tensors[name])}
    save_file(without, folder / "model.safetensors", metadata={"format": "pt"})
    other = PassageEncoder.from_pretrained(str(folder), dtype="float32", device="cpu")
    assert np.abs(other.encode(texts()[3:4]) - references(mpnet)[3]).max() > 0.01


@needs_fast_path
def test_the_kernel_computes_mpnet(mpnet):
    encoder = PassageEncoder.from_pretrained(str(mpnet), dtype="int8")
    vectors = encoder.encode(texts())
    assert (vectors * references(mpnet)).sum(axis=1).min() > 0.99
    for number, text in enumerate(texts()):
        np.testing.assert_array_equal(encoder.encode([text])[0], vectors[number])


@needs_kernel
@pytest.mark.parametrize("path", kernel_paths())
def test_all_paths_of_the_kernel_compute_mpnet(mpnet, path):
    tokenizer = ElasticQueryEncoder.from_pretrained(str(mpnet), dtype="float32", device="cpu")
    kernel = load_kernel_backend(mpnet, precision="fp32", path=path)
    vectors = kernel.forward(tokenizer._tokenize(texts(), ""), kernel.full_subnet)
    np.testing.assert_allclose(vectors, references(mpnet), atol=1e-5)


@pytest.mark.slow
@needs_kernel
def test_subnets_take_the_biases_of_their_heads(mpnet, elastic):
    by_torch = ElasticQueryEncoder.from_pretrained(str(elastic), dtype="float32", device="cpu")
    sequences = by_torch._tokenize(texts(), "")
    kernel, model = load_kernel_backend(elastic, precision="fp32"), load_elastic(elastic).model
    assert len(by_torch.subnets) == 6
    np.testing.assert_allclose(trunk_vectors(model, sequences, Subnet(1.0, 3)), references(mpnet), atol=0.02)
    for subnet in by_torch.subnets[1:]:
        expected = trunk_vectors(model, sequences, subnet)
        np.testing.assert_allclose(by_torch.encode(texts(), subnet), expected, atol=2e-5)
        np.testing.assert_allclose(kernel.forward(sequences, subnet), expected, atol=2e-5)


def trunk_vectors(model, sequences: list[list[int]], subnet: Subnet) -> np.ndarray:
    """Return the vectors of a subnet as training computes them."""
    with torch.inference_mode():
        return torch.nn.functional.normalize(model(*padded(sequences), subnet), dim=-1).numpy()


@pytest.mark.slow
def test_an_mpnet_is_made_elastic(mpnet, tmp_path):
    queries, passages = tmp_path / "queries.txt", tmp_path / "passages.jsonl"
    queries.write_text("\n".join(f"who wrote book {number}" for number in range(300)))
    passages.write_text("".join(json.dumps({"_id": str(n), "text": f"book {n}"}) + "\n" for n in range(5)))
    model, index = str(tmp_path / "model"), str(tmp_path / "index")
    result = run("train", "--queries", str(queries), "--encoder", str(mpnet), "--steps", "0", "-o", model)
    assert result.exit_code == 0, result.output
    assert run("index", str(passages), "-o", index, "--encoder", model, "--precision", "fp32").exit_code == 0
    full = ElasticQueryEncoder.from_pretrained(str(mpnet), dtype="float32", device="cpu").encode(["who wrote book 7"])
    small = ElasticQueryEncoder.from_pretrained(model, dtype="float32", device="cpu")
    assert (small.encode(["who wrote book 7"], "w0.5-d1") * full).sum() > 0.9
    assert (small.encode(["who wrote book 7"], "level0") * full).sum() > 0.9
    hits = run("search", index, "book 4", "-k", "1", "--subnet", "w1-d3", "--json")
    assert json.loads(hits.stdout)["hits"][0]["doc_id"] == "4", hits.output


def test_an_mpnet_that_contradicts_itself_is_refused(mpnet, tmp_path):
    folder = copied(mpnet, tmp_path)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for value in (7, 64, "32"):
        path.write_text(json.dumps(config | {"relative_attention_num_buckets": value}))
        for dtype in ("float32", "int8"):
            with pytest.raises(ModelError, match=r"relative_attention_num_buckets = .*, expected 32"):
                PassageEncoder.from_pretrained(str(folder), dtype=dtype, device="cpu").encode(["a"])


def test_a_damaged_weight_of_the_biases_is_found(mpnet, tmp_path):
    folder = copied(mpnet, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith(TABLE))
    tensors[name][3, 1] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=f"{TABLE} of the weights holds a number that is not finite"):
        Bert.load(folder, torch.float32, torch.device("cpu"))


def test_no_distance_is_below_0():
    with pytest.raises(QueryError, match="got max_distance = -1, expected a whole number from 0"):
        ElasticShape(**SHAPE, max_distance=-1)
