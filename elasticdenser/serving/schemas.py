"""Responses as pydantic models, which describe the API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class SearchHit(BaseModel):
    """A passage. Title, text and metadata are absent if the request did not want them or the index holds none."""

    model_config = ConfigDict(title="Hit")

    doc_id: str
    score: float
    document: str | None = Field(
        None, description="Document of which the passage is a chunk; absent if the index has no chunks."
    )
    title: str | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = Field(None, description="Further fields of the passage.")


class Reranked(BaseModel):
    """Stage of reranking: how many candidates which subnet of the ranker scored."""

    candidates: int = Field(ge=0)
    subnet: str


class QueryResult(BaseModel):
    """Result of one query.

    Attributes:
        hits: The hits, best first.
        level: Name of the level that answered.
        reranked: What was reranked, stage by stage; empty if nothing was.
        queued_ms: Time from the arrival of the request until the query's batch started.
        ran_ms: Run time of the query's batch.
        late: Whether the answer came after the deadline.
        coverage: Share of the passages that were searched; below 1 if a shard could not be reached in time.
    """

    hits: list[SearchHit]
    level: str
    reranked: list[Reranked]
    queued_ms: float = Field(ge=0)
    ran_ms: float = Field(ge=0)
    late: bool
    coverage: float = Field(ge=0, le=1)


class SearchResponse(BaseModel):
    """One result for each query, in the order of the queries."""

    results: list[QueryResult]


class ChangeResponse(BaseModel):
    """Outcome of a change of an index; documents are counted, which are passages unless they were cut into chunks.

    Attributes:
        generation: Generation of the index; searches that are sent after this answer are in it, or in a newer one.
        added: Documents whose ids were new.
        replaced: Documents whose ids were in the index.
        unchanged: Documents that were in the index already, with the same text or, with `only_new`, with any.
        deleted: Documents that were deleted.
        unknown: Ids to delete that are not in the index.
    """

    generation: int = Field(ge=0)
    added: int = Field(ge=0)
    replaced: int = Field(ge=0)
    unchanged: int = Field(ge=0)
    deleted: int = Field(ge=0)
    unknown: list[str]


class ServedIndex(BaseModel):
    """An index of the server.

    Attributes:
        name: Its name; its paths begin with `/indexes/NAME`.
        passages: Number of its passages.
        generation: Number of changes since it was built.
        model: Name of its encoder.
        default: Whether the paths without a name are its own too.
        writable: Whether clients may change it, with the key for that.
        ready: Whether it can be searched.
    """

    name: str
    passages: int = Field(ge=0)
    generation: int = Field(ge=0)
    model: str
    default: bool
    writable: bool
    ready: bool


class ServedIndexes(BaseModel):
    """All indexes of the server, the default one first."""

    indexes: list[ServedIndex]


class HighlightedWord(BaseModel):
    """Word of a sentence that is a word of the query, in any of its forms.

    Attributes:
        start: Position of its first character in the passage's text, in Unicode characters.
        end: Position behind its last character.
    """

    start: int = Field(ge=0)
    end: int = Field(ge=0)


class Highlight(BaseModel):
    """The sentence of a passage's text that matches the query best.

    Attributes:
        doc_id: Id of the passage.
        start: Position of the sentence's first character in the text, in Unicode characters.
        end: Position behind its last character.
        score: Score of the sentence, by the full encoder; null if the text is empty.
        words: Words of the sentence that are words of the query.
    """

    doc_id: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    score: float | None
    words: list[HighlightedWord]


class HighlightsResponse(BaseModel):
    """One highlight for each passage, in the order of the ids."""

    highlights: list[Highlight]


class Embedding(BaseModel):
    """Vector of one text."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Number of tokens that were encoded, including special tokens but not those cut off from long texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """One vector for each text, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class RerankResult(BaseModel):
    """A document in the order of the ranker.

    Attributes:
        index: Position of the document in the request, from 0.
        relevance_score: From 0 to 1, or the ranker's own score if the request asked for that: the higher, the better.
        document: The document, as an object; absent unless the request asked for it.
    """

    index: int = Field(ge=0)
    relevance_score: float
    document: dict[str, Any] | None = None


class RerankTokens(BaseModel):
    """Number of tokens of all pairs of the query and a document, special tokens included."""

    input_tokens: int


class ApiVersion(BaseModel):
    """Version of the API, as Cohere's clients read it."""

    version: Literal["1"] = "1"


class RerankMeta(BaseModel):
    """Usage in Cohere's form."""

    api_version: ApiVersion
    tokens: RerankTokens


class RerankResponse(BaseModel):
    """The documents, best first. `usage` is in Jina's form, `meta` in Cohere's.

    Attributes:
        id: Identifier of the request.
        model: The model that was asked for.
        results: The documents.
        usage: Number of tokens of all pairs of the query and a document, special tokens included.
        meta: The same in another form.
    """

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage
    meta: RerankMeta


class TeiRank(BaseModel):
    """A text in the order of the ranker.

    Attributes:
        index: Position of the text in the request, from 0.
        score: From 0 to 1, or the ranker's own score if the request asked for that: the higher, the better.
        text: The text; absent unless the request asked for it.
    """

    index: int = Field(ge=0)
    score: float
    text: str | None = None


class Model(BaseModel):
    """A subnet of the encoder or the ranker."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    """All subnets of the encoder and the ranker."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """State of the server."""

    status: Literal["ok", "ready"]
    warning: str | None = Field(None, description="What is wrong, though requests can be sent; absent if nothing is.")


class LiveLevel(BaseModel):
    """A level, and its quality as a share of the best level's."""

    name: str
    quality: float


class Sample(BaseModel):
    """Events of a quarter of a second.

    Attributes:
        number: Number of the sample, from 0.
        answered: Queries that were answered.
        turned_away: Queries that were rejected or failed.
        waiting: Queries in the queue at the end of the sample.
        p50_ms: Median latency of the answers; null without answers.
        p99_ms: 99th percentile of the latency; null without answers.
        levels: Answers by level, in the order of the list of levels.
    """

    number: int
    answered: int
    turned_away: int
    waiting: int
    p50_ms: float | None
    p99_ms: float | None
    levels: list[int]


class LiveView(BaseModel):
    """The last minute, as the page draws it."""

    title: str
    passages: int
    every_s: float
    deadline_ms: float
    page_deadline_ms: float
    hit_url: str | None
    levels: list[LiveLevel]
    samples: list[Sample]


class ErrorDetail(BaseModel):
    """Reason why a request was not answered; the form is that of OpenAI's API."""

    message: str = Field(pattern=r"^[^\n\r]+$")
    type: str
    code: str
    param: str | None


class ErrorResponse(BaseModel):
    """Body of every error response."""

    error: ErrorDetail
