"""Path to the scripts under `recipes/`, which are no package, and made-up data sets for them."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

from held_out import is_held_out_article

RECIPES = Path(__file__).parents[2] / "recipes"

SUBJECTS = (
    "glaciers",
    "violins",
    "volcanoes",
    "enzymes",
    "harbours",
    "poems",
    "engines",
    "orchids",
    "comets",
    "markets",
)


def article_text(number: int, part: int) -> str:
    """Return three sentences that no other part of any article repeats."""
    subject = SUBJECTS[number % len(SUBJECTS)]
    return " ".join(
        f"Sentence {part}x{n} of article{number} tells how {subject}{number} and item{number}x{part}x{n} came about."
        for n in range(3)
    )


def write_lines(path: Path, records: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def write_data_sets(data: Path) -> None:
    """Write a few texts of each of the data sets that the scripts read."""
    # Some held-out articles, some whose passages are only searched, some others.
    held_out = [number for number in range(1000) if is_held_out_article(f"wiki-{number}")][:4]
    articles = [*held_out, *range(1001, 1030)]
    for name, parts in (("corpus-00-07", range(4)), ("corpus-08-15", range(4, 6))):
        records = [
            {"_id": f"wiki-{number}-{part}", "title": f"Title of article{number}", "text": article_text(number, part)}
            for number in articles
            for part in parts
        ]
        write_lines(data / "wiki" / f"{name}.jsonl.gz", records)
    pairs = [
        {"question": f"What is disease{n} ?", "answer": f"An illness number{n} that patient{n} may get."}
        for n in range(1200)
    ]
    write_lines(data / "medquad" / "pairs.jsonl.gz", pairs)
    abstracts = [{"_id": f"s{n}", "title": f"Study {n}", "text": f"We show finding{n} in mice{n}."} for n in range(30)]
    # An abstract that repeats a claim.
    claim = "Treatment with compound seven lowers the pressure of blood in older mice"
    abstracts.append({"_id": "s30", "title": "Repeated", "text": f"{claim}."})
    write_lines(data / "scifact" / "corpus.jsonl.gz", abstracts)
    write_lines(data / "scifact" / "queries.jsonl.gz", [{"_id": "1", "text": claim}, {"_id": "2", "text": "Unjudged"}])
    (data / "scifact" / "qrels").mkdir()
    (data / "scifact" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n1\ts30\t1\n1\ts3\t1\n")
    write_lines(data / "technical" / "papers.jsonl.gz", [{"_id": "t0", "title": "", "text": "A thesis on queues."}])
    write_lines(data / "technical" / "peps.jsonl.gz", [{"_id": "p0", "title": "PEP 0", "text": "On style in code."}])
    write_lines(data / "technical" / "arxiv-titles.txt.gz", ["Attention in bees", "Attention in bees"])
    rows = io.StringIO()
    writer = csv.DictWriter(rows, ["qtext", "label", "atext"])
    writer.writeheader()
    writer.writerows(
        {"qtext": f"Where is place {n // 2} ?", "label": str(n % 2), "atext": f"Place {n // 2} is at {n}."}
        for n in range(8)
    )
    for part in ("train", "dev"):
        (data / "trecqa").mkdir(exist_ok=True)
        (data / "trecqa" / f"{part}.csv.gz").write_bytes(gzip.compress(rows.getvalue().encode()))
