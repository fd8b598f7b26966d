"""Options of an evaluation that a suite file leaves to the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """Options of an evaluation that a suite file leaves to the user.

    Args:
        data: Folder that the paths of local data in the suite start from.
        indexes: Folder for indexes; None is `indexes` in the output folder.
        download: Whether ir_datasets may download missing data sets.
        offline: Whether the model hub must not be used.
        workers: Number of cores to encode passages on; None is all usable ones.
        device: Device to encode passages on.
        timed_queries: Number of queries of each query set to time; 0 for no timing.
    """

    data: Path = Path()
    indexes: Path | None = None
    download: bool = False
    offline: bool = False
    workers: int | None = None
    device: str = "auto"
    timed_queries: int = 50
