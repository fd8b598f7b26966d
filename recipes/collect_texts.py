"""Collect training texts of all lengths and many subjects, a text a line, for label-free training.

    python recipes/collect_texts.py DATA OUT

DATA is the folder of the data sets. OUT gets compressed text files, one a source, that recipes name as `queries`:

- `wiki.txt.gz`: passages of `wiki/` (CC BY-SA 3.0)
- `science.txt.gz`: abstracts of `scifact/` (ODC-By 1.0), passages of `technical/papers.jsonl.gz` (research use)
- `medicine.txt.gz`: questions and answers of `medquad/` (CC BY 4.0)
- `python.txt.gz`: paragraphs of Python's enhancement proposals (public domain or CC0), docstrings of the packages that
  are installed beside this one (BSD, MIT, Apache-2.0 and the like)
- `titles.txt.gz`: titles of arXiv (CC0), wiki articles and proposals
- `system.txt.gz`: manual pages and descriptions of Debian packages, where this machine has them (each under the free
  licence of its package)

Lengths follow those of queries and passages: spans of 2 to 40 words (log-uniform), sentences, and runs of sentences up
to a whole passage of 180 words, which is about the 256 tokens that the encoder reads. A tenth of all texts is given as
keywords (no function words), a tenth without case or punctuation. Nothing is taken from what the dev sets hold out
(`held_out.py`).
"""

from __future__ import annotations

import argparse
import ast
import gzip
import inspect
import json
import math
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

from held_out import article_of, held_out_questions, is_held_out_article

from elasticdenser.artifacts import atomic_write
from elasticdenser.datasets import open_corpus
from elasticdenser.datasets.files import read_lines

MAX_WORDS = 180
SPAN_WORDS = (2, 40)
KEYWORD_SHARE = CASELESS_SHARE = 0.1

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])")
_PUNCTUATION = re.compile(r"[^\w\s]+")
# fmt: off
_FUNCTION_WORDS = frozenset([
    "a", "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be",
    "been", "before", "being", "between", "both", "but", "by", "can", "could", "did", "do", "does", "doing", "down",
    "during", "each", "few", "for", "from", "further", "had", "has", "have", "having", "he", "her", "here", "hers",
    "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "may", "me", "might", "more", "most",
    "must", "my", "no", "nor", "not", "of", "off", "on", "once", "only", "or", "other", "our", "out", "over", "own",
    "same", "shall", "she", "should", "so", "some", "such", "than", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "those", "through", "to", "too", "under", "until", "up", "us", "very", "was", "we",
    "were", "what", "when", "where", "which", "while", "who", "whom", "why", "will", "with", "would", "you", "your",
])
# fmt: on


def main() -> None:
    """Collect all sources."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    data: Path = arguments.data
    # Each source: its texts, and how many pieces of different lengths are cut from each of them.
    sources: dict[str, tuple[Callable[[], Iterable[str]], int]] = {
        "wiki": (lambda: wiki(data), 1),
        "science": (lambda: science(data), 3),
        "medicine": (lambda: medicine(data), 2),
        "python": (lambda: python(data), 1),
        "titles": (lambda: titles(data), 0),
        "system": (system, 1),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, (texts_of, n_pieces) in sources.items():
        random = Random(name)
        pieces = texts_of() if n_pieces == 0 else cut(texts_of(), n_pieces, random)
        lines = list(dict.fromkeys(filter(None, (varied(" ".join(piece.split()), random) for piece in pieces))))
        random.shuffle(lines)
        with atomic_write(arguments.out / f"{name}.txt.gz", "wb") as file:
            file.write(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
        lengths = sorted(len(line.split()) for line in lines) or [0]
        deciles = ", ".join(str(lengths[len(lengths) * share // 10]) for share in (1, 3, 5, 7, 9))
        print(f"{name}: {len(lines)} texts; words at 10, 30, 50, 70, 90 %: {deciles}", file=sys.stderr)


def wiki(data: Path) -> Iterator[str]:
    """Yield passages of Wikipedia, without the articles held out."""
    for name in ("corpus-00-07.jsonl.gz", "corpus-08-15.jsonl.gz"):
        for passage in open_corpus([str(data / "wiki" / name)]):
            if not is_held_out_article(article_of(passage.doc_id)):
                yield passage.text


def science(data: Path) -> Iterator[str]:
    """Yield abstracts and passages of papers."""
    for source in (data / "scifact", data / "technical" / "papers.jsonl.gz"):
        for passage in open_corpus([str(source)]):
            yield passage.content


def medicine(data: Path) -> Iterator[str]:
    """Yield medical questions and answers, without those held out."""
    pairs = [json.loads(line) for _, line in read_lines(data / "medquad" / "pairs.jsonl.gz") if line.strip()]
    held_out = held_out_questions([pair["question"] for pair in pairs])
    answers_held_out = {pair["answer"] for pair in pairs if pair["question"] in held_out}
    yield from dict.fromkeys(pair["question"] for pair in pairs if pair["question"] not in held_out)
    yield from dict.fromkeys(pair["answer"] for pair in pairs if pair["answer"] not in answers_held_out)


def python(data: Path) -> Iterator[str]:
    """Yield paragraphs of Python's enhancement proposals, and docstrings of installed packages."""
    for passage in open_corpus([str(data / "technical" / "peps.jsonl.gz")]):
        yield passage.text
    # Not those of the standard library: a dev set is made of them.
    for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*.py")):
        if not {"tests", "test", "_vendor", "testing"} & set(path.parts):
            yield from docstrings(path)


def docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a module, each without what follows its description."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            description = re.split(r"\n\s*(?:Args|Parameters|Returns|Attributes|Examples?|>>>)", text, maxsplit=1)[0]
            if len(description.split()) >= 4:
                yield description


def titles(data: Path) -> Iterator[str]:
    """Yield titles of papers, articles and proposals."""
    for _, line in read_lines(data / "technical" / "arxiv-titles.txt.gz"):
        yield line
    for name in ("corpus-00-07.jsonl.gz", "corpus-08-15.jsonl.gz"):
        for passage in open_corpus([str(data / "wiki" / name)]):
            if not is_held_out_article(article_of(passage.doc_id)):
                yield passage.title
    for passage in open_corpus([str(data / "technical" / "peps.jsonl.gz")]):
        yield passage.title


def system() -> Iterator[str]:
    """Yield descriptions of Debian packages and paragraphs of manual pages; nothing where there are none."""
    if apt := shutil.which("apt-cache"):
        listed = subprocess.run([apt, "dumpavail"], capture_output=True, text=True, errors="replace", check=False)
        for match in re.finditer(r"^Description(?:-en)?: (.*(?:\n .*)*)", listed.stdout, re.MULTILINE):
            yield from re.split(r"\n \.\n", match[1])
    for path in sorted(Path("/usr/share/man").glob("man[1-8]/*.gz")):
        try:
            source = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
        except (OSError, EOFError):
            continue
        yield from manual_paragraphs(source)


def manual_paragraphs(source: str) -> Iterator[str]:
    """Yield the paragraphs of a page in roff's `man` macros, without its requests and font changes."""
    for block in re.split(r"^\.(?:SH|SS|PP|P|LP|TP|IP)\b.*$", source, flags=re.MULTILINE):
        lines = [line for line in block.splitlines() if not line.startswith((".", "'"))]
        text = re.sub(r"\\f[BIRP]|\\f\([A-Z]{2}|\\&|\\c", "", " ".join(lines)).replace("\\-", "-").replace("\\", "")
        if len(text.split()) >= 6:
            yield text


def cut(texts: Iterable[str], n_pieces: int, random: Random) -> Iterator[str]:
    """Yield pieces of texts: half of them spans, a quarter sentences, a quarter runs of sentences."""
    for text in texts:
        sentences = _SENTENCE_END.split(text)
        for _ in range(n_pieces):
            kind = random.random()
            if kind < 0.5:
                yield span_of(text.split(), random)
            elif kind < 0.75:
                yield random.choice(sentences)
            else:
                start = random.randrange(len(sentences)) if random.random() < 0.5 else 0
                words = " ".join(sentences[start:]).split()
                yield " ".join(words[: random.randint(min(40, len(words)), min(MAX_WORDS, len(words)))])


def span_of(words: list[str], random: Random) -> str:
    """Return some words in sequence, their number log-uniform."""
    least, most = SPAN_WORDS
    length = round(math.exp(random.uniform(math.log(least), math.log(most))))
    start = random.randrange(max(1, len(words) - length + 1))
    return " ".join(words[start : start + length])


def varied(text: str, random: Random) -> str:
    """Return a text as it is, as keywords, or without case and punctuation."""
    chance = random.random()
    if chance < KEYWORD_SHARE:
        words = _PUNCTUATION.sub(" ", text).split()
        return " ".join(word for word in words if word.lower() not in _FUNCTION_WORDS)
    if chance < KEYWORD_SHARE + CASELESS_SHARE:
        return " ".join(_PUNCTUATION.sub(" ", text.lower()).split())
    return text if len(text) < 4000 else ""


if __name__ == "__main__":
    main()
