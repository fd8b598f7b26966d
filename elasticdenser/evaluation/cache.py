"""Cache of an evaluation on disk, so that nothing is computed twice: runs, cells and timings, each by fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticdenser.artifacts import write_json
from elasticdenser.dataclass_io import from_value, loads_json
from elasticdenser.errors import BadInputError

_NAME_LENGTH = 12
"""Characters of a fingerprint in a file name; records hold the whole fingerprint, which is checked."""


@dataclass(frozen=True, kw_only=True)
class _Record:
    """Content of a cached file."""

    fingerprint: str
    value: dict[str, Any]


class ResultCache:
    """Cache in the output folder of an evaluation.

    Args:
        folder: The output folder; created when something is written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def run_path(self, query_set: str, system: str, fingerprint: str) -> Path:
        """Return the path of the run of a system on a query set."""
        return self.folder / "runs" / query_set / f"{system}.{fingerprint[:_NAME_LENGTH]}.trec.gz"

    def get_or_compute(
        self, kind: str, name: str, fingerprint: str, compute: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the cached value of a name and fingerprint, or compute and cache it.

        A file that cannot be read, or that holds another fingerprint, is computed again.

        Args:
            kind: Folder of the cached values, such as `cells`.
            name: Name of the value within its kind; may contain `/`.
            fingerprint: SHA-256 over everything that the value depends on.
            compute: Returns the value, which JSON must be able to hold.
        """
        path = self.folder / kind / f"{name}.{fingerprint[:_NAME_LENGTH]}.json"
        try:
            record = from_value(_Record, loads_json(path.read_bytes()), kind)
            if record.fingerprint == fingerprint:
                return record.value
        except (OSError, ValueError, BadInputError):
            pass
        value = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"fingerprint": fingerprint, "value": value})
        return value
