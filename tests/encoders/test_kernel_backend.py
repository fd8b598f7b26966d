"""KernelBackend against TorchBackend, and its guarantees."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_helpers import load_kernel_backend, needs_fast_path, needs_kernel
from tiny import write_sentence_encoder

from elasticdenser import ElasticQueryEncoder
from elasticdenser.cpus import cpu_flags
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.kernel import paths
from elasticdenser.kernel.paths import PORTABLE, kernel_paths
from elasticdenser.kernel.weights import read_full_encoder
from elasticdenser.models.elastic_files import save_elastic
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.models.settings import read_settings
from elasticdenser.subnet import LEVEL_0, Subnet

pytestmark = needs_kernel
ROOT = Path(__file__).parents[2]
PATHS = kernel_paths()
TEXTS = [
    "who wrote dune",
    "what is the capital of france and how many people live there today",
    "a",
    "difference between a llama and an alpaca",
    "how long do you have to wait after eating before you can go swimming in the sea, and does it matter what you ate?",
    "when was the treaty of westphalia signed",
]


def random_texts(vocabulary, lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, length).tolist() for length in lengths]


def cosines(some, others):
    lengths = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return (some * others).sum(axis=1) / lengths


def torch_vectors(encoder, sequences, subnet):
    """The vectors of TorchBackend, one by one."""
    return np.concatenate([encoder._backend.forward([sequence], subnet) for sequence in sequences])


@pytest.fixture(scope="module")
def shipped(query_encoder):
    """Folder of the encoder that comes with the package, and texts as its token ids."""
    return query_encoder.location.path, [*query_encoder._tokenize(TEXTS, ""), *random_texts(30522, [2, 64, 65, 200])]


@pytest.mark.parametrize("path", PATHS)
def test_every_shipped_subnet_is_close_to_torch(query_encoder, shipped, path):
    folder, sequences = shipped
    # Without random tokens, whose vectors are further off; few texts on the slow path.
    sequences = sequences[: 3 if path == PORTABLE else len(TEXTS)]
    backend = load_kernel_backend(folder, path=path)
    assert backend.subnets == query_encoder.subnets
    assert (backend.dtype, backend.device_type) == ("int8", "cpu")
    for subnet in backend.subnets:
        cosine = cosines(backend.forward(sequences, subnet), torch_vectors(query_encoder, sequences, subnet))
        # Trained subnets are stored in 8 bits anyway; the full encoder's weights are rounded too.
        least, mean = (0.998, 0.999) if subnet == backend.full_subnet else (0.9990, 0.9995)
        assert cosine.min() > least, subnet
        assert cosine.mean() > mean, subnet


def test_subnets_of_chosen_layers(query_encoder, tmp_path):
    base = query_encoder.location.path
    model = elastic_from_full(base, read_settings(base), widths=(1.0,), layers=((0, 2, 4, 5),))
    provenance = {"name": str(base), "weights_sha256": query_encoder.location.sha256}
    save_elastic(tmp_path / "saved", base=base, model=model, provenance=provenance)
    encoder = ElasticQueryEncoder.from_pretrained(str(tmp_path / "saved"), dtype="float32", device="cpu")
    sequences, subnet = query_encoder._tokenize(TEXTS, ""), Subnet(1.0, 4)
    states = [model.embedded(torch.tensor([sequence]), 1.0) for sequence in sequences]
    with torch.no_grad():
        # The exit of a new model is the identity.
        pooled = [model.run_layers((0, 2, 4, 5), state, torch.zeros(1), 1.0).mean(dim=1) for state in states]
    expected = torch.cat(pooled).numpy()
    assert cosines(torch_vectors(encoder, sequences, subnet), expected).min() > 0.999
    backend = load_kernel_backend(tmp_path / "saved", precision="fp32")
    assert cosines(backend.forward(sequences, subnet), expected).min() > 0.999


@pytest.mark.parametrize("path", PATHS)
def test_in_float32_vectors_equal_those_of_torch(tiny_elastic, path):
    plain = replace(read_settings(tiny_elastic), normalize=False)
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu", normalize=False)
    backend = load_kernel_backend(tiny_elastic, plain, precision="fp32", path=path)
    normalizing = load_kernel_backend(tiny_elastic, precision="fp32", path=path)
    sequences = random_texts(100, [1, 3, 16, 17, 64])
    for subnet in backend.subnets:
        expected = torch_vectors(encoder, sequences, subnet)
        np.testing.assert_allclose(backend.forward(sequences, subnet), expected, rtol=2e-4, atol=2e-5)
        lengths = np.linalg.norm(normalizing.forward(sequences, subnet), axis=1)
        np.testing.assert_allclose(lengths, 1, rtol=1e-6)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_vector_does_not_depend_on_its_neighbours(shipped, path, precision):
    folder, sequences = shipped
    sequences = sequences[:4] if path == PORTABLE else sequences  # a hundred times as slow
    backend = load_kernel_backend(folder, precision=precision, path=path)
    for subnet in map(Subnet.parse, ("w1-d6", "w0.25-d2", "level0")):
        alone = np.concatenate([backend.forward([sequence], subnet) for sequence in sequences])
        np.testing.assert_array_equal(backend.forward(sequences, subnet), alone)
        np.testing.assert_array_equal(backend.forward(sequences[::-1], subnet), alone[::-1])


def test_paths_give_the_same_vectors(shipped):
    folder, sequences = shipped
    sequences = sequences[:4]
    for subnet in map(Subnet.parse, ("w1-d6", "w0.5-d3")):
        by_path = {path: load_kernel_backend(folder, path=path).forward(sequences, subnet) for path in PATHS}
        for path, vectors in by_path.items():
            assert cosines(vectors, by_path[PATHS[0]]).min() > 0.9995
            if path != PORTABLE:  # which rounds a product before it adds to it
                np.testing.assert_array_equal(vectors, by_path[PATHS[0]])


SHAPES = {
    "cls, relu, heads of 8": {
        "hidden_size": 40,
        "num_attention_heads": 5,
        "intermediate_size": 72,
        "hidden_act": "relu",
    },
    "heads of 26, tanh": {
        "hidden_size": 78,
        "num_attention_heads": 3,
        "intermediate_size": 50,
        "hidden_act": "gelu_new",
    },
    "one head of 12": {"hidden_size": 12, "num_attention_heads": 1, "intermediate_size": 9, "hidden_act": "gelu"},
    "heads of 64": {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 100, "hidden_act": "gelu"},
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_odd_shapes_equal_torch(tmp_path, shape):
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=101, num_hidden_layers=3, max_position_embeddings=70, initializer_range=0.2, **SHAPES[shape]
    )
    BertModel(config).save_pretrained(tmp_path)
    pooling = "cls" if "cls" in shape else "mean"
    write_sentence_encoder(tmp_path, pooling=pooling, dim=config.hidden_size)
    encoder = ElasticQueryEncoder.from_pretrained(str(tmp_path), dtype="float32", device="cpu", normalize=False)
    sequences = random_texts(101, [1, 2, 15, 16, 33, 70, 5])
    expected = torch_vectors(encoder, sequences, encoder.full_subnet)
    for path in PATHS:
        backend = load_kernel_backend(tmp_path, encoder.settings, precision="fp32", path=path)
        assert backend.subnets == [Subnet(1.0, 3)]
        vectors = backend.forward(sequences, backend.full_subnet)
        np.testing.assert_allclose(vectors, expected, rtol=5e-4, atol=5e-5, err_msg=path)
        rounded = load_kernel_backend(tmp_path, path=path).forward(sequences, backend.full_subnet)
        assert cosines(rounded, expected).min() > 0.99


@needs_fast_path  # it takes minutes on the portable one
def test_several_threads_get_the_same_vectors(shipped):
    folder, sequences = shipped
    backend = load_kernel_backend(folder)
    subnets = [Subnet.parse(name) for name in ("w1-d6", "w0.5-d3", "level0", "w0.25-d1")]
    with ThreadPoolExecutor(8) as pool:  # the first calls pack the weights
        jobs = [(subnet, pool.submit(backend.forward, sequences, subnet)) for _ in range(12) for subnet in subnets]
        for subnet, job in jobs:
            np.testing.assert_array_equal(job.result(), backend.forward(sequences, subnet))


def run(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


USE = """
import sys
from elasticdenser import ElasticQueryEncoder
encoder = ElasticQueryEncoder.from_pretrained({folder!r}, device="cpu")
vectors = encoder.encode(["dune"])
heavy = {{"torch", "transformers"}} & set(sys.modules)
print(encoder.dtype, vectors.shape[1], *heavy)
"""


@pytest.mark.slow
@needs_fast_path
def test_queries_are_encoded_without_importing_torch(tiny_elastic):
    assert run(USE.format(folder=str(tiny_elastic))) == ["int8", "32"]


MEMORY = """
from pathlib import Path
from elasticdenser import ElasticQueryEncoder
import elasticdenser.encoders.backends.kernel

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

