"""Fixture: a retriever over a small index, without torch, which `make test-integrations` does not install."""

from __future__ import annotations

import pytest
from index_of_three import PASSAGES

from elasticdenser import PassageEncoder, PassageIndex, Retriever
from elasticdenser.kernel.paths import has_fast_path


@pytest.fixture(scope="session")
def open_options():
    if not has_fast_path():
        pytest.skip("needs a fast path of the kernel")
    return {"dtype": "int8", "download": False}


@pytest.fixture(scope="session")
def index_path(open_options, tmp_path_factory):
    encoder = PassageEncoder.from_pretrained(**open_options)
    return PassageIndex.build(PASSAGES, tmp_path_factory.mktemp("index") / "mine", encoder, workers=1).path


@pytest.fixture(scope="session")
def our_retriever(index_path, open_options):
    return Retriever.open(index_path, **open_options)
