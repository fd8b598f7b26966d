"""Settings of the server, and limits of its API."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from elasticdenser.errors import QueryError

MAX_QUERIES = 256
"""Queries of one request: some batches of the engine."""

MAX_TEXTS = 2048
"""Texts to embed of one request, as many as OpenAI takes; they are encoded in small batches."""

TEXTS_PER_BATCH = 16
"""Texts that are encoded or ranked at once. Between two batches other requests get their turn, and a server that stops
can stop."""

MAX_DOCUMENTS = 1000
"""Documents to rerank of one request, as many as Cohere takes; they are scored in small batches."""

MAX_HITS = 1000
"""Largest k: the depth at which retrieval is evaluated (R@1000)."""

MAX_TOTAL_HITS = 10_000
"""Hits of all queries of one request: a response of some megabytes, if hits include their texts."""

MAX_CHARACTERS = 10_000
"""Characters of one query; encoders cut off everything after some hundred tokens."""

MAX_DOC_IDS = 10_000
"""Documents to which a search can be restricted."""

MAX_FILTER_CHARACTERS = 100_000
"""Characters of a filter: thousands of values."""

MAX_HIGHLIGHTS = 32
"""Passages of one request whose best sentences are looked for: more than a page of hits."""

MAX_PASSAGES = 1000
"""Passages to add in one request; at one core's pace, they are encoded in about ten seconds."""

MAX_DELETED = 10_000
"""Documents to delete in one request."""

MAX_DIM = 16_384
"""Numbers of a vector: more than any encoder has."""

MAX_DEADLINE_MS = 600_000
"""Ten minutes: a longer deadline is probably a mistake in the unit."""

MAX_BODY_BYTES = 8 << 20
"""Default of the largest body: 2,048 texts of 4,000 characters, or 2,048 lists of 500 token ids."""

MODEL_VOCABULARY = "model"
"""Name of the vocabulary of the encoder's own tokenizer."""

_HIT_URL = re.compile(r"https?://[^\s{}]*\{id\}[^\s{}]*")


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Settings of the server.

    Args:
        deadline_s: Deadline of a single query without one, in seconds after its request arrives; shown on the page.
        page_deadline_s: Deadline of the queries that are typed on the page: laxer, so that an idle server answers them
            at the best level each time.
        api_key: Key that clients must send as `Authorization: Bearer KEY`; None accepts all clients.
        write_key: Key that clients must send to change indexes, which also opens everything else; None refuses changes.
        allowed_hosts: Names that are accepted in the Host header beside those of loopback, as `parse_allowed_hosts`
            returns them; None accepts any.
        cors_origins: Origins of web pages whose scripts may use the server, as `parse_origins` returns them.
        max_body_bytes: Largest body of a request.
        request_timeout_s: A body that takes longer to arrive, and a search that takes longer to be answered, is
            rejected.
        head_timeout_s: The head of a request that takes longer to arrive is rejected.
        max_connections: Connections that may be open at once. A further one replaces the one that has been idle the
            longest; if none is idle, its request is rejected.
        encoding_threads: Requests for embeddings, highlights or reranking that are computed at once.
        max_encoding: Such requests that may be unanswered at once; more are rejected.
        max_waiting_writes: Changes that may wait or be made at once; more are rejected.
        write_timeout_s: A change that takes longer is answered with 503, and made all the same.
        token_ids: Vocabulary of the token ids that clients send for embeddings, as `load_token_reader` takes it; None
            reads those of the model if they cannot be mistaken.
        hit_url: Link of a hit on the page, an http or https URL in which `{id}` stands for the document's id; None
            links the ids that are such URLs themselves.
        title: Title of the page; None is the name of the index.
        log: Whether requests are logged.

    Raises:
        QueryError: A setting is out of range, a key is empty, or both are the same.
    """

    deadline_s: float = 0.025
    page_deadline_s: float = 0.5
    api_key: str | None = field(default=None, repr=False)
    write_key: str | None = field(default=None, repr=False)
    allowed_hosts: frozenset[str] | None = None
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = MAX_BODY_BYTES
    request_timeout_s: float = 30.0
    head_timeout_s: float = 10.0
    max_connections: int = 1000
    encoding_threads: int = 1
    max_encoding: int = 32
    max_waiting_writes: int = 16
    write_timeout_s: float = 60.0
    token_ids: str | None = None
    hit_url: str | None = None
    title: str | None = None
    log: bool = True

    def __post_init__(self) -> None:
        self._check_keys()
        numbers = ("max_body_bytes", "max_connections", "encoding_threads", "max_encoding", "max_waiting_writes")
        for name in numbers:
            if getattr(self, name) < 1:
                raise QueryError(f"got {name} = {getattr(self, name)}; expected at least 1")
        if self.hit_url is not None and not _HIT_URL.fullmatch(self.hit_url):
            message = f"got hit_url = {self.hit_url!a}; expected a URL such as https://example.org/documents/{{id}}"
            raise QueryError(f"{message}, in which {{id}} stands for the document's id")
        for name in ("deadline_s", "page_deadline_s"):
            if not 0 < getattr(self, name) <= MAX_DEADLINE_MS / 1000:
                option = f"--{name.removesuffix('_s').replace('_', '-')}-ms {getattr(self, name) * 1000:g}"
                message = f"got {name} = {getattr(self, name):g} ({option}); expected seconds above 0"
                raise QueryError(f"{message}, at most {MAX_DEADLINE_MS / 1000:g}")
        for name in ("request_timeout_s", "head_timeout_s", "write_timeout_s"):
            if not getattr(self, name) > 0:
                raise QueryError(f"got {name} = {getattr(self, name):g}; expected seconds above 0")

    def _check_keys(self) -> None:
        for kind, key in (("an API key", self.api_key), ("a write key", self.write_key)):
            if key is not None and not (key.strip() and key.isascii()):
                raise QueryError(f"got {kind} that is empty or not ASCII; expected some letters and digits")
        if self.write_key is not None and self.write_key == self.api_key:
            raise QueryError("got the same API key and write key; expected two: whoever searches could change indexes")