before = resident()
encoder = ElasticQueryEncoder.from_pretrained(device="cpu", download=False)
for subnet in encoder.subnets:
    encoder.encode(["who wrote dune", "what is the capital of france"], subnet)
print(len(encoder.subnets), resident() - before)
"""


@pytest.mark.slow
@needs_fast_path
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_all_subnets_take_little_memory():
    n_subnets, mebibytes = run(MEMORY)
    assert int(n_subnets) == 16
    assert float(mebibytes) < 250


@pytest.mark.slow
def test_without_the_kernel_torch_computes(tiny_elastic):
    code = "import sys; sys.modules['elasticdenser.kernel._kernel'] = None" + USE.format(folder=str(tiny_elastic))
    assert run(code) == ["float32", "32", "torch"]


@pytest.mark.parametrize("path", PATHS)
def test_bad_token_ids_are_refused(tiny_elastic, path):
    backend = load_kernel_backend(tiny_elastic, path=path)
    n_tokens = read_full_encoder(tiny_elastic).tokens.shape[0]
    cases = [
        ([[1], []], "text number 2 has no tokens, expected at least one"),
        ([[1], [2, n_tokens]], f"text number 2 has the token {n_tokens}, expected 0 to {n_tokens - 1}"),
        ([[-1]], "text number 1 has the token -1"),
        ([[2**40]], "cannot be encoded"),
        ([[1, 2.5]], "cannot be encoded: 'float'"),
        ([[1, None]], "cannot be encoded: 'NoneType'"),
        ([["1"]], "cannot be encoded: 'str'"),
        ([[1] * 65], "text number 1 has 65 tokens, expected at most 64"),
    ]
    for sequences, message in cases:
        for subnet in (backend.full_subnet, Subnet(0.5, 1), LEVEL_0):
            if subnet == LEVEL_0 and "at most" in message:
                continue  # it has no positions
            with pytest.raises(QueryError, match=message):
                backend.forward(sequences, subnet)
    assert backend.forward([], backend.full_subnet).shape == (0, 32)


def test_unknown_paths_and_precisions_are_refused(tiny_elastic):
    with pytest.raises(ModelError, match=r"got the path 'gpu', expected one that this machine has: .*portable"):
        load_kernel_backend(tiny_elastic, path="gpu")
    with pytest.raises(ModelError, match="got the precision 'int4', expected one of int8, fp32"):
        load_kernel_backend(tiny_elastic, precision="int4")


@pytest.mark.slow
def test_a_huge_batch_keeps_no_memory(tmp_path):
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    shape = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 64}
    config = BertConfig(vocab_size=101, num_hidden_layers=1, max_position_embeddings=3000, **shape)
    BertModel(config).save_pretrained(tmp_path)
    write_sentence_encoder(tmp_path, dim=512)
    backend = load_kernel_backend(tmp_path)
    sequences = random_texts(101, [3, 200, 3000])
    alone = [backend.forward([sequence], backend.full_subnet) for sequence in sequences]
    assert 1 << 20 < backend._scratch.buffer.nbytes <= 1 << 24  # it grew for the second one alone
    np.testing.assert_array_equal(backend.forward(sequences, backend.full_subnet), np.concatenate(alone))


@pytest.mark.skipif(not {"avx2", "asimd"} & cpu_flags(), reason="needs a processor with AVX2 or NEON")
def test_the_paths_are_those_of_the_processor():
    flags = cpu_flags()
    assert ("avx2" in paths._PATHS) == ({"avx2", "fma", "f16c"} <= flags)
    assert ("avx512-vnni" in paths._PATHS) == (
        {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"} <= flags
    )
    assert ("neon-dotprod" in paths._PATHS) == ("asimddp" in flags)


def test_trained_subnets_share_one_copy_of_the_weights(tiny_elastic):
    """All trained subnets are parts of the same packed layers."""
    backend = load_kernel_backend(tiny_elastic)
    for subnet in backend.subnets:
        backend.forward([[1, 2, 3]], subnet)
    bodies = [backend._packed._full, backend._packed._trained]
    assert [len(body._layers) for body in bodies] == [2, 2]
