"""A recipe for tests of whole trainings of a ranker; `training_helpers.write_data` writes its data."""

from __future__ import annotations

from pathlib import Path

RANKER_RECIPE = """
trains = "ranker"
encoder = "{encoder}"
seed = 1
passages = ["corpus.jsonl"]
max_length = 48
max_query_length = 12
snapshot_every = 4
candidates = 2
[[texts]]
path = "queries.txt"
kind = "queries"
limit = 30
[[query_sets]]
path = "train"
split = "train"
[lists]
n_hard = 4
hard_depth = 10
n_random = 3
[[teachers]]
kind = "encoder"
path = "{encoder}"
[init]
lists = 16
importance_lists = 8
[train]
steps = 10
batch = 4
list_size = 4
learning_rate = 1e-3
exit_learning_rate = 1e-3
warm_up = 2
bfloat16 = false
[[dev_lists]]
path = "dev"
split = "dev"
measure = "nDCG@10"
k = 10
exact = true
"""


def write_train_set(folder: Path) -> None:
    """Write train/, a BEIR folder made of dev/: queries that are halves of passages, of the split `train`."""
    (folder / "train" / "qrels").mkdir(parents=True)
    (folder / "train" / "queries.jsonl").write_text((folder / "dev" / "queries.jsonl").read_text())
    (folder / "train" / "qrels" / "train.tsv").write_text((folder / "dev" / "qrels" / "dev.tsv").read_text())


def write_ranker_recipe(folder: Path, encoder: Path, *changes: tuple[str, str]) -> Path:
    """Write the recipe, with some of its text replaced."""
    text = RANKER_RECIPE.format(encoder=encoder)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "ranker.toml"
    path.write_text(text)
    return path
