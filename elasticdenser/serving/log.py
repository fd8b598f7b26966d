"""The log: one line of JSON for each request, to stderr."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any, TextIO

_MOST_WAITING = 10_000
_EVERY_S = 0.1


class AccessLog:
    """Writes lines from a thread of its own: a reader that is slow must not hold up those who are served.

    It looks for lines ten times a second, which takes less than to be woken for each. Where too many wait, the oldest
    are dropped; how many is the next line.

    Args:
        file: Where to; None is stderr.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._lines: deque[str] = deque()
        self._n_dropped = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._live, name="elasticdenser-log", daemon=True)
        self._thread.start()

    def write(self, **fields: Any) -> None:
        """Log an event; fields that are None are left out."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": now, **{key: value for key, value in fields.items() if value is not None}})
        with self._lock:
            if len(self._lines) >= _MOST_WAITING:
                self._lines.popleft()
                self._n_dropped += 1
            self._lines.append(line)

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what waits, and end."""
        self._closing.set()
        self._thread.join(timeout_s)

    def _live(self) -> None:
        while not self._closing.wait(_EVERY_S):
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, deque()
            n_dropped, self._n_dropped = self._n_dropped, 0
        if n_dropped:
            lines.append(json.dumps({"dropped_lines": n_dropped}))
        if not lines:
            return
        try:
            file = self._file or sys.stderr
            file.write("\n".join(lines) + "\n")
            file.flush()
        except (OSError, ValueError):  # nobody reads it any more
            pass
