"""How the server works."""

from __future__ import annotations

from dataclasses import dataclass, field

from elasticdenser.errors import QueryError

MOST_QUERIES = 256
"""Queries, or texts to encode, in one request."""

MOST_HITS = 1000
"""The largest k."""

MOST_CHARACTERS = 10_000
"""Of one query or text."""

MOST_FOUND = 10_000
"""Hits of all queries of one request."""

MOST_DOC_IDS = 10_000
"""Documents that a search can be narrowed to."""

LONGEST_DEADLINE_MS = 600_000


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How the server works.

    Args:
        deadline_s: Of a query that names none, in seconds after its request comes; shown on the page.
        api_key: What clients must send as `Authorization: Bearer`; None lets all in.
        allowed_hosts: Names that requests may give in the header Host beside those of loopback, as `allowed_hosts`
            returns them; None is any.
        max_body_bytes: Of one request.
        body_timeout_s: A search that waits longer for its answers is turned away, and so is a body that takes longer
            to come.
        encoding_threads: How many requests for embeddings are computed at once.
        max_encoding: How many may wait for that; more are turned away.
        title: Stands on the page.
        log: Whether requests are logged.

    Raises:
        QueryError: A figure is out of range, or the key is empty.
    """

    deadline_s: float = 0.025
    api_key: str | None = field(default=None, repr=False)
    allowed_hosts: frozenset[str] | None = None
    max_body_bytes: int = 1 << 20
    body_timeout_s: float = 30.0
    encoding_threads: int = 1
    max_encoding: int = 32
    title: str = "elasticdenser"
    log: bool = True

    def __post_init__(self) -> None:
        if self.api_key is not None and not (self.api_key.strip() and self.api_key.isascii()):
            raise QueryError("got an API key that is empty or not ASCII; expected some letters and digits")
        if self.max_body_bytes < 1 or self.encoding_threads < 1 or self.max_encoding < 1:
            message = f"got at most {self.max_body_bytes} bytes, {self.encoding_threads} threads for embeddings and"
            raise QueryError(f"{message} {self.max_encoding} requests for them; expected at least 1 of each")
        if not (self.deadline_s > 0 and self.body_timeout_s > 0):
            message = f"got a deadline of {self.deadline_s} s and a longest wait of {self.body_timeout_s} s"
            raise QueryError(f"{message}; expected both above 0")
