"""Make the passages and judged queries that the ranker of all-MiniLM-L6-v2 is trained on.

    python recipes/make_ranker_data.py DATA OUT [--wiki-per-mille 300]

DATA is the folder of the data sets (`nq/`, `wiki/`, `msmarco/`, `scifact/`, `trecqa/`, `medquad/`, `triviaqa/`,
`queries/`). OUT becomes the folder that the recipe takes as `--data`:

- `passages.jsonl.gz`: the passages of all sets and of some articles of `wiki/`, each id behind the name of its set.
- `nq`, `scifact`, `trecqa`, `medquad`: queries, and judgements in `qrels/train.tsv`; of `nq`, `trecqa` and `medquad`
  also `qrels/dev.tsv`, of other queries.
- `queries` and `triviaqa`: links to those of DATA.

Only passages are taken from `msmarco/`, none of its queries or judgements: those are for tests. The held-out medical
questions are those of `make_dev_sets.py`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from held_out import article_of, hash_per_mille, held_out_questions, medical_pairs, shortened
from make_dev_sets import write_json_lines

from elasticdenser.artifacts import atomic_write
from elasticdenser.datasets import Passage, load_qrels, load_queries, open_corpus

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> relevance."""

WIKI = "wiki/corpus-00-07.jsonl.gz"


def main() -> None:
    """Make passages, queries and judgements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--wiki-per-mille", type=int, default=300, help="share of the articles of wiki/ to take")
    arguments = parser.parse_args()
    data, out = arguments.data.resolve(), arguments.out
    if not 0 <= arguments.wiki_per_mille <= 1000:
        parser.error(f"got --wiki-per-mille {arguments.wiki_per_mille}, expected 0 to 1000")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("queries", "triviaqa"):
        if not (out / name).is_symlink():
            (out / name).symlink_to(data / name)
    passages = [*beir_passages(data, "nq"), *beir_passages(data, "msmarco"), *beir_passages(data, "scifact")]
    passages += wiki_passages(data, arguments.wiki_per_mille)
    for name, splits in (("nq", ("train", "dev")), ("scifact", ("train",))):
        queries = {query.query_id: query.text for split in splits for query in load_queries(data / name, split=split)}
        write_queries(out / name, queries, {split: beir_qrels(data, name, split) for split in splits})
    for name, made in (("trecqa", trecqa(data)), ("medquad", medquad(data))):
        own, queries, qrels = made
        passages += own
        write_queries(out / name, queries, qrels)
    records = ({"_id": p.doc_id, "title": p.title, "text": p.text} for p in passages)
    write_json_lines(out / "passages.jsonl.gz", records)
    sys.stderr.write(f"{out}: {len(passages):,} passages\n")


def beir_passages(data: Path, name: str) -> Iterator[Passage]:
    """Yield the passages of a BEIR folder, each id behind the name of the set."""
    for passage in open_corpus([data / name]):
        yield Passage(f"{name}-{passage.doc_id}", passage.text, passage.title)


def beir_qrels(data: Path, name: str, split: str) -> dict[str, dict[str, int]]:
    """Return the judgements of a split of a BEIR folder, document ids as in `beir_passages`."""
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for qrel in load_qrels(data / name, split=split):
        judged[qrel.query_id][f"{name}-{qrel.doc_id}"] = int(qrel.relevance)
    return judged


def wiki_passages(data: Path, per_mille: int) -> Iterator[Passage]:
    """Yield the passages of some articles, which have ids of their own."""
    for passage in open_corpus([data / WIKI]):
        if hash_per_mille(article_of(passage.doc_id) + "/ranker") < per_mille:
            yield passage


def trecqa(data: Path) -> tuple[list[Passage], dict[str, str], dict[str, Qrels]]:
    """Return the sentences of TREC QA, and the questions of both parts that have an answer."""
    sentences: dict[str, str] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, dict[str, int]]] = {}
    taken: set[str] = set()
    for part in ("dev", "train"):
        questions: dict[str, dict[str, int]] = defaultdict(dict)
        text = gzip.decompress((data / "trecqa" / f"{part}.csv.gz").read_bytes()).decode()
        for row in csv.DictReader(io.StringIO(text)):
            sentence = sentences.setdefault(row["atext"], f"trecqa-{len(sentences)}")
            if part == "dev" or row["qtext"] not in taken:
                questions[row["qtext"]][sentence] = int(row["label"])
        taken |= set(questions)
        qrels[part] = {}
        for question, judged in questions.items():
            if any(judged.values()):
                queries[query_id := f"{part}-{len(queries)}"] = question
                qrels[part][query_id] = judged
    return [Passage(id_, text) for text, id_ in sentences.items()], queries, dict(qrels)


def medquad(data: Path) -> tuple[list[Passage], dict[str, str], dict[str, Qrels]]:
    """Return all distinct answers; questions that are held out are of the split `dev`."""
    pairs = medical_pairs(data)
    numbers = {
        text: f"medquad-{n}" for n, text in enumerate(dict.fromkeys(shortened(pair["answer"]) for pair in pairs))
    }
    held_out = held_out_questions([pair["question"] for pair in pairs])
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for pair in pairs:
        judged[pair["question"]][numbers[shortened(pair["answer"])]] = 1
    ids = {question: f"q{n}" for n, question in enumerate(sorted(judged))}
    qrels: dict[str, dict[str, dict[str, int]]] = {"train": {}, "dev": {}}
    for question, query_id in ids.items():
        qrels["dev" if question in held_out else "train"][query_id] = judged[question]
    queries = {query_id: question for question, query_id in ids.items()}
    return [Passage(number, text) for text, number in numbers.items()], queries, dict(qrels)


def write_queries(folder: Path, queries: Mapping[str, str], qrels: Mapping[str, Qrels]) -> None:
    """Write queries and judgements by split in the layout of BEIR; each file appears only once it is complete."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    write_json_lines(folder / "queries.jsonl.gz", ({"_id": id_, "text": text} for id_, text in queries.items()))
    for split, judged in qrels.items():
        with atomic_write(folder / "qrels" / f"{split}.tsv") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            file.writelines(_lines(judged))


def _lines(judged: Qrels) -> Iterable[str]:
    for query_id, by_document in judged.items():
        for doc_id, relevance in by_document.items():
            yield f"{query_id}\t{doc_id}\t{relevance}\n"


if __name__ == "__main__":
    main()
