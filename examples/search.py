"""Search a small corpus from Python: write a JSONL file, build an index, search it with several subnets.

    python examples/search.py

Needs no network: the encoder is part of the package.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from elasticdenser import ElasticQueryEncoder, PassageEncoder, PassageIndex, Retriever

PASSAGES = [
    {"_id": "dune", "title": "Dune", "text": "A 1965 science fiction novel by the American author Frank Herbert."},
    {"_id": "neuromancer", "title": "Neuromancer", "text": "The 1984 debut novel of William Gibson, about hackers."},
    {"_id": "barchan", "title": "Barchan", "text": "A crescent-shaped hill of sand that the wind has piled up."},
    {"_id": "python", "title": "Python", "text": "A programming language that Guido van Rossum released in 1991."},
    {"_id": "okapi", "title": "Okapi", "text": "A striped mammal of the Congo whose nearest relative is the giraffe."},
]
QUERIES = {"q1": "who wrote dune", "q2": "animal related to the giraffe", "q3": "sand dune shaped like a crescent"}


def main() -> None:
    """Build an index in a temporary folder and print the best hits of each query."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "passages.jsonl"
        corpus.write_text("".join(json.dumps(passage) + "\n" for passage in PASSAGES), encoding="utf-8")

        # Passages are encoded once, by the full encoder.
        passage_encoder = PassageEncoder.from_pretrained(download=False)
        index = PassageIndex.build(corpus, Path(folder) / "index", passage_encoder)

        # The same index answers queries of every subnet of the elastic query encoder.
        query_encoder = ElasticQueryEncoder.from_pretrained(download=False)
        retriever = Retriever(query_encoder, index)
        for subnet in ("w1-d6", "w0.5-d3", "level0"):
            print(f"\n{subnet}")
            for hit in retriever.search(QUERIES, k=1, subnet=subnet):
                print(f"  {QUERIES[hit.query_id]:34} {hit.score:.3f}  {hit.doc_id}")

        # Only among some documents; their scores are exact.
        (hit,) = retriever.search("a novel", k=1, doc_ids={"neuromancer", "python"})
        print(f"\nAmong two documents: {hit.doc_id}: {index.passage(hit.doc_id).text}")


if __name__ == "__main__":
    main()
