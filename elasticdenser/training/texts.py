"""Texts of the label-free training: queries, and parts of passages, which cover the words that queries lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated

from msgspec import Meta

from elasticdenser.datasets import load_queries, open_corpus
from elasticdenser.datasets.files import read_lines, text_suffix
from elasticdenser.datasets.records import BadLine, json_object
from elasticdenser.datasets.sentences import sentence_spans
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError

_MIN_SPAN_WORDS, _MAX_SPAN_WORDS = 4, 12
"""Lengths of the queries that people type into search engines."""

_MIN_SENTENCE_CHARACTERS = 15
"""Characters of the shortest sentences that are more than an exclamation; not all languages part words by spaces."""


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Source of training texts.

    Args:
        path: A file or folder, absolute or relative to the data folder, or an id of ir_datasets.
        kind: `queries`: a text file with one query on each line, or what `load_queries` takes; of a BEIR folder with
            judgements only the split `train`. `titles`: the distinct titles of a corpus. `spans`: 4 to 12 words in
            sequence from each passage of a corpus. `sentences`: its sentences of 15 characters and more. `pairs`: the
            values of `question` in a JSONL file. `answers`: spans from the values of `answer` in such a file.
        limit: Maximum number of texts, drawn at random; 0 is all of them.

    Raises:
        BadInputError: The kind is unknown.
    """

    path: str
    kind: str
    limit: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        if self.kind not in _READERS:
            message = f"got kind {self.kind!r} of training texts, expected one of {', '.join(_READERS)}"
            raise BadInputError(message, self.path)


def training_texts(sources: Sequence[TextSource], *, data: Path, seed: int) -> list[str]:
    """Gather distinct training texts in the order of their sources; runs of white space become one space.

    The texts drawn from a source depend on the seed, on the source itself, and on the texts of earlier sources. A text
    of an earlier source does not count towards a later source's limit.

    Args:
        sources: At least one source.
        data: Folder that paths are relative to.
        seed: Seed of limits and spans.

    Returns:
        Distinct texts, none empty.

    Raises:
        BadInputError: There is no source, or a source is missing, damaged or without texts.
    """
    if not sources:
        raise BadInputError("got no sources of training texts, expected at least one")
    texts: dict[str, None] = {}
    for source in sources:
        # Not the absolute path: another machine draws the same texts.
        random = Random(f"{seed}/{source.kind}/{source.path}")
        source_texts = dict.fromkeys(_texts_of(source, data, random))
        if not source_texts:
            message = f"holds no training texts of kind {source.kind!r}, expected at least one"
            raise BadInputError(f"{message}: add texts, or choose another kind", source.path)
        new_texts = [text for text in source_texts if text not in texts]
        if 0 < source.limit < len(new_texts):
            new_texts = random.sample(new_texts, source.limit)
        texts.update(dict.fromkeys(new_texts))
    return list(texts)


def _texts_of(source: TextSource, data: Path, random: Random) -> Iterator[str]:
    path = data / source.path
    path_or_id = source.path if not path.exists() and is_dataset_id(source.path) else path
    for text in _READERS[source.kind](path_or_id, random):
        if collapsed := " ".join(text.split()):
            yield collapsed


def _queries(path: str | Path, random: Random) -> Iterable[str]:
    if isinstance(path, Path) and text_suffix(path) in ("", ".txt") and not path.is_dir():
        return (line for _, line in read_lines(path))
    # The default split would be `test` or `dev`, which nothing may be trained on.
    split = "train" if isinstance(path, Path) and (path / "qrels").is_dir() else None
    return (query.text for query in load_queries(path, split=split))


def _titles(path: str | Path, random: Random) -> Iterable[str]:
    return (passage.title for passage in open_corpus([path]))


def _spans(path: str | Path, random: Random) -> Iterable[str]:
    for passage in open_corpus([path]):
        yield _span(passage.text.split(), random)


def _sentences(path: str | Path, random: Random) -> Iterable[str]:
    for passage in open_corpus([path]):
        for start, end in sentence_spans(passage.text):
            sentence = passage.text[start:end].strip()
            if len(sentence) >= _MIN_SENTENCE_CHARACTERS:
                yield sentence


def _span(words: Sequence[str], random: Random) -> str:
    """Return some words in sequence, the first of which begins with a letter or digit; empty if there are too few."""
    starts = [start for start in range(len(words) - _MIN_SPAN_WORDS + 1) if words[start][0].isalnum()]
    if not starts:
        return ""
    start = random.choice(starts)
    return " ".join(words[start : start + random.randint(_MIN_SPAN_WORDS, _MAX_SPAN_WORDS)])


def _pairs(path: str | Path, random: Random) -> Iterable[str]:
    return _values(path, "question")


def _answers(path: str | Path, random: Random) -> Iterable[str]:
    for answer in _values(path, "answer"):
        yield _span(answer.split(), random)


def _values(path: str | Path, key: str) -> Iterator[str]:
    """Yield the values of a key in the objects of a JSONL file."""
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        try:
            value = json_object(line).get(key)
        except BadLine as error:
            raise BadInputError(error.message, path, number) from error
        if not isinstance(value, str):
            raise BadInputError(f"got {key} = {value!r}, expected a string in every object", path, number)
        yield value


_READERS: dict[str, Callable[[str | Path, Random], Iterable[str]]] = {
    "queries": _queries,
    "titles": _titles,
    "spans": _spans,
    "sentences": _sentences,
    "pairs": _pairs,
    "answers": _answers,
}
