"""Kill -9 of real builds: a real encoder in a process of its own, killed at random moments and started again."""

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
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


@contextmanager
def builder(*args):
    """Start the program that builds again and again."""
    command = [sys.executable, str(PROGRAM), *map(str, args)]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **options) as process:
        yield process
        process.stdin.close()


def run_until(process, n_lines, delay_s):
    """Start a build and kill it `delay_s` after its n-th line of progress; return the lines, and whether it ended."""
    process.stdin.write("build\n")
    pid = int(process.stdout.readline().split()[1])
    lines = []
    while not (line := process.stdout.readline()).startswith("status"):
        assert line, "the program has ended"
        lines.append(line.strip())
        if len(lines) == n_lines:
            time.sleep(delay_s)
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(pid, signal.SIGKILL)
    status = int(line.split()[1])
    assert status in (0, -signal.SIGKILL)
    return lines, status == 0


def kill_until_done(corpus, path, model, window, n_kills, seed):
    """Start a build and kill it until one run completes; return the last step reported before each kill."""
    rng = random.Random(seed)
    killed_in = []
    with builder(corpus, path, model, window) as process:
        while True:
            # A few lines (reading, windows, checksums), then a part of the time that a window takes; the first kills
            # come with the first line, to hit the reading on every machine.
            n_lines = rng.randint(1, 4) if len(killed_in) < n_kills else 10**9
            early = len(killed_in) < 3
            lines, ended = run_until(process, 1 if early else n_lines, 0 if early else rng.random() * 0.05)
            if ended:
                return killed_in
            killed_in.append(lines[-1])


def assert_equal_indexes(left, right):
    assert list(left.doc_ids) == list(right.doc_ids)
    assert all(left.passage_at(position) == right.passage_at(position) for position in range(len(left)))
    cosines = (np.asarray(left.vectors) * right.vectors).sum(axis=1)
    assert cosines.min() >= 0.99999


@pytest.mark.slow
def test_real_build_killed_at_20_random_moments(tmp_path, tiny_model):
    rng = random.Random(SEED)
    corpus = tmp_path / "corpus.tsv"
    texts = (" ".join(rng.choices(WORDS, k=rng.randint(3, 40))) for _ in range(3000))
    corpus.write_text("".join(f"p{number}\t{text}\n" for number, text in enumerate(texts)))
    killed_in = kill_until_done(corpus, tmp_path / "index", str(tiny_model), 64, 20, SEED)
    assert len(killed_in) >= 12, killed_in
    assert {line.split()[0] for line in killed_in} >= {"reading", "encoding"}, killed_in
    assert not building_folder(tmp_path / "index").exists()
    encoder = PassageEncoder.from_pretrained(str(tiny_model), download=False)
    uninterrupted = PassageIndex.build(corpus, tmp_path / "uninterrupted", encoder)
    assert_equal_indexes(PassageIndex.open(tmp_path / "index", check="all"), uninterrupted)


@pytest.mark.slow
def test_real_passages_and_model_killed(tmp_path, data, minilm, monkeypatch):
    monkeypatch.setattr(build, "WINDOW", 32)
    corpus = tmp_path / "nq.jsonl"
    with gzip.open(data / "nq" / "corpus.jsonl.gz", "rt", encoding="utf-8") as source, open(corpus, "w") as target:
        target.writelines(line for _, line in zip(range(96), source, strict=False))
    model = str(minilm.location.path)
    killed_in = kill_until_done(corpus, tmp_path / "index", model, 32, 4, SEED)
    assert killed_in
    uninterrupted = PassageIndex.build(open_corpus(corpus), tmp_path / "uninterrupted", minilm)
    assert_equal_indexes(PassageIndex.open(tmp_path / "index", check="all"), uninterrupted)
