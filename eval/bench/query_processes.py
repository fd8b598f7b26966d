"""Whole processes: from nothing to the first hits, and the memory that the encoder holds beside an index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import faiss
import numpy as np
from onnx_files import FLOAT32, onnx_file
from peers import ONNX, ST, Flat
from query_bench import Bench, Row
from report import target_columns

from elasticdenser import PassageIndex
from elasticdenser.index import layout
from elasticdenser.models.locate import find_model

QUERY = "who wrote dune"
ROUNDS, N_QUERIES = 5, 20
MIN_COLD_SPEEDUP, MAX_MB = 15, 250

_PROGRAMS = Path(__file__).with_name("query_programs.py")
_MB = 1e6
_FIELDS = {"VmRSS": "resident, MB", "RssAnon": "of these its own, MB", "VmHWM": "at most, MB"}

# Starts a command from a small process: Linux never reports a peak below that of the parent process.
_LAUNCHER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
errors = child.stderr.read()
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - started
if status:
    sys.exit(errors.decode())
print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]))
"""


def measure_cold(bench: Bench) -> tuple[str, list[Row]]:
    """Return title and rows: seconds and peak memory from the start of a process to its end, one query answered."""
    commands = _commands(bench.index, bench.cache)
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for number in range(ROUNDS + 1):  # the first brings the files into memory
        for name, command in commands.items():
            measured = json.loads(_output([sys.executable, "-c", _LAUNCHER, *command]))
            if number:
                runs[name].append(measured)
    rows = []
    for name, measured_runs in runs.items():
        x = median(base[0] / own[0] for base, own in zip(runs[ST], measured_runs, strict=True))
        seconds, cpu_seconds, peak = map(median, zip(*measured_runs, strict=True))
        row: Row = {"process": name, "seconds": seconds, "x ST": x}
        row |= {"CPU seconds": cpu_seconds, "peak memory, MB": peak / _MB}
        rows.append(row | target_columns([x], None if name in (ST, ONNX) else [MIN_COLD_SPEEDUP]))
    return f"Process from start to end, {QUERY!r}, files in the page cache, medians of {ROUNDS} rounds in turns", rows


def _commands(index: PassageIndex, cache: Path) -> dict[str, list[str]]:
    cache.mkdir(parents=True, exist_ok=True)
    flat = cache / "flat.faiss"
    faiss.write_index(Flat(index).faiss_index, str(flat))
    stored = [str(flat), str(index.path / layout.IDS), QUERY]
    program, folder = [sys.executable, str(_PROGRAMS)], str(find_model().path)
    ours = [sys.executable, "-m", "elasticdenser", "search", str(index.path), QUERY]
    return {
        ST: [*program, "sentence-transformers", folder, *stored],
        ONNX: [*program, "onnx", str(onnx_file(FLOAT32, cache)), folder, *stored],
        "elasticdenser search": ours,
        "elasticdenser search --subnet level0": [*ours, "--subnet", "level0"],
    }


def measure_memory(bench: Bench) -> tuple[str, list[Row]]:
    """Return title and rows: memory of a process that has answered at all subnets, against the index alone.

    The index alone is searched with the vectors of the same queries, so that it has read as much of its files.
    """
    index, encoder, cache, texts = bench.index, bench.encoder, bench.cache, bench.texts[:N_QUERIES]
    cache.mkdir(parents=True, exist_ok=True)
    queries, vectors = cache / "queries.json", cache / "queries.npy"
    queries.write_text(json.dumps(list(texts)), encoding="utf-8")
    np.save(vectors, np.concatenate([encoder.encode(texts, subnet) for subnet in encoder.subnets]))
    commands = {
        "index alone": ["index", str(index.path), str(vectors)],
        "index and encoder": ["all-subnets", str(index.path), str(queries)],
    }
    runs: dict[str, list[dict[str, int]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            runs[name].append(json.loads(_output([sys.executable, str(_PROGRAMS), *command])))
    rows: list[Row] = [
        {
            "process": name,
            **{title: median(run[field] for run in runs_of_name) / _MB for field, title in _FIELDS.items()},
        }
        for name, runs_of_name in runs.items()
    ]
    more = {title: rows[1][title] - rows[0][title] for title in _FIELDS.values()}
    met = "yes" if more["resident, MB"] <= MAX_MB else "no"
    rows.append({"process": "the encoder's share", **more, "target": f"at most {MAX_MB}", "met": met})
    return f"Memory after {len(texts)} queries at each of {len(encoder.subnets)} subnets, medians of {ROUNDS}", rows


def _output(command: Sequence[str]) -> str:
    one_thread = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=os.environ | one_thread, stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout
