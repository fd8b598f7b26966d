"""Export of an index to Qdrant: a point for each passage, with its vector, id, title and text."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BuildError, MissingExtraError, QueryError
from elasticdenser.index.passage_index import PassageIndex
from elasticdenser.models.settings import EncoderFingerprint
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

DOC_ID = "doc_id"
"""Field of a point that holds the id of its passage: Qdrant's own ids are numbers or UUIDs."""

_PASSAGES_AT_ONCE = 256
"""With their texts, about a megabyte of JSON at 384 dimensions; Qdrant accepts 32."""

_KEY = "elasticdenser"
"""Entry of a collection's metadata that describes the index."""

_NAMESPACE = uuid.UUID("5d5b2c0e-4a67-5b0e-9d55-0e9f1c6a7d31")


def connect(*, url: str | None = None, path: str | None = None, api_key: str | None = None) -> QdrantClient:
    """Return a client of a Qdrant server, or of Qdrant's local mode, which needs no server.

    Args:
        url: URL of the server, such as `http://localhost:6333`.
        path: Folder of the local mode instead; `:memory:` is gone when the process ends.
        api_key: Key of the server.

    Raises:
        MissingExtraError: The package `qdrant-client` is not installed.
        QueryError: Not exactly one of `url` and `path` is given, or there is no such place.
    """
    if (url is None) == (path is None):
        raise QueryError("got both or neither of url and path; expected the URL of a Qdrant server, or a local path")
    try:
        from qdrant_client import QdrantClient
    except ImportError:
        raise MissingExtraError("Qdrant", "qdrant") from None
    try:
        if path is None:
            return QdrantClient(url=url, api_key=api_key)
        return QdrantClient(":memory:") if path == ":memory:" else QdrantClient(path=path)
    except (ValueError, OSError, RuntimeError) as error:  # of the URL; of the folder, or of its lock
        raise QueryError(f"Qdrant cannot be opened at {url or path} ({error}): check the place") from error


def export_to_qdrant(
    index: PassageIndex, client: QdrantClient, collection: str, *, progress: Progress = silent
) -> None:
    """Write the passages of an index into a collection, which is created if need be.

    An export that was interrupted is repeated: points are replaced by the same points. Vectors are compared by inner
    product, as in the index.

    Args:
        index: The index.
        client: See `connect`.
        collection: Name of the collection.
        progress: Called with (step, done, in all).

    Raises:
        BuildError: The collection holds something else, or Qdrant refuses.
    """
    from qdrant_client import models

    description = _description_of(index)
    with explained_qdrant_errors():
        if client.collection_exists(collection):
            _check_collection(client, collection, index, description)
        else:
            vectors = models.VectorParams(size=index.dim, distance=models.Distance.DOT)
            client.create_collection(collection, vectors_config=vectors, metadata={_KEY: description})
        for start in range(0, len(index), _PASSAGES_AT_ONCE):
            positions = np.arange(start, min(start + _PASSAGES_AT_ONCE, len(index)))
            doc_ids = index.doc_ids.take(positions)
            batch = models.Batch(
                ids=[point_id(doc_id) for doc_id in doc_ids],
                vectors=index.vectors[start : start + len(positions)].tolist(),
                payloads=[_payload(index, *numbered) for numbered in enumerate(doc_ids, start)],
            )
            client.upsert(collection, points=batch, wait=True)
            progress("exporting", start + len(positions), len(index))
        n_points = client.count(collection, exact=True).count
    if n_points != len(index):
        raise BuildError(
            f"the collection {collection!r} has {n_points:,} points, expected the {len(index):,} of the index: it "
            "holds others, too; choose another --collection"
        )


def point_id(doc_id: str) -> str:
    """Return the id of the point of a passage, the same in every export."""
    return str(uuid.uuid5(_NAMESPACE, doc_id))


def encoder_of(client: QdrantClient, collection: str) -> EncoderFingerprint | None:
    """Return the encoder of an exported collection; None if the server, older than 1.16, did not store it.

    Raises:
        BuildError: There is no such collection, or Qdrant cannot be reached.
    """
    with explained_qdrant_errors():
        if not client.collection_exists(collection):
            raise BuildError(f"Qdrant has no collection {collection!r}: make it with elasticdenser export --to qdrant")
        stored = _stored_description(client, collection)
    where = f"the metadata of the collection {collection!r}"
    return None if stored is None else from_value(EncoderFingerprint, stored.get("encoder"), where, error=BuildError)


@contextmanager
def explained_qdrant_errors() -> Iterator[None]:
    """Turn the errors of Qdrant's client into one line.

    Raises:
        BuildError: Qdrant cannot be reached, or refuses.
    """
    from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

    try:
        yield
    except UnexpectedResponse as error:
        reason = " ".join(error.content.decode("utf-8", "replace").split())[:300]
        raise BuildError(
            f"Qdrant refuses ({error.status_code}: {reason}): check its URL, API key and version"
        ) from error
    except ResponseHandlingException as error:
        raise BuildError(f"Qdrant cannot be reached ({error.source}): check its URL, and that it runs") from error
    except (ValueError, sqlite3.Error) as error:  # of the local mode
        raise BuildError(f"Qdrant refuses ({error}): check the place and the name of the collection") from error
    except ApiException as error:
        raise BuildError(f"Qdrant fails ({error}): try again") from error


def _check_collection(client: QdrantClient, collection: str, index: PassageIndex, description: dict[str, Any]) -> None:
    from qdrant_client import models

    other = f"the collection {collection!r} exists, and"
    vectors = client.get_collection(collection).config.params.vectors
    if not isinstance(vectors, models.VectorParams) or (vectors.size, vectors.distance) != (
        index.dim,
        models.Distance.DOT,
    ):
        raise BuildError(f"{other} its vectors are not of {index.dim} dimensions by inner product: choose another")
    stored = _stored_description(client, collection)
    if stored is not None and stored != description:
        differing = ", ".join(key for key in description if stored.get(key) != description[key])
        raise BuildError(
            f"{other} is of another index (by {differing}): choose another --collection, or delete it first"
        )


def _stored_description(client: QdrantClient, collection: str) -> dict[str, Any] | None:
    metadata = client.get_collection(collection).config.metadata or {}
    stored = metadata.get(_KEY)
    return stored if isinstance(stored, dict) else None


def _description_of(index: PassageIndex) -> dict[str, Any]:
    manifest = index.manifest
    return {
        "encoder": manifest.encoder.to_json(),
        "corpus_sha256": manifest.corpus.get("sha256"),
        "n_passages": len(index),
    }


def _payload(index: PassageIndex, position: int, doc_id: str) -> dict[str, str]:
    if not index.has_texts:
        return {DOC_ID: doc_id}
    passage = index.passage_at(position)
    return {DOC_ID: doc_id, "title": passage.title, "text": passage.text}
