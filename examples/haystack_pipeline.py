"""Write documents to an index with Haystack, and search it from a pipeline.

    pip install 'haystack-ai>=3'
    python examples/haystack_pipeline.py

Needs no network: the encoder is part of elasticdenser.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from haystack import Document, Pipeline
from haystack.components.builders import PromptBuilder

from elasticdenser.integrations.haystack import ElasticDenserDocumentStore, ElasticDenserRetriever

DOCUMENTS = [
    Document(
        id="dune",
        content="A 1965 science fiction novel by the American author Frank Herbert.",
        meta={"title": "Dune", "section": "books"},
    ),
    Document(
        id="barchan",
        content="A crescent-shaped hill of sand that the wind has piled up.",
        meta={"title": "Barchan", "section": "nature"},
    ),
    Document(
        id="okapi",
        content="A striped mammal of the Congo whose nearest relative is the giraffe.",
        meta={"title": "Okapi", "section": "nature"},
    ),
]


def main() -> None:
    """Write documents to an index in a temporary folder, and make the prompt of a model from what is found."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        # In a pipeline that indexes, this would be the store of a DocumentWriter.
        ElasticDenserDocumentStore(index, encoder_options={"download": False}).write_documents(DOCUMENTS)

        template = "Answer from this text alone: {{ documents[0].content }}\n\nQuestion: {{ question }}"
        pipeline = Pipeline()
        pipeline.add_component("retriever", ElasticDenserRetriever(index, top_k=1, open_options={"download": False}))
        pipeline.add_component("prompt", PromptBuilder(template, required_variables="*"))
        pipeline.connect("retriever.documents", "prompt.documents")

        # A generator would be connected to the prompt.
        question = "which animal is related to the giraffe"
        filters = {"field": "meta.section", "operator": "==", "value": "nature"}
        result = pipeline.run(
            {"retriever": {"query": question, "filters": filters}, "prompt": {"question": question}},
            include_outputs_from={"retriever"},
        )
        for document in result["retriever"]["documents"]:
            print(f"{document.score:.3f}  {document.id}: {document.content}")
        print(result["prompt"]["prompt"])


if __name__ == "__main__":
    main()
