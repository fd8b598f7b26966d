"""The registry of encoder backends."""

from __future__ import annotations

import inspect
from importlib import import_module

import numpy as np
import pytest
from kernel_helpers import needs_fast_path

from elasticdenser import PassageEncoder
from elasticdenser.encoders import backends
from elasticdenser.encoders.backends import BACKENDS, OTHER_BACKENDS, load_backend
from elasticdenser.encoders.backends.base import EncoderBackend
from elasticdenser.errors import ModelError
from elasticdenser.models.locate import find_model
from elasticdenser.models.settings import read_settings


def load(folder, **options):
    return load_backend(find_model(str(folder)), read_settings(folder), device="cpu", **options)


@pytest.mark.parametrize("name", sorted({*BACKENDS.values(), *OTHER_BACKENDS.values()}))
def test_every_backend_has_the_methods_of_the_protocol(name):
    module, _, kind = name.partition(".")
    backend = getattr(import_module(f"{backends.__name__}.{module}"), kind)
    for method in ("load", "forward", "one_thread_per_call"):
        expected = inspect.signature(getattr(EncoderBackend, method)).parameters
        assert list(inspect.signature(getattr(backend, method)).parameters) == list(expected)


@pytest.mark.parametrize("dtype", [pytest.param("int8", marks=needs_fast_path), "float32"])
def test_trained_subnets_are_loaded_on_request(tiny_elastic, dtype):
    every, full = (load(tiny_elastic, dtype=dtype, trained_subnets=trained) for trained in (True, False))
    assert (every.dtype, every.device_type, len(every.subnets)) == (dtype, "cpu", 7)
    assert full.subnets == [full.full_subnet] == every.subnets[:1]
    vectors = [backend.forward([[2, 7, 8, 3]], backend.full_subnet) for backend in (every, full)]
    np.testing.assert_array_equal(*vectors)


def test_other_dtypes_are_refused(tiny_model):
    with pytest.raises(ModelError, match="got dtype 'int4' on cpu, expected one of int8, auto, float32"):
        load(tiny_model, dtype="int4")


def test_a_new_backend_is_one_line_in_the_registry(tiny_model, monkeypatch):
    from elasticdenser.encoders.backends import torch as torch_backend

    class Zeros(torch_backend.TorchBackend):
        def forward(self, sequences, subnet):
            return np.zeros((len(sequences), 32), np.float32)

        @classmethod
        def load(cls, location, settings, *, dtype, device, trained_subnets):
            return super().load(location, settings, dtype="float32", device=device, trained_subnets=trained_subnets)

    monkeypatch.setattr(torch_backend, "Zeros", Zeros, raising=False)
    monkeypatch.setitem(BACKENDS, "zeros", "torch.Zeros")
    encoder = PassageEncoder.from_pretrained(str(tiny_model), dtype="zeros", device="cpu")
    assert not encoder.encode(["dune", "a"]).any()
