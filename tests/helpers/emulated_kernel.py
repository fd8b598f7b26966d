"""Plugin of pytest that replaces the kernel by a build whose newest instructions are emulated.

EMULATED_KERNEL=FILE pytest -p emulated_kernel ...
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader

import elasticdenser.kernel

_NAME = "elasticdenser.kernel._kernel"
_loader = ExtensionFileLoader(_NAME, os.environ["EMULATED_KERNEL"])
_spec = spec_from_loader(_NAME, _loader)
assert _spec is not None
module = module_from_spec(_spec)
_loader.exec_module(module)
sys.modules[_NAME] = elasticdenser.kernel._kernel = module  # type: ignore[attr-defined]
