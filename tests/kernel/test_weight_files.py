"""Files of weights that are damaged or do not fit their config are refused before they are computed with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_helpers import load_kernel_backend, needs_fast_path, needs_kernel
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from elasticdenser.errors import ModelError
from elasticdenser.kernel.packing import pack_matrix
from elasticdenser.kernel.structs import KernelModel
from elasticdenser.kernel.tensors import ANY, Tensors

ROOT = Path(__file__).parents[2]
FULL, ELASTIC = "model.safetensors", "elastic.safetensors"
QUERY = "encoder.layer.0.attention.self.query.weight"
TOKENS = "embeddings.word_embeddings.weight"


@pytest.fixture
def folder(tiny_elastic, tmp_path):
    return shutil.copytree(tiny_elastic, tmp_path / "model")


def change(path, name, make):
    tensors = load_file(path)
    tensors[name] = np.ascontiguousarray(make(tensors[name]))
    save_file(tensors, path)


SHAPES = {
    TOKENS: lambda a: a[:, :16],
    "embeddings.position_embeddings.weight": lambda a: a[:, :16],
    "embeddings.token_type_embeddings.weight": lambda a: a[:, :16],
    "embeddings.LayerNorm.weight": lambda a: a[:5],
    QUERY: lambda a: a[:16],
    "encoder.layer.1.attention.self.value.bias": lambda a: a[:16],
    "encoder.layer.0.attention.output.dense.weight": lambda a: a[:, :16],
    "encoder.layer.0.attention.output.dense.bias": lambda a: np.concatenate([a, a, a]),
    "encoder.layer.0.intermediate.dense.weight": lambda a: a[:16],
    "encoder.layer.0.output.dense.weight": lambda a: a.reshape(-1),
    "encoder.layer.1.output.LayerNorm.bias": lambda a: a.astype(np.int32),
    "positions": lambda a: a[:, :16],
    "norm": lambda a: a[:1],
    "blocks.0.qkv_bias": lambda a: a[:, :1],
    "blocks.0.up.scale": lambda a: a[:3],
    "blocks.1.down": lambda a: a[:, :16],
    "blocks.1.norms": lambda a: a[:1],
    "exits": lambda a: a[:, :, :8],
    "exit_bias": lambda a: a.astype(np.int64),
    "shortcuts": lambda a: a[:1],
    "table": lambda a: a[:3],
    "table.scale": lambda a: a[:3],
}


@needs_kernel
@pytest.mark.parametrize("name", SHAPES)
def test_tensors_of_another_shape_or_type_are_refused(folder, name):
    is_full = name.startswith(("embeddings", "encoder"))
    change(folder / (FULL if is_full else ELASTIC), name, SHAPES[name])
    with pytest.raises(ModelError, match=rf"got {name} .*, expected .*: .*fetch the model again"):
        load_kernel_backend(folder)


@needs_kernel
def test_a_table_of_floats_is_refused(folder):
    change(folder / ELASTIC, "table", lambda a: a.astype(np.float32))
    with pytest.raises(ModelError, match=r"got table of F32 \(\d+, 32\), expected I8 \(\d+, 32\)"):
        load_kernel_backend(folder)


@needs_kernel
@pytest.mark.parametrize(
    ("file", "key", "value", "message"),
    [
        ("config.json", "num_hidden_layers", 3, "lacks encoder.layer.2"),
        ("config.json", "num_attention_heads", 5, "5 heads of a hidden size of 32; expected heads of equal size"),
        (
            "config.json",
            "intermediate_size",
            128,
            r"intermediate.dense.weight of F16 \(64, 32\), expected .* \(128, 32",
        ),
        ("config.json", "hidden_size", 64, r"expected floating-point numbers \(141, 64\)"),
        ("config.json", "intermediate_size", "64", "expected a whole number above 0"),
        ("elastic.json", "widths", [1.0, 0.5], "got norm of"),
        ("elastic.json", "depths", [1], "got exits of"),
        ("elastic.json", "n_neurons", 128, "got blocks.0.up of"),
        ("elastic.json", "dim", 16, "got exits of"),
    ],
)
def test_counts_in_the_config_that_do_not_fit_are_refused(folder, file, key, value, message):
    content = json.loads((folder / file).read_text())
    (content["shape"] if file == "elastic.json" else content)[key] = value
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        load_kernel_backend(folder)


@needs_kernel
def test_tensors_in_bfloat16_are_read(folder):
    backend = load_kernel_backend(folder, precision="fp32")
    tensors = load_tensors(folder / ELASTIC)
    for name in ("exits", "exit_bias", "shortcuts"):
        tensors[name] = tensors[name].to(torch.bfloat16)
    save_tensors(tensors, folder / ELASTIC)
    rounded = load_kernel_backend(folder, precision="fp32")
    for subnet in backend.subnets:
        expected = backend.forward([[1, 2, 3]], subnet)
        assert np.abs(rounded.forward([[1, 2, 3]], subnet) - expected).max() < 0.01 * np.abs(expected).max()


@needs_kernel
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(folder, value):
    def spoil(tensor):
        tensor.flat[7] = value
        return tensor

    change(folder / FULL, QUERY, spoil)
    backend = load_kernel_backend(folder)
    with pytest.raises(ModelError, match=f"{QUERY} holds a number that is not finite: fetch the model again"):
        backend.forward([[1, 2]], backend.full_subnet)


@needs_kernel
def test_token_vectors_that_are_not_finite_are_refused(folder):
    change(folder / FULL, TOKENS, lambda tokens: tokens * np.float16(np.nan))
    backend = load_kernel_backend(folder)
    with pytest.raises(ModelError, match="hidden states are not finite: fetch the model again"):
        backend.forward([[1, 2]], backend.full_subnet)


def test_exits_beyond_float16_are_refused():
    with pytest.raises(ModelError, match="got weights of up to 70000 in an exit, expected at most 65504"):
        pack_matrix(np.full((2, 3), 7e4, np.float32), np.zeros(2, np.float32), "fp16")


def test_a_product_of_more_than_is_packed_is_refused():
    packed = pack_matrix(np.ones((8, 6), np.float32), np.zeros(8, np.float32), "int8")
    for wrong in ({"n_inputs": 7}, {"n_outputs": 9}, {"n_inputs": 0}):
        with pytest.raises(ModelError, match="got weights of 8 outputs by 6 inputs"):
            KernelModel(1, 1).product(packed, **wrong)


def write(path, header, n_bytes=64):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(n_bytes))
    return path


def entry(begin, end, dtype="F32", shape=(4,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"a": entry(-16, 0)}, "got a tensor from -16 to 0"),
        ({"a": entry(16, 0)}, "got a tensor from 16 to 0"),
        ({"a": entry(0.0, 16.0)}, "got a tensor from 0.0 to 16.0"),
        ({"a": entry(64, 80)}, "cut short"),
        ({"a": entry(0, 16), "b": entry(12, 28)}, "overlap"),
        ({"a": entry(float("inf"), float("inf"))}, "got Infinity in its header"),
        (json.dumps({"a": entry(0, 7)}).replace("7", "1e999").encode(), "got a tensor from 0 to inf"),
        ({"a": {"dtype": "F32"}}, "data_offsets"),
        ({"a": 3}, "cannot be read"),
        ([1], "cannot be read"),
        (b"[" * 200_000, "recursion"),
        (b"", "cannot be read"),
        (b"\xff", "cannot be read"),
    ],
)
def test_damaged_headers_are_refused(tmp_path, header, message):
    with pytest.raises(ModelError, match=rf"cannot be read .*{message}|{message}"):
        Tensors(write(tmp_path / "a.safetensors", header))


def test_empty_and_short_files_are_refused(tmp_path):
    for content in (b"", b"1234"):
        (tmp_path / "a.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read"):
            Tensors(tmp_path / "a.safetensors")


def test_only_tensors_that_are_needed_matter(tmp_path):
    header = {"a": entry(0, 16), "b": entry(16, 20, "BOOL"), "c": entry(20, 36, shape=(2**70,)), "d": entry(36, 36)}
    tensors = Tensors(write(tmp_path / "a.safetensors", {**header, "__metadata__": {"format": "pt"}}))
    np.testing.assert_array_equal(tensors.floats("a"), np.zeros(4))
    assert tensors.names() == {"a", "b", "c", "d"}
    for name in "bcd":
        with pytest.raises(ModelError, match=f"got {name} as .* in .* bytes, expected one of F64, F32"):
            tensors.stored(name)


def test_shapes_and_types_are_checked_by_the_header(tmp_path):
    header = {"a": entry(0, 8, "I8", (2, 4)), "a.scale": entry(8, 16, "F32", (2,)), "b": entry(16, 24, "I8", (8,))}
    tensors = Tensors(write(tmp_path / "a.safetensors", header))
    tensors.check("a", (ANY, 4))
    tensors.check("a", (2, 4), "I8")
    for name, shape, dtype, message in (
        ("a", (2, 5), None, r"got a of I8 \(2, 4\), expected floating-point numbers \(2, 5\)"),
        ("a", (2,), None, r"got a of I8 \(2, 4\)"),
        ("a", (2, 4), "F16", r"expected F16 \(2, 4\)"),
        ("b", (8,), None, "lacks b.scale"),
        ("c", (8,), None, "lacks c"),
    ):
        with pytest.raises(ModelError, match=message):
            tensors.check(name, shape, dtype)


FACTORS = """
import hashlib, sys
from pathlib import Path
from elasticdenser.encoders.backends.kernel import KernelBackend
from elasticdenser.kernel.weights import read_full_encoder
from elasticdenser.models.settings import read_settings
folder = Path(sys.argv[1])
backend = KernelBackend(read_full_encoder(folder), None, read_settings(folder))
print(hashlib.sha256(backend.forward([list(range(2, 40))], backend.full_subnet).tobytes()).hexdigest())
"""


@needs_fast_path
def test_vectors_do_not_depend_on_the_linear_algebra(query_encoder):
    """Smoothing factors are found with numpy, whose products and functions differ from processor to processor."""
    digests = set()
    kinds = [("Nehalem", "X86_V4"), ("Haswell", "X86_V3 X86_V4"), ("SkylakeX", "")]
    has_avx512 = np._core._multiarray_umath.__cpu_features__["X86_V4"]
    for kind, without in kinds if has_avx512 else kinds[:2]:
        environment = {"OPENBLAS_CORETYPE": kind, "NPY_DISABLE_CPU_FEATURES": without, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-c", FACTORS, str(query_encoder.location.path)]
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment})
        assert result.returncode == 0, result.stderr
        digests.add(result.stdout)
    assert len(digests) == 1
