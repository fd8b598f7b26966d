"""Corpora, queries, judgements and answers: from files, BEIR folders and ir_datasets.

Names are imported when they are first used, because a search needs only `Passage`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elasticdenser.lazy_imports import lazy_attributes

if TYPE_CHECKING:
    from elasticdenser.datasets.corpora import Corpus, LocatedPassage, open_corpus
    from elasticdenser.datasets.dpr import DprQuestion, read_dpr_questions, register_dpr_questions
    from elasticdenser.datasets.in_memory import as_corpus
    from elasticdenser.datasets.irds import load_irds
    from elasticdenser.datasets.passages import Passage
    from elasticdenser.datasets.qrels import load_qrels
    from elasticdenser.datasets.queries import Query, load_answers, load_queries
    from elasticdenser.datasets.scan import CorpusScan, scan_corpus, unique_passages
    from elasticdenser.datasets.schema import FieldNames
    from elasticdenser.datasets.skipped import SkippedLines

_MODULES = {
    "Corpus": "corpora",
    "CorpusScan": "scan",
    "DprQuestion": "dpr",
    "FieldNames": "schema",
    "LocatedPassage": "corpora",
    "Passage": "passages",
    "Query": "queries",
    "SkippedLines": "skipped",
    "as_corpus": "in_memory",
    "load_answers": "queries",
    "load_irds": "irds",
    "load_qrels": "qrels",
    "load_queries": "queries",
    "open_corpus": "corpora",
    "read_dpr_questions": "dpr",
    "register_dpr_questions": "dpr",
    "scan_corpus": "scan",
    "unique_passages": "scan",
}

__all__ = [
    "Corpus",
    "CorpusScan",
    "DprQuestion",
    "FieldNames",
    "LocatedPassage",
    "Passage",
    "Query",
    "SkippedLines",
    "as_corpus",
    "load_answers",
    "load_irds",
    "load_qrels",
    "load_queries",
    "open_corpus",
    "read_dpr_questions",
    "register_dpr_questions",
    "scan_corpus",
    "unique_passages",
]

__getattr__ = lazy_attributes(__name__, _MODULES)
