"""The runtime without torch, against the encoder in torch."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny import write_sentence_encoder

from elasticdenser.cpus import cpu_flags
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.kernel.kernel_sizes import kernel_paths
from elasticdenser.kernel.levels import NUMPY, RuntimeLevels, available_paths
from elasticdenser.subnet import LEVEL_0, Subnet

ROOT = Path(__file__).parents[2]
PATHS = available_paths()
KERNEL_PATHS = kernel_paths()
TEXTS = [
    "who wrote dune",
    "what is the capital of france and how many people live there today",
    "a",
    "difference between a llama and an alpaca",
    "how long do you have to wait after eating before you can go swimming in the sea, and does it matter what you ate?",
    "when was the treaty of westphalia signed",
]
needs_kernel = pytest.mark.skipif(not KERNEL_PATHS, reason="needs the kernel: python setup.py build_ext --inplace")


def random_texts(vocabulary, lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, length).tolist() for length in lengths]


def cosines(some, others):
    lengths = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return (some * others).sum(axis=1) / lengths


def torch_vectors(encoder, sequences, size):
    """What the encoder in torch makes of each sequence."""
    return np.concatenate(
        [encoder._sizes.levels.encode([each], encoder.settings.pooling, size).numpy() for each in sequences]
    )


@pytest.fixture(scope="module")
def shipped(query_encoder):
    """Folder of the encoder that comes with the package, and texts as its token ids."""
    return query_encoder.found.path, [*query_encoder._tokenize(TEXTS, ""), *random_texts(30522, [2, 64, 65, 200])]


@needs_kernel
@pytest.mark.parametrize("path", KERNEL_PATHS)
def test_every_shipped_size(query_encoder, shipped, path):
    folder, sequences = shipped
    # Random tokens are further off: they are no text. The slow path gets few.
    sequences = sequences[: 3 if path == "portable" else len(TEXTS)]
    levels = RuntimeLevels.load(folder, path=path)
    assert levels.subnets == query_encoder.subnets
    assert (levels.precision, levels.has_kernel) == ("int8", True)
    for size in levels.subnets:
        cosine = cosines(levels.encode(sequences, "mean", size), torch_vectors(query_encoder, sequences, size))
        # Smaller sizes are stored in 8 bits anyway; of the full one, the weights are rounded too.
        least, mean = (0.998, 0.999) if size == levels.full_subnet else (0.9990, 0.9995)
        assert cosine.min() > least, size
        assert cosine.mean() > mean, size


@pytest.mark.parametrize("path", PATHS)
def test_float32(tiny_elastic, path):
    from elasticdenser import ElasticQueryEncoder

    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    levels = RuntimeLevels.load(tiny_elastic, precision="fp32", path=path)
    sequences = random_texts(100, [1, 3, 16, 17, 64])
    for size in levels.subnets:
        expected = torch_vectors(encoder, sequences, size)
        np.testing.assert_allclose(levels.encode(sequences, "mean", size), expected, rtol=2e-4, atol=2e-5)
        normalized = levels.encode(sequences, "mean", size, normalize=True)
        np.testing.assert_allclose(np.linalg.norm(normalized, axis=1), 1, rtol=1e-6)


@needs_kernel
@pytest.mark.parametrize("path", KERNEL_PATHS)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_vector_does_not_depend_on_its_neighbours(shipped, path, precision):
    folder, sequences = shipped
    sequences = sequences[:4] if path == "portable" else sequences  # a hundred times as slow
    levels = RuntimeLevels.load(folder, precision=precision, path=path)
    for size in ("w1-d6", "w0.25-d2", "level0"):
        size = Subnet.parse(size)
        alone = np.concatenate([levels.encode([each], "mean", size) for each in sequences])
        np.testing.assert_array_equal(levels.encode(sequences, "mean", size), alone)
        np.testing.assert_array_equal(levels.encode(sequences[::-1], "mean", size), alone[::-1])


@needs_kernel
def test_paths_agree(shipped):
    folder, sequences = shipped
    sequences = sequences[:4]
    for size in map(Subnet.parse, ("w1-d6", "w0.5-d3")):
        vectors = {path: RuntimeLevels.load(folder, path=path).encode(sequences, "mean", size) for path in KERNEL_PATHS}
        for path, got in vectors.items():
            assert cosines(got, vectors[KERNEL_PATHS[0]]).min() > 0.9995
            if "portable" not in path:  # which does not add to a product without rounding it first
                np.testing.assert_array_equal(got, vectors[KERNEL_PATHS[0]])


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


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_shapes(tmp_path, shape):
    import torch
    from transformers import BertConfig, BertModel

    from elasticdenser import ElasticQueryEncoder

    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=101, num_hidden_layers=3, max_position_embeddings=70, initializer_range=0.2, **SHAPES[shape]
    )
    BertModel(config).save_pretrained(tmp_path)
    pooling = "cls" if "cls" in shape else "mean"
    write_sentence_encoder(tmp_path, pooling=pooling, dim=config.hidden_size)
    encoder = ElasticQueryEncoder.from_pretrained(str(tmp_path), dtype="float32", device="cpu")
    sequences = random_texts(101, [1, 2, 15, 16, 33, 70, 5])
    expected = torch_vectors(encoder, sequences, encoder.full_subnet)
    for path in PATHS:
        levels = RuntimeLevels.load(tmp_path, precision="fp32", path=path)
        assert levels.subnets == [Subnet(1.0, 3)]
        np.testing.assert_allclose(
            levels.encode(sequences, pooling, levels.full_subnet), expected, rtol=5e-4, atol=5e-5, err_msg=path
        )
        if path != NUMPY:
            rounded = RuntimeLevels.load(tmp_path, path=path).encode(sequences, pooling, levels.full_subnet)
            assert cosines(rounded, expected).min() > 0.99


@needs_kernel
def test_threads_at_once(shipped):
    folder, sequences = shipped
    levels = RuntimeLevels.load(folder)
    sizes = [Subnet.parse(name) for name in ("w1-d6", "w0.5-d3", "level0", "w0.25-d1")]
    with ThreadPoolExecutor(8) as pool:  # the first calls lay the weights out
        jobs = [(size, pool.submit(levels.encode, sequences, "mean", size)) for _ in range(12) for size in sizes]
        for size, job in jobs:
            np.testing.assert_array_equal(job.result(), levels.encode(sequences, "mean", size))


def run(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


USE = """
from pathlib import Path
from elasticdenser.kernel.kernel_sizes import kernel_paths
from elasticdenser.kernel.levels import RuntimeLevels
levels = RuntimeLevels.load(Path({folder!r}))
vector = levels.encode([[2, 7, 8, 3]], "mean", levels.full_subnet)
heavy = {{"torch", "transformers"}} & set(sys.modules)
print(levels.path, levels.precision, levels.has_kernel, vector.shape[1], *heavy)
"""


def test_no_torch(tiny_elastic):
    kernel = [NUMPY, "fp32", "False"] if PATHS[0] == NUMPY else [PATHS[0], "int8", "True"]
    assert run("import sys" + USE.format(folder=str(tiny_elastic))) == [*kernel, "32"]


MEMORY = """
from pathlib import Path
from elasticdenser import ElasticQueryEncoder
import elasticdenser.encoders.backends.kernel

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

