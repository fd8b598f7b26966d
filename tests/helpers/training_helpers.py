"""Data and a recipe for tests of whole trainings: a few texts, and a few steps."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = ("dune", "desert", "planet", "novel", "csv", "file", "header", "thread", "wait", "lock", "sort", "list", "key")


RECIPE = """
encoder = "{encoder}"
seed = 1
passages = ["corpus.jsonl"]
n_neighbours = 2
target_dtype = "float32"
snapshot_every = 4
candidates = 2
[[texts]]
path = "queries.txt"
kind = "queries"
[[texts]]
path = "corpus.jsonl"
kind = "titles"
[init]
batch = 16
exit_batches = 3
first_batches = 2
importance_batches = 1
[distil]
steps = 10
batch = 16
learning_rate = 1e-3
exit_learning_rate = 1e-3
warm_up = 2
n_random = 8
bfloat16 = false
[table]
steps = 6
batch = 16
iterations = 3
n_random = 8
[[dev_sets]]
path = "dev"
split = "dev"
measure = "RR@10"
exact = true
"""


def write_data(folder: Path) -> None:
    """Write queries.txt, corpus.jsonl, and dev/, a BEIR folder whose queries are halves of passages."""
    rng = random.Random(0)
    texts = [" ".join(rng.sample(WORDS, 8)) for _ in range(40)]
    passages = [
        {"_id": f"p{number}", "title": WORDS[number % len(WORDS)], "text": text} for number, text in enumerate(texts)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in passages))
    queries = [" ".join(rng.sample(WORDS, rng.randint(1, 5))) for _ in range(80)]
    (folder / "queries.txt").write_text("\n".join(queries) + "\n")
    (folder / "dev" / "qrels").mkdir(parents=True)
    dev_queries = [{"_id": f"q{number}", "text": " ".join(texts[number].split()[:5])} for number in range(20)]
    (folder / "dev" / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dev_queries))
    judged = "".join(f"q{number}\tp{number}\t1\n" for number in range(20))
    (folder / "dev" / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)


def write_recipe(folder: Path, encoder: Path, *changes: tuple[str, str]) -> Path:
    """Write the recipe, with some of its text replaced."""
    text = RECIPE.format(encoder=encoder)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


class Recorder:
    """Progress and log of a training, recorded; it may interrupt the training."""

    def __init__(self, stop_at: tuple[str, int] | None = None) -> None:
        self.stop_at, self.calls, self.messages = stop_at, [], []

    def __call__(self, activity: str, done: int, total: int) -> None:
        self.calls.append((activity, done))
        if (activity, done) == self.stop_at:
            raise KeyboardInterrupt

    @property
    def activities(self) -> set[str]:
        return {activity for activity, _ in self.calls}
