"""Cold start: seconds by phase and peak memory from nothing to hits, each run in a process of its own.

    python eval/bench/cold_start.py indexes/wiki
    python eval/bench/cold_start.py indexes/wiki --query "who wrote dune" --rounds 15 --subnets w1-d6 w0.5-d3 level0

The command is `elasticdenser search INDEX QUERY`, timed as a whole process. The phases are those of a program that does
the same by the Python interface; the first query packs the weights of its subnet. The index stays in the page cache
between runs, so that reading from disk is not part of the times.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from report import append_result, print_table

ROOT = Path(__file__).parents[2]

# Prints the end of each phase, by the clock that all processes share.
_PROGRAM = """
import sys, time
from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.encoders.backends.kernel import KernelBackend
from elasticdenser.retrieval.retriever import PassageIndex, Retriever
ends = [time.monotonic()]
path, query, subnet, encoder = sys.argv[1:]
index = PassageIndex.open(path)
ends.append(time.monotonic())
retriever = Retriever(ElasticQueryEncoder.from_pretrained(encoder, device="cpu", download=False), index)
ends.append(time.monotonic())
assert list(retriever.search(query, subnet=subnet))
ends.append(time.monotonic())
print(*ends, flush=True)
"""
_PHASES = ("interpreter and imports", "index", "encoder", "first query", "exit")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--encoder", default="elasticdenser/all-MiniLM-L6-v2", help="encoder that made the index")
    parser.add_argument("--query", default="who wrote dune")
    parser.add_argument("--subnets", nargs="+", default=["w1-d6", "level0"])
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    commands, programs = {}, {}
    for subnet in options.subnets:
        path = str(options.index.resolve())
        commands[subnet] = ["-m", "elasticdenser", "search", path, options.query, "--subnet", subnet, "--offline"]
        programs[subnet] = ["-c", _PROGRAM, path, options.query, subnet, options.encoder]
    whole: dict[str, list[tuple[float, float]]] = {subnet: [] for subnet in options.subnets}
    phases: dict[str, list[list[float]]] = {subnet: [] for subnet in options.subnets}
    for number in range(options.rounds + 1):
        for subnet in options.subnets:
            seconds, mebibytes, _ = _timed(commands[subnet])
            run_phases = _timed(programs[subnet])[2]
            if number:  # the first may have to compile and to read from disk
                whole[subnet].append((seconds, mebibytes))
                phases[subnet].append(run_phases)
    rows = [_row(subnet, whole[subnet], phases[subnet]) for subnet in options.subnets]
    print_table(f"{options.index.name}, seconds, medians of {options.rounds} interleaved rounds", rows)
    append_result(
        "cold-start", {"index": options.index.name, "rounds": options.rounds, "query": options.query, "rows": rows}
    )


def _timed(arguments: Sequence[str]) -> tuple[float, float, list[float]]:
    """Run Python; return its seconds, its peak memory in MiB, and the seconds of the phases whose ends it prints.

    Raises:
        RuntimeError: It failed.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None and process.stderr is not None
    with process.stdout, process.stderr:
        printed, complaint = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    ended = time.monotonic()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed: {complaint}")
    moments = [started, *map(float, printed.split()), ended] if arguments[0] == "-c" else [started, ended]
    return ended - started, usage.ru_maxrss / 2**10, [after - before for before, after in pairwise(moments)]


def _row(subnet: str, whole: Sequence[tuple[float, float]], phases: Sequence[Sequence[float]]) -> dict[str, Any]:
    by_phase = {name: median(run[at] for run in phases) for at, name in enumerate(_PHASES)}
    return {
        "subnet": subnet,
        "command": median(seconds for seconds, _ in whole),
        "peak memory, MiB": round(median(mebibytes for _, mebibytes in whole), 1),
        **by_phase,
        "program": median(sum(run) for run in phases),
    }


if __name__ == "__main__":
    main()
