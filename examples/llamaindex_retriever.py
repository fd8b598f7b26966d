"""Search an index from a query engine of LlamaIndex.

    pip install 'llama-index-core>=0.14'
    python examples/llamaindex_retriever.py

Needs no network: the encoder is part of elasticdenser.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine

from elasticdenser import PassageEncoder, PassageIndex
from elasticdenser.integrations.llamaindex import ElasticDenserRetriever

PASSAGES = [
    {"_id": "dune", "title": "Dune", "text": "A 1965 science fiction novel by the American author Frank Herbert."},
    {"_id": "barchan", "title": "Barchan", "text": "A crescent-shaped hill of sand that the wind has piled up."},
    {"_id": "okapi", "title": "Okapi", "text": "A striped mammal of the Congo whose nearest relative is the giraffe."},
]


def main() -> None:
    """Build an index in a temporary folder, and answer a question from what is found."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        PassageIndex.build(PASSAGES, index, PassageEncoder.from_pretrained(download=False))

        retriever = ElasticDenserRetriever.open(index, k=1, download=False)
        for node in retriever.retrieve("who wrote dune"):
            print(f"{node.score:.3f}  {node.node_id}: {node.text}")

        # In place of a language model, one that repeats its prompt.
        engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
        print(engine.query("which animal is related to the giraffe"))


if __name__ == "__main__":
    main()
