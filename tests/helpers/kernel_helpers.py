"""Marks and loading for tests of the kernel. Apart from tiny.py, which is imported before --kernel-path is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from elasticdenser.encoders.backends.kernel import KernelBackend
from elasticdenser.kernel.elastic_weights import read_trained_subnets
from elasticdenser.kernel.paths import has_fast_path, kernel_paths
from elasticdenser.kernel.weights import read_full_encoder
from elasticdenser.models.manifest import is_elastic
from elasticdenser.models.settings import EncoderSettings, read_settings

needs_kernel = pytest.mark.skipif(not kernel_paths(), reason="needs the kernel: python setup.py build_ext --inplace")
"""Marks tests that name a path of the kernel, which may be the portable one."""

needs_fast_path = pytest.mark.skipif(
    not has_fast_path(), reason="needs the kernel, and a path of it that is fast on this processor"
)
"""Marks tests of encoders with dtype `int8`."""


def load_kernel_backend(folder: Path, settings: EncoderSettings | None = None, **options) -> KernelBackend:
    """Load the encoder in `folder` as `KernelBackend.load` does, with any path, even the portable one."""
    full = read_full_encoder(folder)
    elastic = read_trained_subnets(folder, full) if is_elastic(folder) else None
    return KernelBackend(full, elastic, settings or read_settings(folder), **options)
