"""Make the dev sets that small subnets are judged on: long queries and subjects far from web questions.

    python recipes/make_dev_sets.py DATA OUT

DATA is the folder of the data sets (`nq/`, `wiki/`, `medquad/`, `scifact/`, `trecqa/`, ...). OUT becomes a folder that
the suite `eval/suites/subjects-local.toml` and recipes take as `--data`: links to the sets of DATA, and six more in the
layout of BEIR, each with judgements in `qrels/dev.tsv`:

- `dev/scifact`: claims of science; find the abstracts that support or refute them.
- `dev/medquad`: medical questions; find the answer.
- `dev/wiki-leads`: the first 30, 60 or 90 words of an article; find the rest of it.
- `dev/keywords`: the most telling words of a paragraph, without function words; find the paragraph.
- `dev/python-docs`: names of Python's standard library; find what their docstrings say.
- `dev/trecqa`: factoid questions of TREC; find a sentence that answers them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random

from held_out import (
    article_of,
    hash_per_mille,
    held_out_questions,
    is_held_out_article,
    medical_pairs,
    shortened,
    words_of,
)

from elasticdenser.artifacts import atomic_write
from elasticdenser.datasets import Passage, load_qrels, load_queries, open_corpus
from elasticdenser.datasets.python_docs import python_docs

CORPUS_PER_MILLE = 100
"""Share of the articles whose passages are searched for leads and keywords: some 15,000 passages."""

LEAD_WORDS = (30, 60, 90)
N_KEYWORD_QUERIES = 600
N_NAMES = 1000

MIN_DOCSTRING_WORDS = 8
"""Shorter docstrings say too little to be found by a name."""

Judgements = Mapping[str, Iterable[str]]


def main() -> None:
    """Make all dev sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("out", type=Path, help="folder to make")
    arguments = parser.parse_args()
    data, out = arguments.data.resolve(), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    for source in sorted(data.iterdir()):
        link = out / source.name
        if source.is_dir() and source.name != "dev" and source != out.resolve() and not link.is_symlink():
            link.symlink_to(source)
    makers = {
        "scifact": lambda: scifact(data),
        "medquad": lambda: medquad(data),
        "wiki-leads": lambda: wiki_leads(data),
        "keywords": lambda: keywords(data),
        "python-docs": names_of_python,
        "trecqa": lambda: trecqa(data),
    }
    for name, make in makers.items():
        passages, queries, judgements = make()
        write_set(out / "dev" / name, passages, queries, judgements)
        print(f"{name}: {len(queries)} queries over {len(passages)} passages", file=sys.stderr)


Made = tuple[list[Passage], dict[str, str], Judgements]


def scifact(data: Path) -> Made:
    """Return the training claims of SciFact with judgements, over all abstracts."""
    judged: dict[str, list[str]] = defaultdict(list)
    for qrel in load_qrels(data / "scifact", split="train"):
        judged[qrel.query_id].append(qrel.doc_id)
    queries = {query.query_id: query.text for query in load_queries(data / "scifact", split="train")}
    return list(open_corpus([str(data / "scifact")])), {id_: queries[id_] for id_ in judged}, judged


def medquad(data: Path) -> Made:
    """Return held-out medical questions over all distinct answers."""
    pairs = medical_pairs(data)
    numbers = {answer: str(n) for n, answer in enumerate(dict.fromkeys(shortened(pair["answer"]) for pair in pairs))}
    questions = held_out_questions([pair["question"] for pair in pairs])
    judged: dict[str, dict[str, None]] = defaultdict(dict)
    for pair in pairs:
        if pair["question"] in questions:
            judged[pair["question"]][numbers[shortened(pair["answer"])]] = None
    ids = {question: f"q{n}" for n, question in enumerate(sorted(judged))}
    passages = [Passage(number, text) for text, number in numbers.items()]
    return passages, {id_: question for question, id_ in ids.items()}, {ids[q]: judged[q] for q in ids}


def wiki_leads(data: Path) -> Made:
    """Return the leads of held-out articles over the later passages of a tenth of all articles."""
    passages, queries, judged = [], {}, defaultdict(list)
    for passage in searched_passages(data):
        article, _, number = passage.doc_id.rpartition("-")
        if number != "0":
            passages.append(Passage(passage.doc_id, passage.text))
            if is_held_out_article(article):
                judged[article].append(passage.doc_id)
        elif is_held_out_article(article):
            words = passage.text.split()
            queries[article] = " ".join(words[: LEAD_WORDS[hash_per_mille(article + "/lead") % len(LEAD_WORDS)]])
    # An article of one or two passages has too little to be found by its subject.
    ids = [article for article in queries if len(judged[article]) >= 3]
    return passages, {id_: queries[id_] for id_ in ids}, {id_: judged[id_] for id_ in ids}


