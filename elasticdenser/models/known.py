"""Well-known sentence encoders, with what their model cards say: dimensions, lengths, prompts, licences.

The list is for people who choose an encoder. Nothing depends on it: any encoder that `read_settings` reads can be used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_BGE = "Represent this sentence for searching relevant passages: "
_QWEN = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownEncoder:
    """A well-known encoder.

    Args:
        name: Model id on the hub.
        architecture: The `model_type` of its config, or `static` for a table of token vectors.
        dim: Dimensions of a vector.
        max_length: Most tokens of a text that it reads; None for no limit.
        pooling: How the vectors of a text's tokens become one.
        query_prompt: Text that it expects before every query.
        passage_prompt: Text that it expects before every passage.
        languages: `English`, or `many`.
        licence: Licence of its weights.
        has_dense: Whether a Dense module follows the pooling.
    """

    name: str
    architecture: str
    dim: int
    max_length: int | None
    pooling: str
    query_prompt: str = ""
    passage_prompt: str = ""
    languages: str = "English"
    licence: str
    has_dense: bool = False


def known_encoders() -> Iterator[KnownEncoder]:
    """Yield the well-known encoders."""
    yield from _of_sentence_transformers()
    yield from _bert_like()
    yield from _newer_architectures()
    yield from _static()


def known_encoder(name: str) -> KnownEncoder | None:
    """Return what is known of an encoder, by its model id."""
    return next((encoder for encoder in known_encoders() if encoder.name == name), None)


def _of_sentence_transformers() -> Iterator[KnownEncoder]:
    for name, kind, dim, length in (
        ("all-MiniLM-L6-v2", "bert", 384, 256),
        ("all-MiniLM-L12-v2", "bert", 384, 128),
        ("all-mpnet-base-v2", "mpnet", 768, 384),
    ):
        yield KnownEncoder(
            name=f"sentence-transformers/{name}",
            architecture=kind,
            dim=dim,
            max_length=length,
            pooling="mean",
            licence="Apache-2.0",
        )
    yield KnownEncoder(
        name="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        architecture="bert",
        dim=384,
        max_length=128,
        pooling="mean",
        languages="many",
        licence="Apache-2.0",
    )
    yield KnownEncoder(
        name="sentence-transformers/LaBSE",
        architecture="bert",
        dim=768,
        max_length=256,
        pooling="cls",
        languages="many",
        licence="Apache-2.0",
        has_dense=True,
    )


def _bert_like() -> Iterator[KnownEncoder]:
    def encoder(
        name: str, dim: int, pooling: str, licence: str, query: str = "", passage: str = "", kind: str = "bert"
    ) -> KnownEncoder:
        return KnownEncoder(
            name=name,
            architecture=kind,
            dim=dim,
            max_length=512,
            pooling=pooling,
            query_prompt=query,
            passage_prompt=passage,
            languages="many" if "multilingual" in name else "English",
            licence=licence,
        )

    for size, dim in (("small", 384), ("base", 768), ("large", 1024)):
        yield encoder(f"BAAI/bge-{size}-en-v1.5", dim, "cls", "MIT", _BGE)
    for size, dim in (("small", 384), ("base", 768), ("large", 1024)):
        yield encoder(f"intfloat/e5-{size}-v2", dim, "mean", "MIT", "query: ", "passage: ")
    for size, dim, kind in (("small", 384, "bert"), ("base", 768, "xlm-roberta"), ("large", 1024, "xlm-roberta")):
        yield encoder(f"intfloat/multilingual-e5-{size}", dim, "mean", "MIT", "query: ", "passage: ", kind)
    for size, dim in (("small", 384), ("base", 768), ("large", 1024)):
        yield encoder(f"thenlper/gte-{size}", dim, "mean", "MIT")
    for size, dim in (("xs", 384), ("s", 384), ("m", 768), ("l", 1024)):
        yield encoder(f"Snowflake/snowflake-arctic-embed-{size}", dim, "cls", "Apache-2.0", _BGE)
    yield encoder("mixedbread-ai/mxbai-embed-large-v1", 1024, "cls", "Apache-2.0", _BGE)
    for size, dim in (("30m", 384), ("125m", 768)):
        yield encoder(f"ibm-granite/granite-embedding-{size}-english", dim, "cls", "Apache-2.0", kind="roberta")


def _newer_architectures() -> Iterator[KnownEncoder]:
    for name, licence, query in (
        ("BAAI/bge-m3", "MIT", ""),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "Apache-2.0", "query: "),
    ):
        yield KnownEncoder(
            name=name,
            architecture="xlm-roberta",
            dim=1024,
            max_length=8192,
            pooling="cls",
            query_prompt=query,
            languages="many",
            licence=licence,
        )
    for name, pooling, query, passage in (
        ("Alibaba-NLP/gte-modernbert-base", "cls", "", ""),
        ("nomic-ai/modernbert-embed-base", "mean", "search_query: ", "search_document: "),
    ):
        yield KnownEncoder(
            name=name,
            architecture="modernbert",
            dim=768,
            max_length=8192,
            pooling=pooling,
            query_prompt=query,
            passage_prompt=passage,
            licence="Apache-2.0",
        )
    for size, dim in (("0.6B", 1024), ("4B", 2560), ("8B", 4096)):
        yield KnownEncoder(
            name=f"Qwen/Qwen3-Embedding-{size}",
            architecture="qwen3",
            dim=dim,
            max_length=32768,
            pooling="lasttoken",
            query_prompt=_QWEN,
            languages="many",
            licence="Apache-2.0",
        )
    yield KnownEncoder(
        name="google/embeddinggemma-300m",
        architecture="gemma3_text",
        dim=768,
        max_length=2048,
        pooling="mean",
        query_prompt="task: search result | query: ",
        passage_prompt="title: none | text: ",
        languages="many",
        licence="Gemma Terms of Use",
        has_dense=True,
    )


def _static() -> Iterator[KnownEncoder]:
    for name, dim, languages, licence in (
        ("minishlab/potion-base-8M", 256, "English", "MIT"),
        ("minishlab/potion-base-32M", 512, "English", "MIT"),
        ("minishlab/potion-retrieval-32M", 512, "English", "MIT"),
        ("minishlab/potion-multilingual-128M", 256, "many", "MIT"),
        ("sentence-transformers/static-retrieval-mrl-en-v1", 1024, "English", "Apache-2.0"),
    ):
        yield KnownEncoder(
            name=name,
            architecture="static",
            dim=dim,
            max_length=None,
            pooling="mean",
            languages=languages,
            licence=licence,
        )
