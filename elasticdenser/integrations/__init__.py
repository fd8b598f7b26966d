"""Retrievers for other frameworks: LangChain, LlamaIndex and Haystack; each module needs the extra of its framework."""
