"""Connection to a Ray cluster, with a module in place of Ray."""

from __future__ import annotations

import signal
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from elasticdenser.ray_connection import ray_cluster


@pytest.fixture
def ray(monkeypatch) -> ModuleType:
    """A module whose `init` replaces the handler of SIGTERM, as that of Ray does."""
    module = ModuleType("ray")
    module.__spec__ = ModuleSpec("ray", None)
    module.is_initialized = lambda: False
    module.init = lambda *args, **options: signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
    module.shutdown = lambda: None
    monkeypatch.setitem(sys.modules, "ray", module)
    return module


def own_handler(*_: object) -> None:
    """Do nothing."""


@pytest.mark.parametrize("previous", [own_handler, signal.SIG_DFL])
def test_a_handler_of_sigterm_stays_and_without_one_that_of_ray_does(ray, previous):
    before = signal.signal(signal.SIGTERM, previous)
    try:
        with ray_cluster("auto", "a test") as connected:
            assert connected is ray
            assert (signal.getsignal(signal.SIGTERM) is own_handler) == (previous is own_handler)
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
