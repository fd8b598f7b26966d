"""Reference vectors: sentence-transformers' own `encode`, kept chunk by chunk so that an interruption loses little."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdenser.models.locate import find_model

CHUNK = 4096


def load_sentence_transformer() -> Any:
    """Load all-MiniLM-L6-v2 with sentence-transformers' defaults, on the CPU."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(find_model().path), device="cpu")


def encode_reference(
    texts: Sequence[str], name: str, folder: Path, *, only_kept: bool = False
) -> list[NDArray[np.float32] | None]:
    """Return the vectors of `texts`, a chunk each; None for a chunk that is not there yet with `only_kept`.

    Args:
        texts: What to encode.
        name: Under which chunks are kept in `folder`.
        folder: Where.
        only_kept: Encode nothing, return what is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = None
    chunks: list[NDArray[np.float32] | None] = []
    for start in range(0, len(texts), CHUNK):
        path = folder / f"{name}-{start:07d}.npy"
        if not path.exists() and only_kept:
            chunks.append(None)
            continue
        if not path.exists():
            model = model or load_sentence_transformer()
            # Batches of 4 are a quarter faster than the default of 32 here and give the same vectors.
            vectors = model.encode(list(texts[start : start + CHUNK]), batch_size=4, show_progress_bar=False)
            unfinished = path.with_suffix(".tmp.npy")
            np.save(unfinished, vectors)
            os.replace(unfinished, path)
            print(f"reference {name}: {min(start + CHUNK, len(texts)):,} of {len(texts):,}", flush=True)
        chunks.append(np.load(path))
    return chunks
