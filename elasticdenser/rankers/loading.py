"""Loading of a ranker of any kind."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticdenser.errors import ModelError
from elasticdenser.models.ranker_manifest import (
    LATE_INTERACTION_MANIFEST,
    RANKER_MANIFEST,
    is_late_interaction,
    is_ranker,
)
from elasticdenser.models.shipped_ranker import shipped_ranker
from elasticdenser.rankers.base import Ranker
from elasticdenser.rankers.elastic_ranker import ElasticRanker
from elasticdenser.rankers.late_interaction import LateInteractionRanker

if TYPE_CHECKING:
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder

AnyRanker = Ranker[Any]


def load_ranker(
    path: str | Path | None = None,
    *,
    dtype: str = "auto",
    device: str = "auto",
    token_vectors: str | Path | None = None,
    query_encoder: ElasticQueryEncoder | None = None,
) -> AnyRanker:
    """Load an elastic ranker or a late-interaction ranker.

    Args:
        path: Its folder; None is the ranker that comes with this package.
        dtype: Arithmetic; see `from_pretrained` of the two.
        device: Device; late interaction of encoders of the BERT type is computed on the CPU.
        token_vectors: Folder of the vectors of passages' tokens, for a late-interaction ranker.
        query_encoder: Encoder of the searches to rerank, whose weights a late-interaction ranker shares if it can.

    Raises:
        ModelError: The files cannot be used, there is no such dtype or device here, or the ranker is an elastic one and
            has no vectors of tokens.
        BadInputError: The folder of vectors holds those of another model, or something else.
    """
    folder = shipped_ranker() if path is None else Path(path).expanduser().absolute()
    if folder.is_dir() and not is_late_interaction(folder) and not is_ranker(folder):
        raise ModelError(
            f"{folder} holds no ranker, neither {RANKER_MANIFEST} nor {LATE_INTERACTION_MANIFEST}: give one that "
            "`elasticdenser train` made from a recipe"
        )
    if is_late_interaction(folder):
        return LateInteractionRanker.from_pretrained(
            folder, dtype=dtype, device=device, token_vectors=token_vectors, query_encoder=query_encoder
        )
    if token_vectors is not None:
        raise ModelError(
            f"got a folder for vectors of tokens, which the ranker {folder} does not have: leave it out, or name a "
            "late-interaction ranker"
        )
    return ElasticRanker.from_pretrained(folder, dtype=dtype, device=device)


@cache
def load_shipped_ranker() -> AnyRanker:
    """Return the ranker that comes with this package, loaded once.

    Raises:
        ModelError: There is none, or it cannot be used here.
    """
    return load_ranker()