def keywords(data: Path) -> Made:
    """Return three to six telling words of held-out passages over the passages of a tenth of all articles.

    The words are those of the highest tf-idf in the passage, in the order in which they stand there; a simulated
    known-item query as by Azzopardi, de Rijke and Balog (2007).
    """
    passages = [Passage(passage.doc_id, passage.text, passage.title) for passage in searched_passages(data)]
    frequencies = Counter(word for passage in passages for word in set(words_of(passage.text)))
    candidates = [passage for passage in passages if is_held_out_article(article_of(passage.doc_id))]
    random = Random(0)
    queries, judged = {}, {}
    for passage in random.sample(candidates, min(N_KEYWORD_QUERIES, len(candidates))):
        words = Counter(words_of(passage.text))
        weights = {word: n * math.log(len(passages) / frequencies[word]) for word, n in words.items() if len(word) > 2}
        best = set(sorted(weights, key=lambda word: (-weights[word], word))[: random.randint(3, 6)])
        if not best:
            continue
        queries[passage.doc_id] = " ".join(word for word in words if word in best)
        judged[passage.doc_id] = [passage.doc_id]
    return passages, queries, judged


def names_of_python() -> Made:
    """Return names of the standard library over its docstrings, which stand there without the names."""
    # Functions with the same docstring share a passage, which is the answer to the name of each.
    numbers: dict[str, str] = {}
    documented: list[tuple[str, str]] = []
    for passage in python_docs():
        body = passage.text.partition("\n")[2] if passage.text.startswith(passage.title) else passage.text
        if len(words_of(body)) >= MIN_DOCSTRING_WORDS:
            documented.append((passage.title.partition("(")[0], numbers.setdefault(body, str(len(numbers)))))
    chosen = dict(Random(0).sample(documented, min(N_NAMES, len(documented))))
    passages = [Passage(number, body) for body, number in numbers.items()]
    queries = {f"n{position}": name for position, name in enumerate(chosen)}
    return passages, queries, {f"n{position}": [number] for position, number in enumerate(chosen.values())}


def trecqa(data: Path) -> Made:
    """Return the dev questions of TREC QA that have an answer, over the sentences of its train and dev parts."""
    sentences: dict[str, str] = {}
    questions: dict[str, str] = {}
    judged: dict[str, dict[str, None]] = defaultdict(dict)
    for part in ("train", "dev"):
        text = gzip.decompress((data / "trecqa" / f"{part}.csv.gz").read_bytes()).decode()
        for row in csv.DictReader(io.StringIO(text)):
            sentence = sentences.setdefault(row["atext"], f"s{len(sentences)}")
            if part == "dev" and row["label"] == "1":
                judged[questions.setdefault(row["qtext"], f"q{len(questions)}")][sentence] = None
    passages = [Passage(id_, text) for text, id_ in sentences.items()]
    return passages, {id_: text for text, id_ in questions.items()}, judged


def searched_passages(data: Path) -> Iterator[Passage]:
    """Yield the passages of the articles that leads and keywords are searched among."""
    for passage in open_corpus([str(data / "wiki" / "corpus-00-07.jsonl.gz")]):
        if hash_per_mille(article_of(passage.doc_id)) < CORPUS_PER_MILLE:
            yield passage


def write_set(folder: Path, passages: list[Passage], queries: Mapping[str, str], judged: Judgements) -> None:
    """Write a dev set in the layout of BEIR; each file appears only once it is complete."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    write_json_lines(
        folder / "corpus.jsonl.gz", ({"_id": p.doc_id, "title": p.title, "text": p.text} for p in passages)
    )
    write_json_lines(folder / "queries.jsonl.gz", ({"_id": id_, "text": text} for id_, text in queries.items()))
    with atomic_write(folder / "qrels" / "dev.tsv") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"{query_id}\t{doc_id}\t1\n" for query_id in queries for doc_id in judged[query_id])


def write_json_lines(path: Path, records: Iterable[Mapping[str, str]]) -> None:
    """Write records as compressed JSON lines, the same bytes each time."""
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with atomic_write(path, "wb") as file:
        file.write(gzip.compress(lines.encode(), mtime=0))


if __name__ == "__main__":
    main()