before = resident()
encoder = ElasticQueryEncoder.from_pretrained(device="cpu", download=False)
for size in encoder.subnets:
    encoder.encode(["who wrote dune", "what is the capital of france"], size)
print(len(encoder.subnets), resident() - before)
"""


@needs_kernel
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_all_sizes_take_little_memory():
    n_sizes, mebibytes = run(MEMORY)
    assert int(n_sizes) == 16
    assert float(mebibytes) < 250


def test_without_the_kernel(tiny_elastic):
    code = "import sys; sys.modules['elasticdenser.kernel._kernel'] = None" + USE.format(folder=str(tiny_elastic))
    assert run(code) == [NUMPY, "fp32", "False", "32"]


@pytest.mark.parametrize("path", PATHS)
def test_bad_input(tiny_elastic, path):
    levels = RuntimeLevels.load(tiny_elastic, path=path)
    n_tokens = len(levels._full.tokens)
    cases = [
        ([[1], []], "text number 2 has no tokens; expected one at least"),
        ([[1], [2, n_tokens]], f"text number 2 has the token {n_tokens}; expected 0 to {n_tokens - 1}"),
        ([[-1]], "text number 1 has the token -1"),
        ([[2**40]], "cannot be encoded"),
        ([[1, 2.5]], "cannot be encoded: 'float'"),
        ([[1, None]], "cannot be encoded: 'NoneType'"),
        ([["1"]], "cannot be encoded: 'str'"),
        ([[1] * 65], "text number 1 has 65 tokens; expected 64 at most"),
    ]
    for sequences, message in cases:
        for size in (levels.full_subnet, Subnet(0.5, 1), LEVEL_0):
            if size == LEVEL_0 and "at most" in message:
                continue  # it has no positions
            with pytest.raises(QueryError, match=message):
                levels.encode(sequences, "mean", size)
    with pytest.raises(QueryError, match="got 'max' pooling; expected 'mean' or 'cls'"):
        levels.encode([[1]], "max", levels.full_subnet)
    assert levels.encode([], "mean", levels.full_subnet).shape == (0, 32)
    with pytest.raises(QueryError, match=r"got subnet w0.5-d3; this encoder has the sizes: w1-d2, .*, level0"):
        levels.encode([[1]], "mean", Subnet(0.5, 3))


def test_bad_settings(tiny_elastic):
    with pytest.raises(ModelError, match=r"got the path 'gpu'; this machine has: .*numpy"):
        RuntimeLevels.load(tiny_elastic, path="gpu")
    with pytest.raises(ModelError, match="got the precision 'int4'; expected one of int8, fp32"):
        RuntimeLevels.load(tiny_elastic, precision="int4")


@needs_kernel
def test_a_huge_batch_keeps_no_memory(tmp_path):
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    shape = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 64}
    config = BertConfig(vocab_size=101, num_hidden_layers=1, max_position_embeddings=3000, **shape)
    BertModel(config).save_pretrained(tmp_path)
    write_sentence_encoder(tmp_path, dim=512)
    levels = RuntimeLevels.load(tmp_path)
    sequences = random_texts(101, [3, 200, 3000])
    alone = [levels.encode([each], "mean", levels.full_subnet) for each in sequences]
    assert 1 << 20 < levels._maker._scratch.room.nbytes <= 1 << 24  # it grew for the second one alone
    np.testing.assert_array_equal(levels.encode(sequences, "mean", levels.full_subnet), np.concatenate(alone))


@pytest.mark.skipif("avx2" not in cpu_flags(), reason="needs a processor with AVX2")
@needs_kernel
def test_the_paths_are_those_of_the_processor():
    flags = cpu_flags()
    assert ("avx2" in KERNEL_PATHS) == ({"avx2", "fma", "f16c"} <= flags)
    assert ("avx512-vnni" in KERNEL_PATHS) == (
        {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"} <= flags
    )


@needs_kernel
def test_one_copy_of_weights(tiny_elastic):
    """All trained sizes are parts of the same packed layers."""
    levels = RuntimeLevels.load(tiny_elastic)
    for size in levels.subnets:
        levels.encode([[1, 2, 3]], "mean", size)
    bodies = [levels._maker._full, levels._maker._trained]
    assert [len(body._layers) for body in bodies] == [2, 2]
