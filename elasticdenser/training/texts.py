"""The texts of label-free training: queries, and what is cut from passages to cover the words that queries lack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal, get_args

from elasticdenser.datasets import load_queries, open_corpus
from elasticdenser.datasets.files import read_lines, text_suffix
from elasticdenser.datasets.records import BadLine, json_object
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError

Kind = Literal["queries", "titles", "spans", "pairs", "answers"]

_SPAN_WORDS = (4, 12)


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Where some of the training texts come from.

    Args:
        path: A file or folder, relative to the folder of the data sets or absolute, or an id of ir_datasets.
        kind: `queries`: a text file, one a line, or what `load_queries` takes; of a BEIR folder with judgements
            only those of its split `train`. `titles`: the distinct titles of a corpus. `spans`: 4 to 12 words in
            sequence from each passage of a corpus. `pairs`: a JSONL file with the key `question`. `answers`: such words
            from each `answer` of a file of pairs.
        limit: How many to take, at random; 0 is all of them.

    Raises:
        BadInputError: The kind is unknown, or the limit below 0.
    """

    path: str
    kind: Kind
    limit: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _READERS:
            message = f"got kind {self.kind!r} of training texts; expected one of {', '.join(get_args(Kind))}"
            raise BadInputError(message, self.path)
        if self.limit < 0:
            raise BadInputError(f"got limit {self.limit}; expected 0, which takes all, or more", self.path)


def training_texts(sources: Sequence[TextSource], *, data: Path, seed: int) -> list[str]:
    """Gather training texts, each once, in the order of their sources; runs of white space become one space.

    What is drawn from a source depends on the seed, on the source itself, and on what earlier sources gave. A text
    of an earlier source does not count towards a later one's limit.

    Args:
        sources: Where from.
        data: Folder that relative paths start from.
        seed: Of limits and spans.

    Returns:
        Distinct texts, none empty.

    Raises:
        BadInputError: There is no source, or one is missing, damaged or without texts.
    """
    if not sources:
        raise BadInputError("no source of training texts was given: name at least one")
    texts: dict[str, None] = {}
    for source in sources:
        # Not the absolute path: another machine draws the same texts.
        random = Random(f"{seed}/{source.kind}/{source.path}")
        found = dict.fromkeys(_texts_of(source, data, random))
        if not found:
            raise BadInputError(f"holds no training texts of kind {source.kind!r}: choose another kind", source.path)
        fresh = [text for text in found if text not in texts]
        if 0 < source.limit < len(fresh):
            fresh = random.sample(fresh, source.limit)
        texts.update(dict.fromkeys(fresh))
    return list(texts)


def _texts_of(source: TextSource, data: Path, random: Random) -> Iterator[str]:
    place = data / source.path
    found = source.path if not place.exists() and is_dataset_id(source.path) else place
    for text in _READERS[source.kind](found, random):
        if collapsed := " ".join(text.split()):
            yield collapsed


def _queries(path: str | Path, random: Random) -> Iterable[str]:
    if isinstance(path, Path) and text_suffix(path) in ("", ".txt") and not path.is_dir():
        return (line for _, line in read_lines(path))
    # By default it would take `test` or `dev`, which nothing may be trained on.
    split = "train" if isinstance(path, Path) and (path / "qrels").is_dir() else None
    return (query.text for query in load_queries(path, split=split))


def _titles(path: str | Path, random: Random) -> Iterable[str]:
    return (passage.title for passage in open_corpus([path]))


def _spans(path: str | Path, random: Random) -> Iterable[str]:
    for passage in open_corpus([path]):
        yield _span(passage.text.split(), random)


def _span(words: Sequence[str], random: Random) -> str:
    """Return some words in sequence, the first of which begins with a letter or digit; nothing if they are few."""
    least, most = _SPAN_WORDS
    starts = [at for at in range(len(words) - least + 1) if words[at][0].isalnum()]
    if not starts:
        return ""
    start = random.choice(starts)
    return " ".join(words[start : start + random.randint(least, most)])


def _pairs(path: str | Path, random: Random) -> Iterable[str]:
    return _values(path, "question")


def _answers(path: str | Path, random: Random) -> Iterable[str]:
    for answer in _values(path, "answer"):
        yield _span(answer.split(), random)


def _values(path: str | Path, key: str) -> Iterator[str]:
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        try:
            value = json_object(line).get(key)
        except BadLine as error:
            raise BadInputError(error.message, path, number) from error
        if not isinstance(value, str):
            raise BadInputError(f"no string {key!r} in the object: give each pair one", path, number)
        yield value


_READERS = {"queries": _queries, "titles": _titles, "spans": _spans, "pairs": _pairs, "answers": _answers}
