"""Windows of passages, which are encoded and saved together, bounded in number and bytes."""

from __future__ import annotations

from collections.abc import Iterator

from elasticdenser.datasets import Passage

MAX_WINDOW_BYTES = 1 << 24
"""UTF-8 bytes of a window's passages, unless a single one has more; passages of a few hundred words fill a window by
their number first."""


def in_windows(passages: Iterator[Passage], max_passages: int) -> Iterator[list[Passage]]:
    """Yield the passages in windows of at most `max_passages` passages and `MAX_WINDOW_BYTES` bytes."""
    window: list[Passage] = []
    n_bytes = 0
    for passage in passages:
        size = sum(len(part.encode("utf-8", "surrogatepass")) for part in (passage.title, passage.text))
        if passage.metadata:
            size += len(str(passage.metadata))
        if window and n_bytes + size > MAX_WINDOW_BYTES:
            yield window
            window, n_bytes = [], 0
        window.append(passage)
        n_bytes += size
        if len(window) == max_passages:
            yield window
            window, n_bytes = [], 0
    if window:
        yield window
