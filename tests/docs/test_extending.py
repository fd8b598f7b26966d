"""The four examples of docs/extending.md work as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from documents import CHECKOUT, ROOT, blocks_of

DOCUMENT = ROOT / "docs" / "extending.md"
RUNNER = Path(__file__).parent / "run_extension.py"
SHIPPED = ROOT / "elasticdenser" / "pretrained" / "all-MiniLM-L6-v2"
PASSAGES = [
    '{"_id": "d1", "title": "Dune", "text": "A 1965 science fiction novel by Frank Herbert, who wrote five more."}',
    '{"_id": "d2", "title": "Neuromancer", "text": "The 1984 debut novel of William Gibson, about hackers."}',
    '{"_id": "d3", "title": "Barchan", "text": "A crescent-shaped hill of sand that the wind has piled up."}',
]


def run(heading: str, folder: Path) -> str:
    command = [sys.executable, str(RUNNER), heading]
    result = subprocess.run(command, cwd=folder, env=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def folder(tmp_path, minilm) -> Path:
    """Folder with an index in `indexes/mine`."""
    from elasticdenser import PassageIndex

    (tmp_path / "passages.jsonl").write_text("\n".join(PASSAGES) + "\n", encoding="utf-8")
    PassageIndex.build(tmp_path / "passages.jsonl", tmp_path / "indexes" / "mine", minilm)
    return tmp_path


def test_each_section_has_a_module_a_registry_line_and_a_use():
    titles = [block.title for block in blocks_of(DOCUMENT) if block.language == "python"]
    assert titles[2::3] == ["use"] * 4
    assert all(title.startswith("elasticdenser/") for title in [*titles[0::3], *titles[1::3]])
    assert not any((ROOT / title).exists() for title in titles[0::3]), "an example has the name of a module"
    assert all((ROOT / title).is_file() for title in titles[1::3])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("transformers") is None, reason="needs pip install transformers")
def test_backend_searches_with_an_mpnet(tiny_model, tmp_path):
    from transformers import MPNetConfig, MPNetModel

    encoder = tmp_path / "path" / "to" / "encoder"
    shutil.copytree(tiny_model, encoder)
    bert = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    config = MPNetConfig(
        **{key: bert[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")},
        intermediate_size=64,
    )
    MPNetModel(config).save_pretrained(encoder)
    (tmp_path / "passages.jsonl").write_text("\n".join(PASSAGES) + "\n", encoding="utf-8")
    assert re.fullmatch(r"w1-d2 d\d\n", run("An encoder backend", tmp_path))


def test_backend_agrees_with_torch(tiny_model, tiny_query_encoder):
    pytest.importorskip("transformers")
    from elasticdenser.models.locate import find_model

    block = next(block for block in blocks_of(DOCUMENT) if block.title.endswith("backends/reference.py"))
    names: dict[str, object] = {"__name__": "example"}
    exec(compile(block.text, block.title, "exec"), names)
    settings = tiny_query_encoder.settings
    backend = names["ReferenceBackend"].load(  # type: ignore[attr-defined]
        find_model(str(tiny_model)), settings, dtype="float64", device="cpu", trained_subnets=False
    )
    token_ids = [[2, 10, 11, 12, 3], [2, 10, 3]]
    expected = tiny_query_encoder._backend.forward(token_ids, tiny_query_encoder.full_subnet)
    np.testing.assert_allclose(backend.forward(token_ids, backend.full_subnet), expected, atol=1e-5)


@pytest.mark.slow
def test_policy(tmp_path):
    shutil.copy(SHIPPED / "profile.json", tmp_path)
    lines = run("A scheduling policy", tmp_path).splitlines()
    in_time = {line.split()[0]: float(re.findall(r"in time ([\d.]+)%", line)[0]) for line in lines}
    assert in_time["elastic"] > 95
    assert 0 < in_time["greedy"] < in_time["elastic"]


@pytest.mark.slow
def test_search_structure(folder):
    assert "recall@10 1.0\n" in run("A search structure", folder)


@pytest.mark.slow
def test_reranker(folder):
    first, second = run("A reranker", folder).splitlines()
    assert first.endswith("d1") and not second.endswith("d1")
