"""Search by words: BM25 over postings that are stored beside the vectors of an index."""

from elasticdenser.index.lexical.analysis import DEFAULT_STEMMER, Analyzer
from elasticdenser.index.lexical.search import LexicalPart, LexicalSearch

__all__ = ["DEFAULT_STEMMER", "Analyzer", "LexicalPart", "LexicalSearch"]
