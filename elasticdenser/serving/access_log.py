"""Access log: one line of JSON for each request, on stderr."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from datetime import UTC, datetime
from typing import Any, TextIO

from elasticdenser.serving.fast_json import json_bytes

_MAX_WAITING_LINES = 10_000
"""About 2 MB: some seconds of requests at the highest rates that a server can answer."""

_FLUSH_INTERVAL_S = 0.1


class AccessLog:
    """Writes lines from a thread of its own, so that a slow reader of the log does not hold up requests.

    The thread looks for new lines ten times a second, which costs less than waking it for each line. If too many lines
    are waiting, the oldest are dropped, and the next line written says how many.

    The standard library's `QueueHandler` and `QueueListener` cannot promise this: `QueueListener.stop` waits without a
    timeout, so a log that nobody reads would hold up the end of the server; it cannot stop at all while a bounded queue
    is full; and it wakes its thread for each line.

    Args:
        file: The file to write to; None is stderr.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._lines: deque[str] = deque()
        self._n_dropped = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._flush_until_closed, name="elasticdenser-log", daemon=True)
        self._thread.start()

    def write(self, **fields: Any) -> None:
        """Log an event; fields that are None are left out."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = _ascii_json({"at": now, **{name: value for name, value in fields.items() if value is not None}})
        with self._lock:
            if len(self._lines) >= _MAX_WAITING_LINES:
                self._lines.popleft()
                self._n_dropped += 1
            self._lines.append(line)

    def close(self, timeout_s: float = 1.0) -> None:
        """Write the waiting lines and end the thread; give up after `timeout_s` if nobody reads the log."""
        self._closing.set()
        self._thread.join(timeout_s)

    def _flush_until_closed(self) -> None:
        while not self._closing.wait(_FLUSH_INTERVAL_S):
            self._flush()
        self._flush()

    def _flush(self) -> None:
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
        except (OSError, ValueError):  # the reader has gone, or the file is closed
            pass


def _ascii_json(fields: dict[str, Any]) -> str:
    """Return fields as JSON in ASCII, so that no client can send commands to a terminal that shows the log."""
    content = json_bytes(fields)
    return content.decode() if content.isascii() else json.dumps(fields)
