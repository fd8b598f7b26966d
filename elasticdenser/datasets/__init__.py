"""Corpora, queries, judgements and answers: from files, BEIR folders and ir_datasets."""

from elasticdenser.datasets.corpora import BadLines, Corpus, Located, open_corpus
from elasticdenser.datasets.dpr import DprQuestion, read_dpr_questions, register_dpr_questions
from elasticdenser.datasets.irds import load_irds
from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.qrels import load_qrels
from elasticdenser.datasets.queries import load_answers, load_queries
from elasticdenser.datasets.scan import CorpusScan, scan_corpus, unique_passages

__all__ = [
    "BadLines",
    "Corpus",
    "CorpusScan",
    "DprQuestion",
    "Located",
    "Passage",
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
