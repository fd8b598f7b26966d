"""Late-interaction ranker: each token of a query finds the most similar token of a passage.

A passage's score is the weighted mean, over the tokens of the query, of the highest cosine to a token of the passage
(MaxSim of ColBERT, Khattab and Zaharia 2020), plus a part of the cosine of the two texts' own vectors. The vectors of
tokens are states that a sentence encoder gives them anyway, projected to few dimensions: they need no training, and
those of passages can be computed beforehand (embedding recycling, Saad-Falcon et al. 2023). What is left for a query is
one forward pass over its own tokens, at any subnet, and inner products; at level 0 not even a forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from elasticdenser.arrays import Scores
from elasticdenser.encoders.token_encoder import TokenEncoder, load_token_encoder
from elasticdenser.encoders.tokenizing import check_texts
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.activation_cache import ActivationCache
from elasticdenser.models.activation_files import Bytes, encode_rows, row_bytes
from elasticdenser.models.activation_manifest import ActivationSource
from elasticdenser.models.calibration import Calibration
from elasticdenser.models.locate import find_model
from elasticdenser.models.manifest import PROVENANCE
from elasticdenser.models.ranker_manifest import LATE_INTERACTION_MANIFEST
from elasticdenser.models.settings import read_settings
from elasticdenser.models.shipped_ranker import shipped_ranker
from elasticdenser.query_input import check_list
from elasticdenser.rankers.base import Ranker
from elasticdenser.rankers.late_interaction_files import LateInteraction, read_late_interaction
from elasticdenser.rankers.pairs import SeparateTokenizer
from elasticdenser.rankers.query_tokens import query_encoder_at
from elasticdenser.rankers.token_rows import STORED, PassageRows, PassageText, passage_scores
from elasticdenser.subnet import Subnet

if TYPE_CHECKING:
    from elasticdenser.encoders.query_encoder import ElasticQueryEncoder

MAX_BYTES = 100_000_000_000
"""Most bytes of a folder of token vectors, unless its user says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenPair:
    """Query as token ids with special tokens, and a passage."""

    query: tuple[int, ...]
    passage: PassageText

    def __len__(self) -> int:
        return len(self.query) + len(self.passage.tokens)


