"""Requests as pydantic models, which validate them and describe the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    PlainValidator,
    StringConstraints,
    Tag,
    model_validator,
)

from elasticdenser.serving.settings import (
    MAX_CHARACTERS,
    MAX_DEADLINE_MS,
    MAX_DOC_IDS,
    MAX_DOCUMENTS,
    MAX_FILTER_CHARACTERS,
    MAX_HIGHLIGHTS,
    MAX_HITS,
    MAX_QUERIES,
    MAX_TEXTS,
)

# At least one character that neither Python nor any dialect of JSON Schema treats as white space.
_VISIBLE = r"[^\s\x1c-\x1f\x85\ufeff]"


def _integral_float_to_int(value: Any) -> Any:
    """Accept 10.0 as 10: JSON Schema, which describes the API, does not distinguish the two."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _integral_floats_to_int(values: Any) -> Any:
    """Do so for a list, which may be long: without a call for each value."""
    if isinstance(values, list) and any(type(value) is float for value in values):
        return [_integral_float_to_int(value) for value in values]
    return values


QueryText = Annotated[str, StringConstraints(pattern=_VISIBLE, max_length=MAX_CHARACTERS)]
Text = Annotated[str, StringConstraints(pattern=_VISIBLE)]
TokenIds = Annotated[
    list[Annotated[int, Field(ge=0, lt=1 << 32)]], Field(min_length=1), BeforeValidator(_integral_floats_to_int)
]
Integer = Annotated[int, BeforeValidator(_integral_float_to_int)]
PositiveInteger = Annotated[int, Field(ge=1), BeforeValidator(_integral_float_to_int)]
DocId = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


def _allow_null(schema: dict[str, Any]) -> None:
    """Add null to the described values of the fields that have a default."""
    properties, required = schema.get("properties", {}), schema.get("required", ())
    for name, field in properties.items():
        is_nullable = any(alternative.get("type") == "null" for alternative in field.get("anyOf", ()))
        if name not in required and not is_nullable:
            kept = {key: field.pop(key) for key in ("default", "description", "title") if key in field}
            properties[name] = {"anyOf": [field, {"type": "null"}], **kept}


class RequestBody(BaseModel):
    """Body of a request: types are not converted, and unknown fields are errors.

    Null is the default of a field that has one: many clients send null for all fields that they do not use.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_allow_null)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, body: Any) -> Any:
        if not isinstance(body, dict) or None not in body.values():
            return body
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in body.items() if value is not None or name not in optional}


class FilterCondition(BaseModel):
    """A condition on one field of the metadata."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(min_length=1, description="Name of the field.")
    operator: Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in", "like", "contains", "is null", "is not null"]
    value: str | bool | int | float | list[str | bool | int | float] | None = Field(
        None, description="The value: a list of values for `in` and `not in`, none for `is null` and `is not null`."
    )


class FilterClauses(BaseModel):
    """Conditions that are combined; each may have clauses itself.

    Attributes:
        must: All of these are met.
        should: At least one of these is met, if there are any.
        must_not: None of these is met.
    """

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    must: list[FilterCondition | FilterClauses] = Field(default_factory=list)
    should: list[FilterCondition | FilterClauses] = Field(default_factory=list)
    must_not: list[FilterCondition | FilterClauses] = Field(default_factory=list)


FilterText = Annotated[str, StringConstraints(pattern=_VISIBLE, max_length=MAX_FILTER_CHARACTERS)]

AnyFilter = Annotated[
    Any, PlainValidator(lambda value: value, json_schema_input_type=FilterText | FilterCondition | FilterClauses)
]
"""A filter as it is given. The models describe it only: `parse_filter` reads it, and its messages say more."""


def _hybrid_tag(value: Any) -> str | None:
    """Return which form of `Hybrid` a value has."""
    if isinstance(value, bool):
        return "as a switch"
    return "as a weight" if isinstance(value, int | float) else None


Hybrid = Annotated[
    Annotated[bool, Tag("as a switch")] | Annotated[float, Field(ge=0, le=1), Tag("as a weight")],
    Discriminator(_hybrid_tag),
]
"""Whether words count, or how much."""


class _SearchOptions(RequestBody):
    k: Integer = Field(10, ge=1, le=MAX_HITS, description="Number of hits for each query.")
    deadline_ms: float | None = Field(
        None,
        ge=0.001,
        le=MAX_DEADLINE_MS,
        description="Deadline of the answer, in milliseconds after the request arrived. "
        "Default: the server's deadline for one query, no deadline for a list.",
    )
    minimum_level: str | None = Field(
        None, description="Name of a level; the answer comes from a level of at least this quality."
    )
    minimum_quality: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the best level's quality, such as 0.95; each answer comes from a level that keeps this "
        "share for queries of the same length, or from the best level if none does. With `minimum_level`, the stricter "
        "of the two counts. Default: the server's `--minimum-quality`, or else 0, which accepts any level.",
    )
    priority: Integer = Field(
        0,
        ge=-100,
        le=100,
        description="If not all queries can be answered in time, the lowest priority is rejected.",
    )
    doc_ids: list[DocId] | None = Field(
        None, min_length=1, max_length=MAX_DOC_IDS, description="Search only these documents."
    )
    filter: AnyFilter | None = Field(
        None,
        description="Search only passages whose metadata meets this: text such as `section = 'ops' and date >= "
        "'2026-01-01'`, a condition, or clauses of conditions. The fields are those of the index.",
    )
    hybrid: Hybrid | None = Field(
        None,
        description="Search by words too: true, or the weight of words from 0 to 1; false: by meaning alone. The index "
        "must have been built with `--hybrid`. Default: as the server was started.",
    )
    rerank: bool = Field(
        True,
        description="False leaves the hits in the order of the first stage, also at levels that rerank; the level is "
        "chosen as for other queries.",
    )
    with_text: bool = Field(True, description="Whether hits include title, text and metadata, if the index holds them.")


