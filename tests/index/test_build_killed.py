"""Kill -9 of real builds: a real encoder in a process of its own, killed at random moments and started again."""

import gzip
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from elasticdenser.datasets import open_corpus
from elasticdenser.encoders import PassageEncoder
from elasticdenser.index import PassageIndex, build
from elasticdenser.index.layout import building_folder

PROGRAM = Path(__file__).parents[1] / "helpers" / "killed_build.py"
SEED = 20
WORDS = ["time", "water", "library", "thread", "socket", "index", "search", "engine", "nile", "river", "chapter"]


def run_until(command, n_lines, delay_s):
    """Start a build and kill it `delay_s` after its n-th line of progress; return the lines, and whether it ended."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if len(lines) == n_lines and delay_s:
            threading.Timer(delay_s, process.kill).start()
        elif len(lines) == n_lines:
            process.kill()
    error = process.stderr.read()
    status = process.wait()
    assert status in (0, -9), error
    return lines, status == 0


def kill_until_done(corpus, path, model, window, n_kills, seed):
    """Return the last step that was reported before each kill."""
    rng = random.Random(seed)
    command = [sys.executable, str(PROGRAM), str(corpus), str(path), model, str(window)]
    killed_in = []
    while True:
        # A few lines (reading, windows, checksums), then a part of the time that a window takes; the first kills
        # come with the first line, to hit the reading on every machine.
        n_lines = rng.randint(1, 4) if len(killed_in) < n_kills else 10**9
        early = len(killed_in) < 3
        lines, ended = run_until(command, 1 if early else n_lines, 0 if early else rng.random() * 0.05)
        if ended:
            return killed_in
        killed_in.append(lines[-1])


def assert_equal_indexes(left, right):
    assert list(left.doc_ids) == list(right.doc_ids)
    assert all(left.passage_at(at) == right.passage_at(at) for at in range(len(left)))
    cosines = (np.asarray(left.vectors) * right.vectors).sum(axis=1)
    assert cosines.min() >= 0.99999


@pytest.mark.slow
def test_real_build_killed_at_20_random_moments(tmp_path, tiny_model):
    rng = random.Random(SEED)
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text("".join(f"p{at}\t{' '.join(rng.choices(WORDS, k=rng.randint(3, 40)))}\n" for at in range(3000)))
    killed_in = kill_until_done(corpus, tmp_path / "index", str(tiny_model), 64, 20, SEED)
    assert len(killed_in) >= 12, killed_in
    assert {line.split()[0] for line in killed_in} >= {"reading", "encoding"}, killed_in
    assert not building_folder(tmp_path / "index").exists()
    encoder = PassageEncoder.from_pretrained(str(tiny_model), download=False)
    whole = PassageIndex.build(corpus, tmp_path / "whole", encoder)
    assert_equal_indexes(PassageIndex.open(tmp_path / "index", check="all"), whole)


@pytest.mark.slow
def test_real_passages_and_model_killed(tmp_path, data, minilm, monkeypatch):
    monkeypatch.setattr(build, "WINDOW", 32)
    corpus = tmp_path / "nq.jsonl"
    with gzip.open(data / "nq" / "corpus.jsonl.gz", "rt", encoding="utf-8") as source, open(corpus, "w") as target:
        target.writelines(line for _, line in zip(range(160), source, strict=False))
    model = str(minilm.location.path)
    killed_in = kill_until_done(corpus, tmp_path / "index", model, 32, 4, SEED)
    assert killed_in
    whole = PassageIndex.build(open_corpus(corpus), tmp_path / "whole", minilm)
    assert_equal_indexes(PassageIndex.open(tmp_path / "index", check="all"), whole)
