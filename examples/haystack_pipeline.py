"""Search an index from a Haystack pipeline.

    pip install 'haystack-ai>=3'
    python examples/haystack_pipeline.py

Needs no network: the encoder is part of elasticdenser.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from haystack import Pipeline
from haystack.components.builders import PromptBuilder

from elasticdenser import PassageEncoder, PassageIndex
from elasticdenser.integrations.haystack import ElasticDenserRetriever

PASSAGES = [
    {"_id": "dune", "title": "Dune", "text": "A 1965 science fiction novel by the American author Frank Herbert."},
    {"_id": "barchan", "title": "Barchan", "text": "A crescent-shaped hill of sand that the wind has piled up."},
    {"_id": "okapi", "title": "Okapi", "text": "A striped mammal of the Congo whose nearest relative is the giraffe."},
]


def main() -> None:
    """Build an index in a temporary folder, and make the prompt of a model from what is found."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        PassageIndex.build(PASSAGES, index, PassageEncoder.from_pretrained(download=False))

        template = "Answer from this text alone: {{ documents[0].content }}\n\nQuestion: {{ question }}"
        pipeline = Pipeline()
        pipeline.add_component("retriever", ElasticDenserRetriever(index, top_k=1, open_options={"download": False}))
        pipeline.add_component("prompt", PromptBuilder(template, required_variables="*"))
        pipeline.connect("retriever.documents", "prompt.documents")

        # A generator would be connected to the prompt.
        question = "which animal is related to the giraffe"
        result = pipeline.run(
            {"retriever": {"query": question}, "prompt": {"question": question}}, include_outputs_from={"retriever"}
        )
        for document in result["retriever"]["documents"]:
            print(f"{document.score:.3f}  {document.id}: {document.content}")
        print(result["prompt"]["prompt"])


if __name__ == "__main__":
    main()
