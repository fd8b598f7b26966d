"""A client of `elasticdenser serve` in one file, with the standard library alone: copy it into your program.

    elasticdenser serve indexes/mine                                        # in another terminal
    python examples/client.py http://127.0.0.1:8000 "who wrote dune"

From Python:

    client = Client("http://127.0.0.1:8000", api_key="...", timeout_s=2)
    for hit in client.search("who wrote dune", k=3, deadline_ms=200).hits:
        print(hit["score"], hit["doc_id"], hit.get("title"))

With a server that takes changes (serve --write-key-file), and its write key as the key:

    client.add([{"doc_id": "dune", "title": "Dune", "text": "Dune is a novel by Frank Herbert."}])
    client.delete(["dune"])

Of several indexes, each has an address of its own: Client("http://127.0.0.1:8000/indexes/wiki").
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any


class ServerError(Exception):
    """Answer of the server that is an error, or none at all.

    Args:
        message: What was wrong, and the way out, in the server's words.
        status: HTTP status; None if the server did not answer.
        code: Name of the error, such as `overloaded` or `unauthorized`.
        retry_after_s: Time after which to try again, if the server named one.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after_s = status, code, retry_after_s


@dataclass(frozen=True)
class Result:
    """Result of one query.

    Attributes:
        hits: The hits, best first: `doc_id`, `score`, and `title` and `text` if the index has them.
        level: Level of quality that answered.
        late: Whether the answer came after the deadline.
    """

    hits: list[dict[str, Any]]
    level: str
    late: bool


@dataclass(frozen=True)
class Change:
    """Outcome of a change of the index, in documents.

    Attributes:
        generation: Generation of the index, in which later searches are.
        added: Documents whose ids were new.
        replaced: Documents whose ids were in the index.
        unchanged: Documents that were in the index already.
        deleted: Documents that were deleted.
        unknown: Ids to delete that are not in the index.
    """

    generation: int = 0
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    deleted: int = 0
    unknown: tuple[str, ...] = ()

    def then(self, later: Change) -> Change:
        """Return this change and a later one as one."""
        return Change(
            later.generation,
            self.added + later.added,
            self.replaced + later.replaced,
            self.unchanged + later.unchanged,
            self.deleted + later.deleted,
            self.unknown + later.unknown,
        )


class Client:
    """Client of one server; may be used from several threads.

    Args:
        url: Address of the server.
        api_key: Its key, if it asks for one; the write key for changes.
        timeout_s: Time to wait for an answer.
        write_timeout_s: Time to wait until a change was made.
        retries: How often a request is repeated that the server could not serve in time (429) or was not ready for
            (503), each time after as long as the server says.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 10,
        write_timeout_s: float = 90,
        retries: int = 0,
    ) -> None:
        self._url, self._timeout_s, self._retries = url.rstrip("/"), timeout_s, retries
        self._write_timeout_s = write_timeout_s
        self._headers = {"Content-Type": "application/json"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def search(self, query: str, k: int = 10, **options: Any) -> Result:
        """Search with one query.

        Args:
            query: The query.
            k: Number of hits.
            options: Further fields of `POST /search`, such as `deadline_ms`, `minimum_quality` or `priority`.

        Raises:
            ServerError: There is no answer, or it is an error.
        """
        return _result(self._post("/search", {"query": query, "k": k, **options})["results"][0])

    def search_all(self, queries: Sequence[str], k: int = 10, **options: Any) -> list[Result]:
        """Search with several queries in one request, at the best quality; as `search` otherwise."""
        results = self._post("/search", {"queries": list(queries), "k": k, **options})["results"]
        return [_result(result) for result in results]

    def add(
        self, passages: Iterable[Mapping[str, Any]], *, only_new: bool = False, passages_per_request: int = 100
    ) -> Change:
        """Add documents to the index, or replace those whose ids it has; later searches find them.

        Args:
            passages: Objects with `doc_id` and `text`, and optionally `title`, `metadata` and `vector`.
            only_new: Leave documents alone whose ids are in the index.
            passages_per_request: Documents that are sent together; all of them become searchable at once.

        Raises:
            ServerError: There is no answer, or it is an error. Requests before it have been carried out; it does no
                harm to send everything again.
        """
        change = Change()
        for batch in _batches(passages, passages_per_request):
            change = change.then(self._change("POST", {"passages": batch, "only_new": only_new}))
        return change

    def delete(self, doc_ids: Iterable[str]) -> Change:
        """Delete documents; later searches do not find them.

        Args:
            doc_ids: Their ids; those that are not in the index are reported in the outcome.

        Raises:
            ServerError: As for `add`.
        """
        change = Change()
        for batch in _batches(doc_ids, 10_000):
            change = change.then(self._change("DELETE", {"doc_ids": batch}))
        return change

    def embeddings(
        self, texts: Sequence[str], *, model: str | None = None, input_type: str = "query"
    ) -> list[list[float]]:
        """Return the vector of each text.

        Args:
            texts: The texts.
            model: Name of a model; by default the server's first.
            input_type: `query` or `passage`.

        Raises:
            ServerError: As for `search`.
        """
        body = {"input": list(texts), "model": model or self.models()[0], "input_type": input_type}
        vectors = sorted(self._post("/v1/embeddings", body)["data"], key=lambda item: item["index"])
        return [item["embedding"] for item in vectors]

    def models(self) -> list[str]:
        """Return the names of the server's models: the encoder, and its subnets."""
        return [model["id"] for model in self._request("GET", "/v1/models", None)["data"]]

    def is_ready(self) -> bool:
        """Return whether the server answers, and is ready to search."""
        try:
            self._send("GET", "/readyz", None)
        except ServerError:
            return False
        return True

    def _change(self, method: str, body: dict[str, Any]) -> Change:
        made = self._request(method, "/passages", body, self._write_timeout_s)
        return Change(**{**made, "unknown": tuple(made["unknown"])})

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._request("POST", path, body)

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float | None = None
    ) -> dict[str, Any]:
        n_left = self._retries
        while True:
            try:
                answer: dict[str, Any] = json.loads(self._send(method, path, body, timeout_s))
                return answer
            except ServerError as error:
                if error.status not in (429, 503) or n_left == 0:
                    raise
                n_left -= 1
                time.sleep(1 if error.retry_after_s is None else error.retry_after_s)

    def _send(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float | None = None) -> bytes:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            raise _error_of(error) from None
        except OSError as error:  # URLError, timeouts, and connections that break
            reason = getattr(error, "reason", None) or error
            raise ServerError(f"no answer from {self._url} within {timeout_s:g} s ({reason})") from error


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _result(result: dict[str, Any]) -> Result:
    return Result(hits=result["hits"], level=result["level"], late=result["late"])


def _error_of(error: urllib.error.HTTPError) -> ServerError:
    with error:
        try:
            detail = json.loads(error.read())["error"]
        except (ValueError, KeyError, OSError):  # from a proxy, say
            detail = {"message": f"status {error.code} ({error.reason})"}
    after = error.headers.get("Retry-After", "")
    return ServerError(
        detail["message"],
        status=error.code,
        code=detail.get("code", ""),
        retry_after_s=float(after) if after.isdecimal() else None,
    )


def main() -> None:
    """Print the hits of a query."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: python {sys.argv[0]} URL QUERY")
    try:
        result = Client(sys.argv[1]).search(sys.argv[2], k=5)
    except ServerError as error:
        sys.exit(f"error: {error}")
    for hit in result.hits:
        print(f"{hit['score']:.3f}  {hit['doc_id']}  {hit.get('title') or ''}")


if __name__ == "__main__":
    main()
