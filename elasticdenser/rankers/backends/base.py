"""Protocol of the ranker backends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

from elasticdenser.arrays import Scores
from elasticdenser.models.ranker_manifest import RankerManifest
from elasticdenser.subnet import Subnet


class RankerBackend(Protocol):
    """Computation of a ranker's scores at every subnet; safe to call from several threads.

    Attributes:
        manifest: Manifest of the ranker.
        dtype: Arithmetic of the matrix products, such as `float32`.
        device_type: `cpu` or `cuda`.
    """

    manifest: RankerManifest
    dtype: str
    device_type: str

    @classmethod
    def load(cls, folder: Path, *, dtype: str, device: str) -> Self:
        """Load a ranker; see `elasticdenser.rankers.backends.load_ranker_backend`."""

    def forward(self, pairs: Sequence[Sequence[int]], subnet: Subnet) -> Scores:
        """Return the score of each pair, float32, (n_pairs,).

        Args:
            pairs: Token ids as `PairTokenizer.pair` returns them; pairs of equal length should stand together.
            subnet: A subnet of the manifest's grid.
        """
