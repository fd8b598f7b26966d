"""Results of suites of all kinds: the output folder, and figures for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.cache import ResultCache
from elasticdenser.lazy_imports import check_installed

CELLS = "cells.jsonl"
"""File of the figures in the output folder, a line each."""


def open_results(folder: str | Path) -> ResultCache:
    """Create the output folder of a suite, before anything is computed.

    Raises:
        MissingExtraError: What computes or draws the report is not installed.
        BuildError: The folder cannot be created.
    """
    check_installed("the report of a suite", "eval", "scipy", "matplotlib")
    cache = ResultCache(folder)
    with explained_os_errors(cache.folder):
        cache.folder.mkdir(parents=True, exist_ok=True)
    return cache


def nothing_evaluated(reasons: Iterable[str]) -> BadInputError:
    """Return the error of a suite without a single figure, with what was skipped."""
    return BadInputError(f"nothing of this suite could be evaluated ({'; '.join(reasons)})")


def write_cells(folder: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write `cells.jsonl`.

    Args:
        folder: The output folder.
        lines: A record for each figure.

    Raises:
        BuildError: The disk refuses.
    """
    with atomic_write(folder / CELLS) as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
