"""What encoders of passages and of queries have in common. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.errors import QueryError
from elasticdenser.models.locate import DEFAULT_MODEL, ModelLocation, find_model
from elasticdenser.models.settings import EncoderFingerprint, EncoderSettings, read_settings, transformer_folder
from elasticdenser.models.tokenizer import load_tokenizer
from elasticdenser.subnet import Subnet

if TYPE_CHECKING:
    from elasticdenser.encoders.backends.base import EncoderBackend


_TOKENS_A_BATCH = {"cpu": 1024, "cuda": 65536}

# So many texts are split in the calling thread alone: the library starts threads of its own for a batch, even of one,
# and gains by them only from here on.
_ONE_BY_ONE = 64


def tokens_a_batch(device_type: str) -> int:
    """Return how many tokens to encode at once.

    A batch whose activations fit the second-level cache of a core is the fastest there; a GPU wants it large.
    """
    return _TOKENS_A_BATCH.get(device_type, _TOKENS_A_BATCH["cuda"])


class SentenceEncoder:
    """A BERT-type sentence encoder in the layout of sentence-transformers; safe to use from several threads.

    Args:
        found: Where its files are, as `find_model` says.
        settings: How texts become vectors.
        sizes: What computes them.

    Raises:
        ModelError: The tokenizer cannot be used.
    """

    def __init__(self, found: ModelLocation, settings: EncoderSettings, sizes: EncoderBackend) -> None:
        self.found, self.settings = found, settings
        self._backend = sizes
        self._tokenizer = load_tokenizer(transformer_folder(found.path), settings.max_length)
        self._tokens_a_batch = tokens_a_batch(sizes.device_type)

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_MODEL,
        *,
        dtype: str = "auto",
        device: str = "auto",
        download: bool = True,
        **overrides: Any,
    ) -> Self:
        """Load the encoder `name`: a folder, or an id found in the hub's cache, a package or on the hub.

        Args:
            name: Folder or model id.
            dtype: See the class.
            device: See the class.
            download: Whether the hub may be asked.
            overrides: `max_length`, `query_prompt`, `passage_prompt`, ... to use instead of the model's own.

        Raises:
            ModelError: It is not found, or of a kind that is not supported.
        """
        found = find_model(name, download=download)
        # Each kind of encoder takes these two.
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        return cls(found, read_settings(found.path, **overrides), **options)

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """What an index must have been made with to be searched with this encoder."""
        return EncoderFingerprint(
            name=self.found.name, weights_sha256=self.found.sha256, settings=self.settings, dtype=self.dtype
        )

    @property
    def dtype(self) -> str:
        """Arithmetic of the matrix products, such as `float32`."""
        return self._backend.dtype

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.settings.dim

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return of how many tokens each text is encoded, with special ones, without a prompt."""
        return [len(tokens) for tokens in self._tokenize(texts, "")]

    def _encode_batch(self, sequences: Sequence[Sequence[int]], subnet: Subnet | None = None) -> Vectors:
        """Encode sequences of token ids; `subnet` is one of the elastic encoder's, None the full size."""
        return self._backend.encode(sequences, subnet or self._backend.full_subnet)

    def _tokenize(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        if isinstance(texts, str):
            raise QueryError("got one string; expected a list of texts, such as [text]")
        prompted = [prompt + text for text in texts]
        if len(prompted) <= _ONE_BY_ONE:
            return [self._tokenizer.encode(text).ids for text in prompted]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(prompted)]

    def _batches(self, sequences: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield positions, shortest sequences first, in batches of a bounded number of tokens."""
        batch: list[int] = []
        tokens = 0
        for position in sorted(range(len(sequences)), key=lambda at: len(sequences[at])):
            length = len(sequences[position])
            if batch and tokens + length > self._tokens_a_batch:
                yield batch
                batch, tokens = [], 0
            batch.append(position)
            tokens += length
        if batch:
            yield batch

    def _encode(self, texts: Sequence[str], prompt: str, subnet: Subnet | None = None) -> Vectors:
        sequences = self._tokenize(texts, prompt)
        vectors = np.empty((len(texts), self.dim), np.float32)
        for batch in self._batches(sequences):
            vectors[batch] = self._encode_batch([sequences[at] for at in batch], subnet)
        return vectors
