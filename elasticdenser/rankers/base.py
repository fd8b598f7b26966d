"""Base class of rankers: models that score passages for a query, with a subnet chosen per call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from elasticdenser.arrays import Scores
from elasticdenser.datasets.passages import Passage
from elasticdenser.encoders.tokenizing import check_texts
from elasticdenser.errors import QueryError
from elasticdenser.models.calibration import Calibration
from elasticdenser.query_input import check_list, check_query, checked_k
from elasticdenser.subnet import Subnet

TextOrPassage = TypeVar("TextOrPassage", str, Passage)
"""A passage as its text (title, space, body), or as an object."""

Pair = TypeVar("Pair", bound=Sized)
"""Tokens of a query and a passage, as one ranker reads them; its length is their number."""


class RankedPassage(NamedTuple, Generic[TextOrPassage]):
    """Passage in the order of a ranker.

    Attributes:
        position: Position in the list that was ranked, from 0.
        score: The ranker's score: the higher, the better.
        passage: The passage, as it was given.
    """

    position: int
    score: float
    passage: TextOrPassage


class Ranker(ABC, Generic[Pair]):
    """Model that scores passages for a query; safe to use from several threads.

    Attributes:
        folder: Folder of the model.
    """

    folder: Path

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self.folder)!r}: {len(self.subnets)} subnets, {self.dtype}>"

    @property
    @abstractmethod
    def dtype(self) -> str:
        """Arithmetic of the matrix products, such as `float32`."""

    @property
    @abstractmethod
    def subnets(self) -> list[Subnet]:
        """All subnets, from large to small."""

    @property
    def full_subnet(self) -> Subnet:
        """The largest subnet."""
        return self.subnets[0]

    @property
    @abstractmethod
    def first_stage_weight(self) -> float:
        """Weight of the first stage's scores, beside those of the ranker, that its manifest recommends."""

    @property
    @abstractmethod
    def max_length(self) -> int:
        """Maximum number of tokens of a pair, special tokens included; passages are cut."""

    @abstractmethod
    def calibration(self, subnet: str | Subnet | None = None) -> Calibration:
        """Return the calibration of a subnet's scores to probabilities; the identity if the ranker brings none.

        Raises:
            QueryError: The ranker has no such subnet.
        """

    @abstractmethod
    def tokenized(self, query: str, texts: Sequence[str]) -> list[Pair]:
        """Return the tokens of the pairs of a query and passages, which are checked."""

    @abstractmethod
    def score_pairs(self, pairs: Sequence[Pair], subnet: Subnet) -> Scores:
        """Return the scores of pairs, float32, (n_pairs,), finite; see `score`.

        Args:
            pairs: Pairs, as `pairs` returns them.
            subnet: A subnet of the ranker.

        Raises:
            ModelError: Scores are not finite.
        """

    def is_full(self, pair: Pair) -> bool:
        """Return whether a pair has the maximum number of tokens, so that its passage may have been cut."""
        return len(pair) >= self.max_length

    def resolve_subnet(self, subnet: str | Subnet | None) -> Subnet:
        """Return the subnet that a spelling names; None is the largest.

        Raises:
            QueryError: The ranker has no such subnet.
        """
        resolved = self.full_subnet if subnet is None else Subnet.parse(subnet)
        if resolved not in self.subnets:
            known = ", ".join(map(str, self.subnets))
            raise QueryError(f"got subnet {resolved}, expected one of this ranker's: {known}")
        return resolved

    def subnet_beside(self, query_subnet: Subnet) -> Subnet:
        """Return the subnet that ranks best, for its time, the hits of a query that another subnet encoded.

        Args:
            query_subnet: Subnet of the encoder of the search.
        """
        return self.full_subnet

    def score(self, query: str, texts: Sequence[str], subnet: str | Subnet | None = None) -> Scores:
        """Score passages for a query, in the calling thread.

        A passage's score is the same alone and in any batch: with `int8` to the bit, with other dtypes up to rounding.

        Args:
            query: The query; it must hold more than white space.
            texts: Passages, each with its title, a space and its text.
            subnet: A subnet of the ranker, such as `w0.5-d3`; None is the largest.

        Returns:
            float32, (n_texts,): the higher, the better. Scores are comparable for one query and one subnet only.

        Raises:
            QueryError: The query is empty, `texts` is one string, or the ranker has no such subnet.
        """
        resolved = self.resolve_subnet(subnet)
        return self.score_pairs(self.pairs(query, texts), resolved)

    def rerank(
        self,
        query: str,
        passages: Sequence[TextOrPassage],
        k: int | None = None,
        subnet: str | Subnet | None = None,
    ) -> list[RankedPassage[TextOrPassage]]:
        """Rank passages for a query, in the calling thread.

        Args:
            query: The query; it must hold more than white space.
            passages: Texts, each with its title, a space and its text; or objects of type `Passage`.
            k: How many to return; None is all of them.
            subnet: A subnet of the ranker, such as `w0.5-d3`; None is the largest.

        Returns:
            The best passages, best first; of equal scores, in the order given.

        Raises:
            QueryError: As for `score`, or k is below 1.
        """
        check_list(passages)
        passages = list(passages)  # a generator can be read only once
        n_returned = len(passages) if k is None else checked_k(k)
        scores = self.score(query, list(map(_text_of, passages)), subnet)
        order = np.argsort(-scores, kind="stable")[:n_returned].tolist()
        return [RankedPassage(position, float(scores[position]), passages[position]) for position in order]

    def pairs(self, query: str, texts: Sequence[str]) -> list[Pair]:
        """Return the tokens of the pairs of a query and passages, for `score_pairs` at one subnet after another.

        Raises:
            QueryError: The query is empty, or `texts` is one string or holds something other than texts of Unicode.
        """
        check_query(query, "the query")
        check_list(texts)
        texts = list(texts)
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise QueryError(f"got a passage of type {type(wrong[0]).__name__}, expected text")
        try:
            return self.tokenized(query, texts)
        except (TypeError, UnicodeEncodeError):
            check_texts(texts)  # these errors say nothing of the text
            raise


def _text_of(passage: str | Passage) -> str:
    return passage.content if isinstance(passage, Passage) else passage
