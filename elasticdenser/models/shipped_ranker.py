"""The ranker that comes with this package."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.errors import ModelError
from elasticdenser.models.ranker_manifest import is_late_interaction, is_ranker

SHIPPED_RANKER = Path(__file__).parent.parent / "pretrained" / "ranker"
"""Folder of the ranker to use when none is named."""


def shipped_ranker() -> Path:
    """Return the folder of the ranker that comes with this package.

    Raises:
        ModelError: There is none.
    """
    if not (is_ranker(SHIPPED_RANKER) or is_late_interaction(SHIPPED_RANKER)):
        raise ModelError(
            "no ranker was given, and this package comes with none: give the folder of one with --ranker FOLDER (in "
            "Python: ranker=FOLDER); `elasticdenser train` makes one from a recipe"
        )
    return SHIPPED_RANKER
