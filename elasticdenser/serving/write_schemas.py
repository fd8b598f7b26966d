"""Requests that change an index, as pydantic models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from elasticdenser.serving.request_schemas import AnyFilter, DocId, RequestBody
from elasticdenser.serving.settings import MAX_DELETED, MAX_DIM, MAX_PASSAGES

Vector = Annotated[list[float], Field(min_length=1, max_length=MAX_DIM)]


class NewPassage(RequestBody):
    """A document to add, in the form of a hit; an index of chunks cuts it."""

    doc_id: DocId = Field(description="Its id, without white space.")
    text: str
    title: str = ""
    metadata: dict[str, JsonValue] | None = Field(
        None, description="Further fields; one that the index does not have is an error."
    )
    vector: Vector | None = Field(
        None,
        description="Its vector, of the index's encoder, which is then not computed; for all passages of a request, or "
        "for none.",
    )


class AddRequest(RequestBody):
    """Documents to add, or to replace."""

    passages: list[NewPassage] = Field(min_length=1, max_length=MAX_PASSAGES)
    only_new: bool = Field(False, description="Leave documents alone whose ids are in the index.")


class DeleteRequest(RequestBody):
    """Documents to delete: by their ids, or by a filter."""

    doc_ids: list[DocId] | None = Field(
        None,
        min_length=1,
        max_length=MAX_DELETED,
        description="Ids of documents; in an index of chunks, not of chunks.",
    )
    filter: AnyFilter | None = Field(None, description="Delete all passages whose metadata meets this.")
