"""Integrations without the packages that they need."""

from __future__ import annotations

import importlib
import sys

import pytest

from elasticdenser.errors import MissingExtraError

PACKAGES = {"langchain": "langchain_core", "llamaindex": "llama_index", "haystack": "haystack"}


@pytest.mark.parametrize("extra", PACKAGES)
def test_the_message_names_the_extra(extra, monkeypatch):
    module = f"elasticdenser.integrations.{extra}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    package = PACKAGES[extra]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"\(extra '{extra}'\): pip install '"):
        importlib.import_module(module)


def test_the_package_itself_needs_none():
    assert importlib.import_module("elasticdenser.integrations").__doc__
