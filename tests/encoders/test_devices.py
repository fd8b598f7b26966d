"""Devices and dtypes of the encoders."""

from __future__ import annotations

import pytest
import torch

from elasticdenser.encoders import devices, resolve_device, resolve_dtype
from elasticdenser.errors import ModelError


@pytest.mark.parametrize("device", ["meta", "mps", "xpu", "cpu:1", "cpu:", "cuda:", "cuda:x", "cuda:-1", "", None, 0])
def test_other_devices_are_refused(device):
    with pytest.raises(ModelError, match=r"got device .*, expected auto, cpu, cuda or cuda:N"):
        resolve_device(device)


def test_devices(monkeypatch):
    assert resolve_device("cpu") == resolve_device("cpu:0") == torch.device("cpu")
    assert [devices.device_type(name) for name in ("auto", "cpu:0", "cuda:3")] == ["auto", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(resolve_device(name)) for name in ("auto", "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]
    with pytest.raises(ModelError, match="got device 'cuda:99', expected cuda, or cuda:0 to cuda:1"):
        resolve_device("cuda:99")


@pytest.mark.parametrize(("flags", "dtype"), [({"avx2"}, torch.float32), ({"avx512_bf16"}, torch.bfloat16)])
def test_auto_dtype_of_older_torch(monkeypatch, flags, dtype):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset(flags))
    assert resolve_dtype("auto", torch.device("cpu")) == dtype
