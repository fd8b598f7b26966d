"""Collect training texts of all lengths and many subjects, a text a line, for label-free training.

    python recipes/collect_texts.py DATA OUT [SOURCE ...]

DATA is the folder that `make_dev_sets.py` made: the data sets with the dev sets. OUT gets compressed text files, one a
source, that recipes name as `queries`; all take about three minutes:

- `wiki.txt.gz`: passages of `wiki/` (CC BY-SA 3.0)
- `science.txt.gz`: abstracts of `scifact/` (ODC-By 1.0), passages of `technical/papers.jsonl.gz` (research use)
- `medicine.txt.gz`: questions and answers of `medquad/` (CC BY 4.0)
- `python.txt.gz`: paragraphs of Python's enhancement proposals (public domain or CC0), docstrings of the packages that
  are installed beside this one (BSD, MIT, Apache-2.0 and the like), at most 200 modules of each
- `names.txt.gz`: qualified names of the classes and functions of the same packages, some with their parameters, and the
  messages of their exceptions (no recipe reads them yet)
- `titles.txt.gz`: titles of arXiv (CC0), wiki articles and proposals
- `system.txt.gz`: descriptions of Debian packages and manual pages, at most 20 of each program, where this machine has
  them (each under the free licence of its package)

Lengths follow those of queries and passages: spans of 2 to 40 words (log-uniform), sentences, and runs of sentences up
to a whole passage of 180 words, which is about the 256 tokens that the encoder reads. A tenth of all texts is given as
keywords (no function words), a tenth without case or punctuation, and is then a text of its own; the recipe's
`variant_share` gives such variants the vectors of the texts they were made of.

Nothing is taken from the articles, questions and answers that the dev sets hold out (`held_out.py`), and no text that
shares eight words in sequence with a query of any data set or with a docstring of Python's standard library. The
abstracts of SciFact are taken: its claims are not.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import inspect
import math
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random

from held_out import (
    HeldOutTexts,
    article_of,
    held_out_questions,
    held_out_texts,
    is_held_out_article,
    medical_pairs,
    shortened,
)

from elasticdenser.artifacts import atomic_write
from elasticdenser.datasets import open_corpus
from elasticdenser.datasets.files import read_lines
from elasticdenser.datasets.text_variants import as_keywords, without_case

MAX_WORDS = 180
MAX_CHARACTERS = 4000
"""Longer ones of at most 180 words hold encoded data."""

SPAN_WORDS = (2, 40)
KEYWORD_SHARE = CASELESS_SHARE = 0.1

MAX_MODULES = 200
"""Modules of an installed package: the largest repeat themselves, or are generated."""

MAX_SIGNATURE = 200
"""Characters of a name with its parameters."""

MAX_PAGES = 20
"""Manual pages of a program: some have one for each of thousands of subcommands."""

_RULE = re.compile(r"([^\w\s])\1{3,}")
"""Dots of a table of contents, and lines drawn with characters."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])")
_DOCSTRING_SECTION = re.compile(r"\n\s*(?:Args|Parameters|Returns|Attributes|Examples?|>>>|```)")
_STANDARD_NAMES = sys.stdlib_module_names | {"backports", "typing_extensions"}
_SKIPPED_FOLDERS = frozenset({"tests", "test", "testing", "_vendor", "site-packages"})

# Parts of a manual page in roff: comments, fonts, sizes, named characters and strings; see groff(7).
_ROFF_COMMENT = re.compile(r"\\\".*")
_ROFF_ESCAPE = re.compile(r"\\[fF](?:\(..|\[[^]]*\]|.)|\\s[+-]?\d|\\\*(?:\(..|\[[^]]*\]|.)|\\[&c|^/,:%]")
_ROFF_CHARACTER = re.compile(r"\\(?:\((..)|\[([^]]*)\])")
_ROFF_CHARACTERS = {"aq": "'", "cq": "'", "oq": "'", "dq": '"', "lq": '"', "rq": '"', "em": "-", "en": "-", "hy": "-"}
_ROFF_PARAGRAPH = re.compile(r"^\.(?:SH|SS|PP|P|LP|TP|IP|HP|RS|RE)\b.*$", re.MULTILINE)
_ROFF_LITERAL = re.compile(r"^\.(?:nf|EX|Vb)\b.*?^\.(?:fi|EE|Ve)\b.*?$", re.MULTILINE | re.DOTALL)
_ROFF_FONT = re.compile(r"^\.(?:B|I|BR|RB|IR|RI|BI|IB)\s+")


