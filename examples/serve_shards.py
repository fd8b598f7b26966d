"""Index a corpus in two shards on Ray, serve them with two replicas each, and kill a replica: nothing is lost.

    pip install 'elasticdenser[ray,serve]' && python examples/serve_shards.py

`make demo-ray` does the same from nothing. On Linux: processes are found in /proc.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from itertools import islice
from pathlib import Path
from typing import Any

from elasticdenser.datasets.python_docs import python_docs

QUESTIONS = ("read a csv file with headers", "wait for several threads to finish", "add two numbers")
N_PASSAGES = int(os.environ.get("N_PASSAGES", "600"))
CLI = [sys.executable, "-m", "elasticdenser"]


def main() -> None:
    """Run the demonstration."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, index = Path(folder) / "corpus.jsonl", Path(folder) / "index"
        passages = islice(python_docs(), N_PASSAGES)
        lines = (json.dumps({"_id": p.doc_id, "title": p.title, "text": p.text}) for p in passages)
        corpus.write_text("\n".join(lines), encoding="utf-8")
        subprocess.run([*CLI, "index", str(corpus), "-o", str(index), "--shards", "2", "--ray", "local"], check=True)
        options = ["--ray", "local", "--replicas", "2", "--deadline-ms", "2000", "--port", "0", "--no-access-log"]
        server = subprocess.Popen([*CLI, "serve", str(index), *options], stderr=subprocess.PIPE, text=True)
        try:
            ask_and_kill(url_of(server))
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=120)


def ask_and_kill(url: str) -> None:
    """Ask the questions, then again while a replica of the first shard is killed."""
    while not is_ready(url):
        time.sleep(0.5)
    for question in QUESTIONS:
        show(question, ask(url, question))
    victim = replicas("00000")[0]
    print(f"\nkill -9 {victim}, a replica of shard 00000")
    os.kill(victim, signal.SIGKILL)
    for question in QUESTIONS:
        show(question, ask(url, question))


def ask(url: str, question: str) -> dict[str, Any]:
    """Return the result of a question."""
    body = json.dumps({"query": question, "k": 1}).encode()
    request = urllib.request.Request(f"{url}/search", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        result: dict[str, Any] = json.load(response)["results"][0]
        return result


def show(question: str, result: dict[str, Any]) -> None:
    """Print the best hit, and which share of the passages was searched."""
    print(f"{question:36} coverage {result['coverage']:.0%}   {result['hits'][0]['title']}")


def url_of(server: "subprocess.Popen[str]") -> str:
    """Return the URL that the server prints when it listens."""
    assert server.stderr is not None
    for line in server.stderr:
        print(line, end="", file=sys.stderr)
        if found := re.match(r"serving (http\S+)", line):
            return found[1]
    raise SystemExit("the server has ended")


def is_ready(url: str) -> bool:
    """Return whether the server can answer."""
    try:
        with urllib.request.urlopen(f"{url}/readyz"):
            return True
    except urllib.error.HTTPError:
        return False


def replicas(shard: str) -> list[int]:
    """Return the processes of a shard's replicas, by the titles that Ray gives them."""
    titles = {path: (path / "cmdline").read_bytes() for path in Path("/proc").glob("[0-9]*") if path.exists()}
    return [
        int(path.name)
        for path, title in titles.items()
        if title.startswith(b"ray::ServeReplica:elasticdenser-") and f"-{shard}:".encode() in title
    ]


if __name__ == "__main__":
    main()
