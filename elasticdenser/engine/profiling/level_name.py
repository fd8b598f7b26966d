"""Names of levels: a subnet of the query encoder, and what is reranked behind it, such as `w1-d6+50:w0.5-d3`.

An `@` begins an escalation, such as `w0.5-d3@0.08:w1-d6`: queries whose best hits are hard to tell apart, here by less
than .08, are encoded and searched again by a larger subnet; see `retrieval.escalation`.

A `+` begins a stage of reranking: the number of candidates, a colon, and the subnet of the ranker that scores them. A
cascade has several: `w1-d6+100:w0.25-d1+30:w0.5-d3` scores 100 candidates, and the best 30 of them again. A number
alone at the end is the weight of the first stage's scores where it is not the one that the ranker recommends. The
search effort is not part of the name.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

_NAME = re.compile(
    r"(?P<subnet>[^+@]+)(?:@(?P<escalation>[0-9][-.0-9e]*:[^+@:,\s]+))?"
    r"(?P<stages>(?:\+[0-9]{1,9}:[^+:,\s]+)*)(?P<weight>\+[0-9][-.0-9e]*)?"
)


class RerankStage(NamedTuple):
    """Stage of reranking.

    Attributes:
        n_candidates: Number of candidates that are scored.
        subnet: Subnet of the ranker that scores them.
    """

    n_candidates: int
    subnet: str


class LevelName(NamedTuple):
    """Parts of a level's name.

    Attributes:
        subnet: Subnet of the query encoder.
        stages: Stages of reranking in their order; none if the level does not rerank.
        reranking: The same as `--rerank` takes it, such as `100:w0.25-d1,30:w0.5-d3`; empty without stages.
        escalation: Margin and larger subnet of an escalation, such as `0.08:w1-d6`; empty if the level has none.
    """

    subnet: str
    stages: tuple[RerankStage, ...] = ()
    reranking: str = ""
    escalation: str = ""


def level_name(subnet: str, reranking: str) -> str:
    """Return the name of a level.

    Args:
        subnet: Subnet of the query encoder.
        reranking: What is reranked, such as `100:w0.25-d1,30:w0.5-d3`, each stage with its subnet.
    """
    return "+".join([subnet, *reranking.split(",")])


def escalated_name(subnet: str, margin: float, larger: str) -> str:
    """Return the name of a level that escalates.

    Args:
        subnet: Subnet of the query encoder.
        margin: Margin below which a query escalates, above 0; the name has three digits of it.
        larger: The larger subnet.
    """
    digits = np.format_float_positional(margin, precision=3, unique=False, fractional=False, trim="-")
    return f"{subnet}@{digits}:{larger}"


@lru_cache(maxsize=1024)
def parse_level_name(name: str) -> LevelName:
    """Return the parts of a level's name; a name of another form is that of a subnet."""
    match = _NAME.fullmatch(name)
    if match is None or (match["weight"] and not match["stages"]):
        return LevelName(name)
    escalation = match["escalation"] or ""
    if not match["stages"]:
        return LevelName(match["subnet"], escalation=escalation)
    spelled = match["stages"][1:].split("+")
    parts = (stage.partition(":") for stage in spelled)
    stages = tuple(RerankStage(int(n_candidates), subnet) for n_candidates, _, subnet in parts)
    return LevelName(match["subnet"], stages, ",".join(spelled) + (match["weight"] or ""), escalation)