def main() -> None:
    """Collect all sources."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=f"by default all: {', '.join(SOURCES)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.sources) - set(SOURCES):
        parser.error(f"got source {', '.join(sorted(unknown))}, expected some of {', '.join(SOURCES)}")
    held_out = held_out_texts(arguments.data)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.sources or SOURCES:
        texts_of, n_pieces = SOURCES[name]
        lines = lines_of(texts_of(arguments.data), n_pieces, held_out, Random(name))
        with atomic_write(arguments.out / f"{name}.txt.gz", "wb") as file:
            file.write(gzip.compress("".join(f"{line}\n" for line in lines).encode(), compresslevel=6, mtime=0))
        lengths = sorted(len(line.split()) for line in lines) or [0]
        deciles = ", ".join(str(lengths[len(lengths) * share // 10]) for share in (1, 3, 5, 7, 9))
        print(f"{name}: {len(lines)} texts; words at 10, 30, 50, 70, 90 %: {deciles}", file=sys.stderr)


def lines_of(texts: Iterable[str], n_pieces: int, held_out: HeldOutTexts, random: Random) -> list[str]:
    """Return distinct training texts in random order, without those that repeat a held-out text.

    Args:
        texts: Texts of a source.
        n_pieces: Pieces of different lengths to cut from each of them; 0 takes them whole.
        held_out: Texts that may not be repeated.
        random: Source of randomness.
    """
    collapsed = filter(None, (" ".join(_RULE.sub(" ", text).split()) for text in texts))
    distinct = dict.fromkeys(collapsed)
    pieces = cut(distinct, n_pieces, random) if n_pieces else distinct
    variants = (varied(piece, random) for piece in pieces if not held_out.overlap(piece))
    fitting = dict.fromkeys(line for line in variants if line and len(line) <= MAX_CHARACTERS)
    # Again, because a variant may repeat what its piece does not: without its apostrophes, say.
    lines = [line for line in fitting if not held_out.overlap(line)]
    random.shuffle(lines)
    return lines


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
    pairs = medical_pairs(data)
    held_out = held_out_questions(pair["question"] for pair in pairs)
    answers_held_out = {shortened(pair["answer"]) for pair in pairs if pair["question"] in held_out}
    yield from (pair["question"] for pair in pairs if pair["question"] not in held_out)
    yield from (pair["answer"] for pair in pairs if shortened(pair["answer"]) not in answers_held_out)


def python(data: Path) -> Iterator[str]:
    """Yield paragraphs of Python's enhancement proposals, and docstrings of installed packages."""
    for passage in open_corpus([str(data / "technical" / "peps.jsonl.gz")]):
        yield passage.text
    for _, tree in installed_modules():
        yield from docstrings(tree)


def names(data: Path) -> Iterator[str]:
    """Yield names of classes and functions of installed packages, and the messages of their exceptions."""
    for name, tree in installed_modules():
        yield from qualified_names(tree, name)
        yield from messages(tree)


def installed_modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield name and syntax tree of modules of installed packages.

    Not those of the standard library, nor backports of them: a dev set is made of those.
    """
    root = Path(sysconfig.get_path("purelib"))
    modules = [path.relative_to(root) for path in root.rglob("*.py")]
    modules = [path for path in modules if not _SKIPPED_FOLDERS.intersection(path.parts)]
    modules = [path for path in modules if path.with_suffix("").parts[0] not in _STANDARD_NAMES]
    for path in some_of_each(modules, MAX_MODULES, lambda path: path.parts[0]):
        try:
            tree = ast.parse((root / path).read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError):
            continue
        parts = path.with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), tree


def qualified_names(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    """Yield the public names that a module or class defines, a third of the functions with their parameters."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        name = f"{prefix}.{node.name}"
        if isinstance(node, ast.ClassDef):
            yield name
            yield from qualified_names(node, name)
        else:
            with_parameters = int.from_bytes(sha256(name.encode()).digest()[:4], "big") % 3 == 0
            yield f"{name}({ast.unparse(node.args)})"[:MAX_SIGNATURE] if with_parameters else name


