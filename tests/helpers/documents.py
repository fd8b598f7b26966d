"""Reading of the repository's documents: fenced blocks, inline code, links and headings."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "eval/README.md", "indexes/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)

CHECKOUT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
"""Environment in which `elasticdenser` is the one of this checkout, wherever a process runs."""

_FENCE = re.compile(r"^( *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^\1``` *$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """Fenced block of a document.

    Attributes:
        document: The file.
        line: Line number of its first line.
        language: The word after the fence; may be empty.
        title: The title after the language; may be empty.
        text: The content.
    """

    document: Path
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.document)}:{self.line}"


def name_of(document: Path) -> str:
    """Return the path of a document within the repository."""
    return document.relative_to(ROOT).as_posix()


def blocks_of(document: Path) -> list[Block]:
    """Return the fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    blocks = []
    for match in _FENCE.finditer(text):
        language, _, options = match["info"].strip().partition(" ")
        title = _TITLE.search(options)
        line = text.count("\n", 0, match.start()) + 2
        blocks.append(Block(document, line, language, title[1] if title else "", match["text"]))
    return blocks


def without_blocks(document: Path) -> str:
    """Return the text of a document outside fenced blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def anchors_of(document: Path) -> set[str]:
    """Return the anchors of the headings of a document, as GitHub and MkDocs make them of plain English."""
    headings = re.findall(r"^#+ +(.+?) *$", without_blocks(document), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[\s-]+", "-", heading) for heading in plain}