class LateInteractionRanker(Ranker[TokenPair]):
    """Ranker that compares the tokens of a query with those of passages; safe to use from several threads.

    Use `from_pretrained`. With encoders of the BERT type a score depends on query, passage and subnet alone, to the
    bit; with others as far as their vectors do (see `elasticdenser.encoders.backends`).

    Args:
        folder: Folder of the projections.
        model: The projections.
        encoder: The encoder whose states they project.
        token_vectors: Folder with the vectors of passages' tokens, in a subfolder for this ranker; those that are not
            there are computed for every query.
        max_bytes: Most bytes of that subfolder, for `store`; 0 only reads it.
        opener: Opens the same ranker again, also in another process; None if there is no such way.

    Raises:
        ModelError: The projections are of another encoder, or its tokenizer cannot be used.
        BadInputError: The folder of vectors holds those of another model, or something else.
    """

    def __init__(
        self,
        folder: Path,
        model: LateInteraction,
        encoder: TokenEncoder,
        *,
        token_vectors: Path | None = None,
        max_bytes: int = 0,
        opener: Callable[[], LateInteractionRanker] | None = None,
    ) -> None:
        self.folder, self._model, self._encoder, self._opener = folder, model, encoder, opener
        _check_encoder(folder, model, encoder)
        settings = model.settings
        self._tokenizer = SeparateTokenizer(encoder.location.path, settings.max_length, settings.max_query_length)
        self._queries = {subnet: query_encoder_at(encoder, subnet, own) for subnet, own in model.queries.items()}
        full = encoder.projector(encoder.full_subnet, model.full, np.zeros(model.dim, np.float32))
        self._passages = PassageRows(full, model.dim, encoder.vector_dim)
        self._vectors: ActivationCache | None = None
        if token_vectors is not None:
            source = _source_of(model, encoder, self._tokenizer)
            folder_of_ranker = token_vectors / source.key[:12]
            self._vectors = ActivationCache(folder_of_ranker, source, dtype=STORED, max_bytes=max_bytes)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        *,
        dtype: str = "auto",
        device: str = "auto",
        token_vectors: str | Path | None = None,
        max_bytes: int = 0,
        query_encoder: ElasticQueryEncoder | None = None,
    ) -> Self:
        """Load a ranker.

        Args:
            path: Its folder; None is the ranker that comes with this package.
            dtype: Arithmetic of the encoder: of the BERT type `int8`, which is `auto`, or `float32`.
            device: Device of an encoder that is not of the BERT type; others compute on the CPU.
            token_vectors: Folder of the vectors of passages' tokens; see the class.
            max_bytes: Most bytes that they may take; see the class.
            query_encoder: Encoder of the searches to rerank. If it is the encoder of the ranker, in the same
                arithmetic, both share its weights, and a query is encoded once. A pickled ranker does not share them.

        Raises:
            ModelError: The files cannot be used, the encoder is not found, or there is no such dtype or device here.
            BadInputError: The folder of vectors holds those of another model, or something else.
        """
        folder = shipped_ranker() if path is None else Path(path).expanduser().absolute()
        model = read_late_interaction(folder)
        location = find_model(
            str(model.provenance["name"]), option=f"{PROVENANCE}.name in {folder / LATE_INTERACTION_MANIFEST}"
        )
        encoder = load_token_encoder(location, dtype=dtype, device=device, query_encoder=query_encoder)
        stored = None if token_vectors is None else Path(token_vectors).expanduser().absolute()
        opener = partial(
            cls.from_pretrained, folder, dtype=dtype, device=device, token_vectors=stored, max_bytes=max_bytes
        )
        return cls(folder, model, encoder, token_vectors=stored, max_bytes=max_bytes, opener=opener)

    def __reduce__(self) -> tuple[Callable[[], LateInteractionRanker], tuple[()]]:
        # Pickled by path: the files are read again.
        if self._opener is None:
            raise TypeError(
                "this LateInteractionRanker cannot be pickled, because it was made of objects that only this process "
                "has: load it with LateInteractionRanker.from_pretrained(folder)"
            )
        return self._opener, ()

    @property
    def dtype(self) -> str:
        """Arithmetic of the encoder."""
        return self._encoder.dtype

    @property
    def subnets(self) -> list[Subnet]:
        """Subnets that can encode a query, from large to small; passages are encoded by the full encoder."""
        return list(self._model.queries)

    def subnet_beside(self, query_subnet: Subnet) -> Subnet:
        """Return the same subnet, as one forward pass serves both if they share the encoder; else the largest."""
        return query_subnet if query_subnet in self._queries else self.full_subnet

    @property
    def first_stage_weight(self) -> float:
        """Weight of the first stage's scores that its manifest recommends."""
        return self._model.settings.first_stage_weight

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of a passage, special tokens included; passages are cut."""
        return self._model.settings.max_length

    def is_full(self, pair: TokenPair) -> bool:
        """Return whether a passage has the maximum number of tokens, so that it may have been cut."""
        return len(pair.passage.tokens) >= self.max_length

    def calibration(self, subnet: str | Subnet | None = None) -> Calibration:
        """Return the calibration of a subnet's scores to probabilities.

        Raises:
            QueryError: The ranker has no such subnet.
        """
        return self._model.calibration.get(str(self.resolve_subnet(subnet)), Calibration())

    def tokenized(self, query: str, texts: Sequence[str]) -> list[TokenPair]:
        """Return the token ids of a query with each passage."""
        (query_ids,) = self._tokenizer.queries([query])
        return [TokenPair(tuple(query_ids), passage) for passage in self._texts(texts)]

    def score_pairs(self, pairs: Sequence[TokenPair], subnet: Subnet) -> Scores:
        """Return the scores of pairs, float32, (n_pairs,)."""
        scores = np.empty(len(pairs), np.float32)
        numbers_of: dict[tuple[int, ...], list[int]] = {}
        for number, pair in enumerate(pairs):
            numbers_of.setdefault(pair.query, []).append(number)
        for query, numbers in numbers_of.items():
            passages = [pairs[number].passage for number in numbers]
            scores[numbers] = self._score(query, passages, subnet)
        if not np.isfinite(scores).all():
            raise ModelError(f"the ranker {self.folder} gives scores that are not finite: fit it again")
        return scores

    @property
    def stored_vectors(self) -> ActivationCache:
        """The vectors of passages' tokens on disk.

        Raises:
            QueryError: The ranker was opened without a folder for them.
        """
        if self._vectors is None:
            raise QueryError("got no folder for vectors of tokens: open the ranker with token_vectors=FOLDER")
        return self._vectors

    def store(self, texts: Sequence[str]) -> int:
        """Compute the vectors of passages' tokens that are not in the folder yet; return the number of passages.

        They are on the disk after `stored_vectors.flush()`.

        Args:
            texts: Passages, each with its title, a space and its text.

        Raises:
            QueryError: The ranker was opened without a folder for them, or `texts` is no list of texts of Unicode.
            BuildError: The disk refuses.
        """
        check_list(texts)
        texts = list(texts)
        check_texts(texts)
        self._rows(self._texts(texts), self.stored_vectors)
        return len(texts)

    def stored_bytes(self, texts: Sequence[str]) -> int:
        """Return the bytes that the vectors of some passages and their tokens take on disk.

        Raises:
            QueryError: They are no texts of Unicode.
        """
        check_texts(texts)
        n_rows = sum(len(self._passages.key_of(passage)) for passage in self._tokenizer.passages(texts))
        return n_rows * (row_bytes(self._model.dim, STORED) + np.dtype(np.int32).itemsize)

    def _score(self, query: tuple[int, ...], passages: Sequence[PassageText], subnet: Subnet) -> Scores:
        """Return the scores of passages for one query."""
        stored = self._passages.parted(self._rows(passages, self._vectors))
        return passage_scores(self._queries[subnet](query), stored)

    def _texts(self, texts: Sequence[str]) -> list[PassageText]:
        return [PassageText(text, self._tokenizer) for text in texts]

    def _rows(self, passages: Sequence[PassageText], stored: ActivationCache | None) -> list[Bytes]:
        """Return the rows of each passage; those that are not stored are computed."""
        rows = [None if stored is None else stored.named(passage.name) for passage in passages]
        missing = [passage for passage, found in zip(passages, rows, strict=True) if found is None]
        computed = iter(self._computed(missing, stored))
        return [next(computed) if found is None else found for found in rows]

    def _computed(self, passages: Sequence[PassageText], stored: ActivationCache | None) -> list[Bytes]:
        """Return the rows of each passage that was not found by its name, and store them if there is a place."""
        if not passages:
            return []
        tokens = PassageText.tokens_of(passages, self._tokenizer)
        keys = list(map(self._passages.key_of, tokens))
        if stored is None:
            rows = encode_rows(self._passages.encode(tokens), STORED)
        else:
            rows = stored.rows(
                keys,
                lambda missing: self._passages.encode([tokens[number] for number in missing]),
                [passage.name for passage in passages],
            )
        return np.split(rows, np.cumsum(list(map(len, keys)))[:-1])


def _check_encoder(folder: Path, model: LateInteraction, encoder: TokenEncoder) -> None:
    """Refuse an encoder that is not the one whose states the projections were fitted to."""
    if model.provenance["weights_sha256"] != encoder.location.sha256:
        raise ModelError(
            f"{folder} was fitted to other weights of {model.provenance['name']} than those in "
            f"{encoder.location.path}: fit it again"
        )
    for subnet, own in model.queries.items():
        if subnet not in encoder.subnets or own.weight.shape[1] != encoder.state_dim(subnet):
            raise ModelError(f"{encoder.location.name} has no subnet {subnet} as {folder} was fitted to: fit it again")
    if encoder.full_subnet not in model.queries or model.full.shape[1] != encoder.state_dim(encoder.full_subnet):
        raise ModelError(f"{folder} was fitted to another full encoder than {encoder.location.name}: fit it again")


def _source_of(model: LateInteraction, encoder: TokenEncoder, tokenizer: SeparateTokenizer) -> ActivationSource:
    """Return what the vectors of a passage depend on beside its text."""
    pooling = read_settings(encoder.location.path).pooling
    digest = sha256(
        f"{encoder.location.sha256} {encoder.dtype} {pooling} {tokenizer.passages_key} {model.full.shape}".encode()
    )
    digest.update(np.ascontiguousarray(model.full, "<f4").data)
    return ActivationSource(key=digest.hexdigest(), layer=encoder.full_subnet.depth, hidden=model.dim)
