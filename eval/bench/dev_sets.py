"""The three dev sets that retention is measured on: NQ (RR@10), TriviaQA (AnswerMatch@20), DL19 (nDCG@10)."""

from __future__ import annotations

from pathlib import Path

from elasticdenser import PassageIndex
from elasticdenser.training.dev_sets import DevSet, load_dev_set
from elasticdenser.training.settings import DevSetSettings


def load_three(data: Path, wiki: Path, msmarco: Path, limit: int = 0) -> list[DevSet]:
    """Load the dev sets of a data folder, with their indexes; at most `limit` queries of each, 0 is all."""
    of_wiki, of_msmarco = PassageIndex.open(wiki), PassageIndex.open(msmarco)
    given = (
        (DevSetSettings(path="nq", split="dev", measure="RR@10", limit=limit), of_wiki),
        (DevSetSettings(path="triviaqa", measure="AnswerMatch@20", limit=limit), of_wiki),
        (DevSetSettings(path="msmarco", split="dl19", measure="nDCG@10", limit=limit), of_msmarco),
    )
    return [load_dev_set(settings, index, data=data, seed=1) for settings, index in given]
