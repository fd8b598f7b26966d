"""Run one section of docs/extending.md: put its new module and registry line in place, then execute its use.

    python run_extension.py HEADING

Runs in a process of its own, because registries are changed.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from documents import ROOT, Block, blocks_of

DOCUMENT = ROOT / "docs" / "extending.md"


def blocks_under(heading: str) -> list[Block]:
    """Return the Python blocks between a heading and the next one of its kind."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"## {heading}") + 1
    end = next((number for number, line in enumerate(lines[start:], start) if line.startswith("## ")), len(lines))
    return [block for block in blocks_of(DOCUMENT) if block.language == "python" and start < block.line <= end]


def main(heading: str) -> None:
    """Run the blocks in order."""
    new_module, registry, use = blocks_under(heading)
    package, _, name = new_module.title.removesuffix(".py").replace("/", ".").rpartition(".")
    parent = importlib.import_module(package)
    module = ModuleType(f"{package}.{name}", "example")
    sys.modules[module.__name__] = module
    exec(compile(new_module.text, new_module.title, "exec"), module.__dict__)
    setattr(parent, name, module)

    target = registry.title.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    exec(compile(registry.text, registry.title, "exec"), importlib.import_module(target).__dict__)

    # As `__main__`, because worker processes and pickles look there.
    exec(compile(use.text, str(use), "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main(sys.argv[1])