def messages(tree: ast.Module) -> Iterator[str]:
    """Yield the messages of the exceptions that a module raises, each behind its class; values stand there as `x`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call) or not node.exc.args:
            continue
        message = node.exc.args[0]
        parts = message.values if isinstance(message, ast.JoinedStr) else [message]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in parts)
        if len(text.split()) >= 4:
            yield f"{ast.unparse(node.exc.func)}: {text}"


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module, each without what follows its description."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            description = _DOCSTRING_SECTION.split(text, maxsplit=1)[0]
            if len(description.split()) >= 4 and is_prose(description):
                yield description


def is_prose(text: str) -> bool:
    """Return whether most of a text's words are of ASCII letters: whether it is neither code nor in another script."""
    words = text.split()
    return sum(word.strip(".,;:!?()[]'\"`*").isalpha() and word.isascii() for word in words) > 0.6 * len(words)


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


def system(data: Path) -> Iterator[str]:
    """Yield descriptions of Debian packages and paragraphs of manual pages; nothing where there are none."""
    if apt := shutil.which("apt-cache"):
        listed = subprocess.run([apt, "dumpavail"], capture_output=True, text=True, errors="replace", check=False)
        for match in re.finditer(r"^Description(?:-en)?: (.*(?:\n .*)*)", listed.stdout, re.MULTILINE):
            yield from re.split(r"\n \.\n", match[1])
    # A link is another name of a page.
    pages = [path for path in Path("/usr/share/man").glob("man[1-8]/*.gz") if not path.is_symlink()]
    for path in some_of_each(pages, MAX_PAGES, lambda path: re.split(r"[-_.:]", path.name)[0]):
        try:
            source = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
        except (OSError, EOFError):
            continue
        yield from manual_paragraphs(source)


def some_of_each(paths: Iterable[Path], n: int, group_of: Callable[[Path], str]) -> Iterator[Path]:
    """Yield at most `n` paths of each group, chosen by their hashes."""
    counts: Counter[str] = Counter()
    for path in sorted(paths, key=lambda path: sha256(str(path).encode()).digest()):
        counts[group_of(path)] += 1
        if counts[group_of(path)] <= n:
            yield path


def manual_paragraphs(source: str) -> Iterator[str]:
    """Yield the prose of a page in roff's `man` macros by paragraph, without its requests and font changes.

    Pages in other macros yield nothing.
    """
    _, *blocks = _ROFF_PARAGRAPH.split(_ROFF_LITERAL.sub("", source))
    for block in blocks:
        lines = (_ROFF_FONT.sub("", line) for line in _ROFF_COMMENT.sub("", block).splitlines())
        text = _ROFF_ESCAPE.sub("", " ".join(line for line in lines if not line.startswith((".", "'"))))
        text = _ROFF_CHARACTER.sub(lambda match: _ROFF_CHARACTERS.get(match[1] or match[2], " "), text)
        text = text.replace("\\", "")
        if len(text.split()) >= 6 and is_prose(text):
            yield text


def cut(texts: Iterable[str], n_pieces: int, random: Random) -> Iterator[str]:
    """Yield pieces of texts: half of them spans, a quarter sentences, a quarter runs of sentences.

    Args:
        texts: Texts with single spaces between words, none empty.
        n_pieces: Pieces to cut from each text.
        random: Source of randomness.
    """
    for text in texts:
        sentences = _SENTENCE_END.split(text)
        for _ in range(n_pieces):
            kind = random.random()
            if kind < 0.5:
                yield span_of(text.split(), random)
            elif kind < 0.75:
                yield " ".join(random.choice(sentences).split()[:MAX_WORDS])
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
        return as_keywords(text)
    return without_case(text) if chance < KEYWORD_SHARE + CASELESS_SHARE else text


SOURCES: dict[str, tuple[Callable[[Path], Iterable[str]], int]] = {
    "wiki": (wiki, 1),
    "science": (science, 3),
    "medicine": (medicine, 2),
    "python": (python, 1),
    "names": (names, 0),
    "titles": (titles, 0),
    "system": (system, 1),
}
"""Each source: its texts, and how many pieces of different lengths are cut from each of them."""


if __name__ == "__main__":
    main()
