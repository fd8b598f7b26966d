"""Dev sets on which retention is measured: NQ (RR@10), TriviaQA (AnswerMatch@20) and TREC DL 2019 (nDCG@10)."""

from __future__ import annotations

from pathlib import Path

from elasticdenser import PassageIndex
from elasticdenser.training.dev_sets import DevSet, load_dev_set
from elasticdenser.training.settings import DevSetSettings


def load_dev_sets(data: Path, wiki: Path, msmarco: Path, limit: int = 0) -> list[DevSet]:
    """Load the three dev sets.

    Args:
        data: Folder with the queries and their judgements.
        wiki: Index of Wikipedia passages, for NQ and TriviaQA.
        msmarco: Index of MS MARCO passages, for TREC DL 2019.
        limit: Number of queries of each dev set, drawn at random; 0 for all.
    """
    wiki_index, msmarco_index = PassageIndex.open(wiki), PassageIndex.open(msmarco)
    dev_sets = (
        (DevSetSettings(path="nq", split="dev", measure="RR@10", limit=limit), wiki_index),
        (DevSetSettings(path="triviaqa", measure="AnswerMatch@20", limit=limit), wiki_index),
        (DevSetSettings(path="msmarco", split="dl19", measure="nDCG@10", limit=limit), msmarco_index),
    )
    return [load_dev_set(settings, index, data=data, seed=1) for settings, index in dev_sets]