class SearchRequest(_SearchOptions):
    """One query."""

    query: QueryText


class BatchSearchRequest(_SearchOptions):
    """Several queries, answered at the best level that time allows; queries with a deadline go first."""

    queries: list[QueryText] = Field(min_length=1, max_length=MAX_QUERIES)


def _search_tag(body: Any) -> str:
    is_batch = "queries" in body if isinstance(body, dict) else isinstance(body, BatchSearchRequest)
    return "as several queries" if is_batch else "as one query"


AnySearchRequest = Annotated[
    Annotated[SearchRequest, Tag("as one query")] | Annotated[BatchSearchRequest, Tag("as several queries")],
    Discriminator(_search_tag),
]


class HighlightsRequest(RequestBody):
    """A query, and the passages in which to look for the sentence that matches it best."""

    query: QueryText
    doc_ids: list[DocId] = Field(min_length=1, max_length=MAX_HIGHLIGHTS, description="Ids of passages.")


def _input_tag(value: Any) -> str | None:
    """Return which form of `EmbeddingsInput` a value has; a list is what its first item makes it."""
    if isinstance(value, str):
        return "as text"
    if not isinstance(value, list):
        return None
    first = value[0] if value else ""
    if isinstance(first, list):
        return "as token lists"
    return "as tokens" if isinstance(first, int | float) and not isinstance(first, bool) else "as texts"


EmbeddingsInput = Annotated[
    Annotated[Text, Tag("as text")]
    | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS), Tag("as texts")]
    | Annotated[TokenIds, Tag("as tokens")]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_TEXTS), Tag("as token lists")],
    Discriminator(_input_tag),
]
"""One text, or several; a text may be given as token ids."""

TAGS = (
    *("as one query", "as several queries", "as text", "as texts", "as tokens", "as token lists", "as an object"),
    *("as a switch", "as a weight"),
)
"""Names of the alternatives in the locations of validation errors, where they stand between the names of fields."""


class EmbeddingsRequest(RequestBody):
    """Texts to encode; the form is that of OpenAI's API."""

    input: EmbeddingsInput = Field(
        description="A text or a list of texts, or their token ids as the model's tokenizer returns them, with special "
        "tokens (the server's `--token-ids` names another vocabulary). Texts are cut at the model's token limit."
    )
    model: str = Field(
        description="Name of the encoder, or that name, a slash and a subnet. `GET /v1/models` lists all."
    )
    input_type: Literal["query", "passage"] = Field(
        "query", description="What the texts are: it decides which of the model's prompts is put before them."
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="`base64`: the bytes of a vector in little-endian float32."
    )
    dimensions: Integer | None = Field(
        None,
        description="Length of the vectors; fewer than the encoder's own only if it is trained for it (Matryoshka).",
    )
    user: str | None = Field(None, description="Ignored.")


class Document(BaseModel):
    """A document as an object; only its text is ranked."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    text: str


def _document_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return "as text"
    return "as an object" if isinstance(value, dict | Document) else None


AnyDocument = Annotated[
    Annotated[str, Tag("as text")] | Annotated[Document, Tag("as an object")],
    Discriminator(_document_tag, custom_error_type="document_type", custom_error_message="not a document"),
]
"""One document, as a text or as an object with a text."""

_RAW_SCORES = "Return the ranker's own scores (logits) instead of numbers from 0 to 1."


class RerankRequest(RequestBody):
    """A query and the documents to rank; the form is that of Cohere's and Jina's APIs."""

    query: QueryText
    documents: list[AnyDocument] = Field(
        min_length=1,
        max_length=MAX_DOCUMENTS,
        description="Texts, or objects with a `text`. Each is cut where it and the query together reach the ranker's "
        "token limit.",
    )
    model: str | None = Field(
        None,
        description="Name of the ranker, or that name, a slash and a subnet. `GET /v1/models` lists all. Default: the "
        "largest subnet.",
    )
    top_n: PositiveInteger | None = Field(None, description="Return only so many, the best. Default: all.")
    return_documents: bool = Field(False, description="Whether results include the documents.")
    raw_scores: bool = Field(False, description=_RAW_SCORES)
    max_tokens_per_doc: PositiveInteger | None = Field(None, description="Ignored: see `documents`.")


class TeiRerankRequest(RequestBody):
    """A query and the texts to rank; the form is that of Text Embeddings Inference."""

    query: QueryText
    texts: list[str] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    raw_scores: bool = Field(False, description=_RAW_SCORES)
    return_text: bool = Field(False, description="Whether results include the texts.")
    truncate: bool = Field(
        True,
        description="Cut each text where it and the query together reach the ranker's token limit; false: a text that "
        "reaches it is an error.",
    )
    truncation_direction: Literal["right", "Right"] = Field("right", description="Texts are cut at their end.")
