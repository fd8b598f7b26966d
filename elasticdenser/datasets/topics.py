"""TREC topics as queries: the classic `<top>` with `<num>` and `<title>`, and XML with `<topic number="...">`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from elasticdenser.datasets.files import open_stream, read_text, text_suffix, without_bom
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import QUERIES
from elasticdenser.datasets.sources import QUERY_SUFFIXES

_HEAD_BYTES = 4096
_STARTS_LIKE_TOPICS = re.compile(rb"\s*(<\?xml|<!--|<(top|topic|topics|queries)\b[^>\n]*>\s)", re.IGNORECASE)
_TOPIC = re.compile(r"<(top|topic|query)\b([^>]*)>(.*?)(?=</\1\s*>|<\1\b[^>]*>|\Z)", re.DOTALL | re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ID_ATTRIBUTE = re.compile(r"\b(?:number|id|num|qid)\s*=\s*[\"']([^\"']*)[\"']", re.IGNORECASE)
_TAG = re.compile(r"</?([A-Za-z][\w-]*)\b[^>]*>")
_ID_TAGS = ("num", "number", "id", "qid")
_TEXT_TAGS = ("title", "query", "text", "question")
_LABEL = re.compile(r"\A\s*(number|topic|title)\s*:", re.IGNORECASE)


def are_topics(path: Path) -> bool:
    """Return whether a file holds TREC topics, by its name or its first line; False for a missing file.

    Raises:
        BadInputError: The file is damaged.
    """
    if text_suffix(path) in QUERY_SUFFIXES:
        return True
    if not path.is_file():
        return False
    with open_stream(path) as stream:
        return _STARTS_LIKE_TOPICS.match(without_bom(stream.read(_HEAD_BYTES))) is not None


def topic_records(path: Path) -> Iterator[tuple[int, Record | BadLine]]:
    """Stream the topics of a file as records of queries, each with the number of its line.

    The query of a topic is its title; in XML, also `query`, `text` or `question`, or the text of the topic itself.

    Raises:
        BadInputError: The file cannot be read.
    """
    text = _COMMENT.sub(lambda comment: "\n" * comment[0].count("\n"), read_text(path))
    line, position = 1, 0
    for topic in _TOPIC.finditer(text):
        line += text.count("\n", position, topic.start())
        position = topic.start()
        yield line, _record(topic[2], topic[3])


def _record(attributes: str, body: str) -> Record | BadLine:
    parts = _parts(body)
    number = _ID_ATTRIBUTE.search(attributes)
    topic_id = number[1] if number else next((parts[tag] for tag in _ID_TAGS if tag in parts), None)
    if topic_id is None:
        return BadLine("no id", "the topic has no number: expected <num>, or <topic number=...>")
    query = next((parts[tag] for tag in _TEXT_TAGS if parts.get(tag)), parts[""] if len(parts) == 1 else None)
    if query is None:
        tags = ", ".join(f"<{tag}>" for tag in parts if tag) or "nothing"
        message = f"topic {topic_id} has no title, query, text or question: got {tags}"
        return BadLine("no text", message)
    return {QUERIES.id.names[0]: topic_id, QUERIES.text.names[0]: query}


def _parts(body: str) -> dict[str, str]:
    """Return the text after each tag up to the next, by the tag's name; text before the first tag has the name ''."""
    parts: dict[str, str] = {}
    name, start = "", 0
    for tag in _TAG.finditer(body):
        parts.setdefault(name, _plain(body[start : tag.start()]))
        name = "/" if tag[0].startswith("</") else tag[1].lower()
        start = tag.end()
    parts.setdefault(name, _plain(body[start:]))
    parts.pop("/", None)
    return parts


def _plain(text: str) -> str:
    """Return a text without its label, entities and line breaks."""
    return " ".join(html.unescape(_LABEL.sub("", text, count=1)).split())
