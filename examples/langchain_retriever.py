"""Search an index from a LangChain chain.

    pip install 'langchain-core>=1'
    python examples/langchain_retriever.py

Needs no network: the encoder is part of elasticdenser.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from elasticdenser import PassageEncoder, PassageIndex
from elasticdenser.integrations.langchain import ElasticDenserRetriever

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

        retriever = ElasticDenserRetriever.open(index, k=1, download=False)
        for document in retriever.invoke("who wrote dune"):
            print(f"{document.metadata['score']:.3f}  {document.id}: {document.page_content}")

        # The beginning of a chain; a chat model and a parser of its answer would follow.
        prompt = ChatPromptTemplate.from_template("Answer from this text alone: {text}\n\nQuestion: {question}")
        text = retriever | RunnableLambda(lambda documents: "\n\n".join(found.page_content for found in documents))
        chain = {"text": text, "question": RunnablePassthrough()} | prompt
        print(chain.invoke("which animal is related to the giraffe").to_string())


if __name__ == "__main__":
    main()
