"""Recipe of a late-interaction ranker, a TOML file with `trains = "late-interaction"`.

title, seed, encoder, dim, ridge, subnets, token_penalty
passages = [...]    n_passages      corpora, and how many of their passages the projection is fitted to
[[texts]]           queries that the subnets are fitted to, if there are any: path, kind, limit: see `TextSource`
[settings]          see `LateInteractionSettings`
[token_weights]     judged queries to which the weights of tokens are fitted: see `JudgedSettings`
[calibration]       judged queries to which probabilities are fitted: see `JudgedSettings`
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BadInputError
from elasticdenser.rankers.late_interaction_files import LateInteractionSettings
from elasticdenser.subnet import Subnet
from elasticdenser.training.settings import NonNegativeInt, PositiveFloat, PositiveInt
from elasticdenser.training.texts import TextSource


@dataclass(frozen=True, kw_only=True)
class JudgedSettings:
    """Judged queries to which something of a ranker is fitted.

    Args:
        path: A BEIR folder.
        split: Which of its judgements.
        limit: Maximum number of queries, drawn at random.
        n_passages: Maximum number of passages, drawn at random, beside the relevant ones.
        k: Nearest passages of a query that are scored, beside the relevant ones; those without a judgement count as not
            relevant.
    """

    path: str
    split: str = "train"
    limit: PositiveInt = 300
    n_passages: PositiveInt = 2000
    k: PositiveInt = 20


@dataclass(frozen=True, kw_only=True)
class LateInteractionRecipe:
    """All that determines a late-interaction ranker.

    Paths are absolute or relative to the data folder; that of an encoder is relative to the current folder.

    Args:
        title: Title of the ranker.
        seed: Seed of the passages and queries that are drawn.
        encoder: Encoder whose states are projected, with its subnets; empty is the one in this package.
        dim: Dimensions of a token's vector.
        passages: Corpora.
        n_passages: Maximum number of their passages, drawn at random.
        texts: Sources of queries.
        subnets: Subnets that may encode queries beside the full encoder, `level0` too.
        ridge: Penalty on the projections of the subnets, as the number of tokens that would weigh as much.
        token_penalty: Penalty on the mean square of what the weights of tokens add to a logit, beside the mean
            cross-entropy of a query.
        settings: How texts are read, and how scores are used.
        token_weights: Judged queries for the weights of tokens; None weighs all alike.
        calibration: Judged queries for probabilities; None fits none.
    """

    title: str = ""
    seed: NonNegativeInt = 0
    encoder: str = ""
    dim: PositiveInt = 64
    passages: Annotated[tuple[str, ...], Meta(min_length=1)]
    n_passages: PositiveInt = 2000
    texts: tuple[TextSource, ...] = ()
    subnets: tuple[str, ...] = ()
    ridge: PositiveFloat = 10.0
    token_penalty: PositiveFloat = 0.1
    settings: LateInteractionSettings = field(default_factory=LateInteractionSettings)
    token_weights: JudgedSettings | None = None
    calibration: JudgedSettings | None = None

    def __post_init__(self) -> None:
        for name in self.subnets:
            Subnet.parse(name)
        if self.subnets and not self.texts:
            raise BadInputError("got subnets and no [[texts]], expected queries that they are fitted to: name some")

    def changed(
        self, *, encoder: str = "", index: str = "", steps: int | None = None, teacher: str = "", space: str = ""
    ) -> LateInteractionRecipe:
        """Return a copy of the recipe with another encoder; an empty one leaves it as it is.

        Raises:
            BadInputError: Something else is given, which the fit of a late-interaction ranker does not have.
        """
        if index or teacher or space or steps is not None:
            raise BadInputError(
                "got --index, --steps, --teacher or --space for a late-interaction ranker, which has none of "
                "these: leave them out"
            )
        return replace(self, encoder=encoder or self.encoder)


def late_interaction_recipe(value: dict[str, Any]) -> LateInteractionRecipe:
    """Return the recipe of a TOML file's content, without `trains`.

    Raises:
        BadInputError: Settings are unknown or out of range.
    """
    if isinstance(value.get("texts"), dict):
        raise BadInputError("texts is a single table, expected a list of tables: write [[texts]]")
    return from_value(LateInteractionRecipe, value, "recipe")
