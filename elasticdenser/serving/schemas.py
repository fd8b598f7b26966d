"""What goes into the server and what comes out, as pydantic models: they check requests and describe the API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

from elasticdenser.serving.settings import (
    LONGEST_DEADLINE_MS,
    MOST_CHARACTERS,
    MOST_DOC_IDS,
    MOST_HITS,
    MOST_QUERIES,
)

# At least one character that neither Python nor any dialect of JSON Schema takes for white space.
_VISIBLE = r"[^\s\x1c-\x1f\x85\ufeff]"


def _whole(value: Any) -> Any:
    """Take 10.0 for 10, as JSON Schema does."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, StringConstraints(pattern=_VISIBLE, max_length=MOST_CHARACTERS)]
Whole = Annotated[int, BeforeValidator(_whole)]
DocId = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class _Input(BaseModel):
    """What a client sends: nothing is guessed, and what is not known is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Choices(_Input):
    k: Whole = Field(10, ge=1, le=MOST_HITS, description="Hits wanted for each query.")
    deadline_ms: float | None = Field(
        None,
        ge=0.001,
        le=LONGEST_DEADLINE_MS,
        description="Milliseconds after the request came until the answer is worthless. "
        "Default: the server's for one query, none for a list.",
    )
    minimum_level: str | None = Field(None, description="The level whose quality the answer must at least have.")
    priority: Whole = Field(
        0, ge=-100, le=100, description="Decides who is turned away when not all can be served; higher stays."
    )
    doc_ids: list[DocId] | None = Field(
        None, min_length=1, max_length=MOST_DOC_IDS, description="Search only these documents."
    )
    with_text: bool = Field(True, description="Whether hits come with title and text, where the index holds them.")


class SearchOne(_Choices):
    """One query."""

    query: Text


class SearchMany(_Choices):
    """Several queries, answered at the best level that time allows; those with a deadline go first."""

    queries: list[Text] = Field(min_length=1, max_length=MOST_QUERIES)


def _kind(body: Any) -> str:
    is_many = "queries" in body if isinstance(body, dict) else isinstance(body, SearchMany)
    return "queries" if is_many else "query"


Search = Annotated[
    Annotated[SearchOne, Tag("query")] | Annotated[SearchMany, Tag("queries")],
    Discriminator(_kind),
]


class FoundHit(BaseModel):
    """A passage; title and text are absent where they were not wanted or the index holds none."""

    model_config = ConfigDict(title="Hit")

    doc_id: str
    score: float
    title: str | None = None
    text: str | None = None


class Result(BaseModel):
    """What a query got.

    Attributes:
        hits: Best first.
        level: The level that answered.
        queued_ms: How long the query waited, from when the request came.
        ran_ms: How long its batch ran.
        late: Whether the answer came after the deadline.
    """

    hits: list[FoundHit]
    level: str
    queued_ms: float = Field(ge=0)
    ran_ms: float = Field(ge=0)
    late: bool


class SearchResponse(BaseModel):
    """A result for each query, in their order."""

    results: list[Result]


class EmbeddingsRequest(_Input):
    """Texts to encode, as the encoder encodes queries; the form is OpenAI's."""

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_QUERIES)]
    model: str = Field(description="The encoder's name; or that, a slash and a size of it. `GET /v1/models` lists all.")
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: of little-endian float32.")
    dimensions: Whole | None = Field(None, description="Vectors have one length only; another one is an error.")
    user: str | None = Field(None, description="Ignored.")


class Embedding(BaseModel):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that were encoded, with special ones; what is cut off from a long text does not count."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """A vector for each text, in their order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """A size of the encoder."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    """All sizes of the encoder."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """How the server is."""

    status: Literal["ok", "ready"]


class LiveLevel(BaseModel):
    """A level, and the share of the best one's quality that it keeps."""

    name: str
    quality: float


class Sample(BaseModel):
    """What happened in a quarter of a second.

    Attributes:
        number: Samples are counted from 0.
        answered: Queries that got an answer.
        turned_away: Queries that got none.
        waiting: Queries in the queue at its end.
        p50_ms: Median time to an answer; null without one.
        p99_ms: 99th percentile.
        levels: Answers by level, in the order of the list of levels.
    """

    number: int
    answered: int
    turned_away: int
    waiting: int
    p50_ms: float | None
    p99_ms: float | None
    levels: list[int]


class Live(BaseModel):
    """The last minute, for the page."""

    title: str
    passages: int
    every_s: float
    deadline_ms: float
    levels: list[LiveLevel]
    samples: list[Sample]


class Problem(BaseModel):
    """Why there is no answer, in one line; the form is OpenAI's."""

    message: str = Field(pattern=r"^[^\n\r]+$")
    type: str
    code: str
    param: str | None


class Refusal(BaseModel):
    """The body of every response that is an error."""

    error: Problem
