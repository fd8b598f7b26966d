"""JSON lines, as in BEIR: `{"_id", "title", "text"}` for passages, `{"_id", "text"}` for queries."""

from __future__ import annotations

from typing import Any, ClassVar

from elasticdenser.datasets.passages import Passage
from elasticdenser.datasets.records import (
    BadLine,
    QueryRecord,
    checked_passage,
    checked_query,
    id_field,
    json_object,
    string_field,
    text_field,
)

_PASSAGE_IDS = ("_id", "id", "doc_id", "docid")
_PASSAGE_TEXTS = ("text", "contents")
_QUERY_IDS = ("_id", "id", "query_id", "qid")
_QUERY_TEXTS = ("text", "query", "question")


class JsonLines:
    """One JSON object a line; a `LineFormat`. The fields may have several usual names."""

    name: ClassVar[str] = "jsonl"
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".json", ".ndjson")

    @staticmethod
    def parse_passage(line: str, number: int, prefix: str) -> Passage:
        """Return the passage of a line; a passage with a title needs no text."""
        record = json_object(line)
        doc_id = id_field(record, _PASSAGE_IDS)
        title = string_field(record, "title")
        has_text = any(record.get(name) is not None for name in _PASSAGE_TEXTS)
        text = text_field(record, _PASSAGE_TEXTS) if has_text or not title.strip() else ""
        return checked_passage(doc_id, text, title)

    @staticmethod
    def parse_query(line: str, number: int, prefix: str) -> QueryRecord:
        """Return the query of a line, with its answers if it has any."""
        record = json_object(line)
        return checked_query(id_field(record, _QUERY_IDS), text_field(record, _QUERY_TEXTS), _answers(record))


def _answers(record: dict[str, Any]) -> list[str]:
    answers = record.get("answers")
    if answers is None:
        return []
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise BadLine("bad answers", "'answers' is not a list of strings: write [\"...\", ...], or leave it out")
    return answers
