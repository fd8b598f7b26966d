"""Every example runs, without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from documents import CHECKOUT, ROOT

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.slow


def run(script: str, **variables: str) -> str:
    command = [sys.executable, str(EXAMPLES / script)]
    result = subprocess.run(command, env=CHECKOUT | variables, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_all_examples_are_tested():
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == {
        "search.py",
        "serve_shards.py",
        "engine_under_load.py",
        "client.py",  # tested in test_client.py
        "langchain_retriever.py",
        "llamaindex_retriever.py",
        "haystack_pipeline.py",
        "evaluation.ipynb",
    }


def test_search():
    output = run("search.py")
    for subnet in ("w1-d6", "w0.5-d3", "level0"):
        assert f"\n{subnet}\n" in output
    assert len(re.findall(r"who wrote dune +0\.\d+  dune", output)) == 3
    assert "Among two documents: neuromancer" in output


def test_engine_under_load():
    lines = run("engine_under_load.py").splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["calm", "burst", "calm"]
    assert all("p99" in line and "rejected" in line for line in lines[1:])


@pytest.mark.serial
@pytest.mark.skipif(find_spec("opencensus") is None, reason="needs the extra ray")
def test_serve_shards():
    output = run("serve_shards.py", N_PASSAGES="40")
    # Ray tells of the killed replica between the answers.
    before, after = ([line for line in part.splitlines() if "coverage" in line] for part in output.split("kill -9"))
    assert ["coverage 100%" in line for line in before + after] == [True] * 6
    assert [line[60:] for line in before] == [line[60:] for line in after]


@pytest.mark.parametrize(
    ("script", "module"),
    [
        ("langchain_retriever.py", "langchain_core"),
        ("llamaindex_retriever.py", "llama_index"),
        ("haystack_pipeline.py", "haystack"),
    ],
)
def test_integrations(script, module):
    pytest.importorskip(module, reason="needs the frameworks (make test-integrations)")
    output = run(script)
    assert re.search(r"^0\.\d+  (dune|okapi): ", output, re.MULTILINE)
    assert "whose nearest relative is the giraffe" in output


@pytest.mark.skipif(find_spec("nbclient") is None or find_spec("ipykernel") is None, reason="needs nbclient, ipykernel")
def test_evaluation_notebook():
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / "evaluation.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute(env=CHECKOUT)
    printed = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert re.search(r"^w1-d6 +RR@10 0\.\d+", printed, re.MULTILINE)
    assert re.search(r"^level0 .* p = 0\.\d+", printed, re.MULTILINE)


def test_outputs_in_the_notebook_are_small():
    notebook = json.loads((EXAMPLES / "evaluation.ipynb").read_text(encoding="utf-8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert len(json.dumps(outputs)) < 5_000
