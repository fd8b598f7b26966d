"""Token ids as inputs of `/v1/embeddings`: the vocabularies that the server can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.errors import QueryError
from elasticdenser.serving.settings import MODEL_VOCABULARY

TokenReader = Callable[[Sequence[int]], str]
"""Returns the text that token ids stand for; raises QueryError for ids that are not of its vocabulary."""

_WAY_OUT = (
    "send texts instead (LangChain: OpenAIEmbeddings(..., check_embedding_ctx_length=False)), or let the server read "
    "OpenAI's ids: serve --token-ids cl100k_base"
)

_UNMARKED = (
    "got token ids, but whose they are cannot be told, because this model's tokenizer does not put special tokens "
    f"around a text: {_WAY_OUT}, or this model's: serve --token-ids {MODEL_VOCABULARY}"
)


def load_token_reader(vocabulary: str | None, encoder: ElasticQueryEncoder) -> TokenReader:
    """Return the reader of a vocabulary.

    Args:
        vocabulary: `model`, or the name of an encoding of `tiktoken` such as `cl100k_base`. None is `model` if its
            special tokens tell ids of another tokenizer; else the reader refuses all ids.
        encoder: The encoder, whose tokenizer reads the ids of `model`.

    Raises:
        QueryError: There is no such vocabulary, it cannot be fetched, or the package `tiktoken` is not installed.
    """
    if vocabulary is None and not encoder.marks_token_ids:
        return _refuse_ids
    if vocabulary in (None, MODEL_VOCABULARY):
        return lambda token_ids: _read_model_ids(encoder, token_ids)
    encoding = _load_encoding(vocabulary)
    return lambda token_ids: _read_openai_ids(encoding, token_ids)


def _refuse_ids(token_ids: Sequence[int]) -> str:
    raise QueryError(_UNMARKED)


def _read_model_ids(encoder: ElasticQueryEncoder, token_ids: Sequence[int]) -> str:
    try:
        return encoder.text_of_tokens(token_ids)
    except QueryError as error:
        raise QueryError(f"{error}: {_WAY_OUT}") from None


def _read_openai_ids(encoding: Any, token_ids: Sequence[int]) -> str:
    try:
        content: bytes = encoding.decode_bytes(token_ids)
    except (KeyError, OverflowError):
        unknown = next(token_id for token_id in token_ids if not _is_known(encoding, token_id))
        raise QueryError(f"got the token id {unknown}; expected ids of {encoding.name}: send texts instead") from None
    return content.decode("utf-8", "replace")


def _is_known(encoding: Any, token_id: int) -> bool:
    try:
        encoding.decode_single_token_bytes(token_id)
    except (KeyError, OverflowError):
        return False
    return True


def _load_encoding(name: str) -> Any:
    try:
        import tiktoken
    except ImportError:
        message = f"the token ids {name!a} need the package tiktoken: pip install tiktoken, or give {MODEL_VOCABULARY}"
        raise QueryError(message) from None
    known = tiktoken.list_encoding_names()
    if name not in known:
        raise QueryError(f"got the token ids {name!a}; expected {MODEL_VOCABULARY} or one of {', '.join(known)}")
    try:
        return tiktoken.get_encoding(name)
    except Exception as error:  # of whatever tiktoken fetches its vocabularies with
        raise QueryError(
            f"the vocabulary of {name} cannot be fetched ({type(error).__name__}): set TIKTOKEN_CACHE_DIR to a folder "
            "in which tiktoken has stored it on a machine that can reach the network"
        ) from error
