"""`elasticdenser index`."""

from __future__ import annotations

import gzip
import json
import signal
import time
from itertools import islice

import pytest
from cli_helpers import TEXTS, assert_fails, run, run_code, start
from kernel_helpers import needs_fast_path

from elasticdenser.cli.options import dtype_of
from elasticdenser.encoders.backends import BACKENDS


def test_the_summary_of_a_build(corpus, tiny_model, tmp_path):
    path = tmp_path / "mine"
    result = run("index", str(corpus), "-o", str(path), "--encoder", str(tiny_model), "--precision", "fp32")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "3 passages" in result.stderr and "recall@10 1.000" in result.stderr
    assert f'elasticdenser search {path} "your question"' in result.stderr


@needs_fast_path
def test_an_index_of_int8_vectors_is_searched_at_every_precision(corpus, tiny_model, tmp_path):
    path, encoder = str(tmp_path / "int8"), ["--encoder", str(tiny_model)]
    result = run("index", str(corpus), "-o", path, *encoder, "--precision", "int8", "--workers", "2")
    assert result.exit_code == 0, result.output
    assert "(int8)" in run("info", path).stdout
    for precision in ("auto", "int8", "fp32", "bf16"):
        result = run("search", path, TEXTS["d1"], "-k", "1", "--json", *encoder, "--precision", precision)
        assert result.exit_code == 0, result.output
        assert [hit["doc_id"] for hit in json.loads(result.stdout)["hits"]] == ["d1"]
    assert_fails(run("index", str(corpus), "-o", path, *encoder), "'int8'", "--overwrite")


def test_a_registered_backend_is_a_precision(monkeypatch):
    monkeypatch.setitem(BACKENDS, "own", "torch.TorchBackend")
    assert dtype_of("own") == "own"


def test_precisions_and_their_spellings(corpus, tiny_model, tmp_path):
    command = ["index", str(corpus), "-o", str(tmp_path / "index"), "--encoder", str(tiny_model)]
    assert_fails(run(*command, "--precision", "int8", "--device", "cuda"), "'int8'", "cuda", "expected a CPU")
    unknown = run(*command, "--precision", "int4")
    assert unknown.exit_code == 2 and "--precision" in unknown.output
    assert not (tmp_path / "index").exists()
    for spelling in ("fp32", "float32"):
        assert run(*command, "--precision", spelling, "--overwrite").exit_code == 0
        assert "(float32)" in run("info", str(tmp_path / "index")).stdout


def index_without_torch(*args):
    """Run `index` in a process in which torch cannot be imported."""
    code = f"""if True:
        import sys
        sys.modules["torch"] = None
        sys.argv = ["elasticdenser", "index", *{args!r}]
        from elasticdenser.cli import main
        main()
    """
    return run_code(code)


@pytest.mark.slow
def test_bad_lines_and_complete_indexes_are_noticed_before_torch_is_loaded(corpus, tiny_model, tmp_path):
    path, encoder = str(tmp_path / "index"), ["--encoder", str(tiny_model), "--precision", "fp32"]
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"_id": "a"}\n' * 2000)
    done = index_without_torch(str(bad), "-o", path, *encoder)
    assert (done.returncode, done.stdout) == (1, "") and "bad.jsonl:1: " in done.stderr, done.stderr
    assert "error" in index_without_torch(str(corpus), "-o", path, *encoder).stderr.lower()
    assert run("index", str(corpus), "-o", path, *encoder).exit_code == 0
    done = index_without_torch(str(corpus), "-o", path, *encoder)
    assert done.returncode == 0 and "3 passages" in done.stderr, done.stderr
    changed = tmp_path / "changed.jsonl"
    changed.write_text('{"_id": "a", "text": "b"}\n')
    done = index_without_torch(str(changed), "-o", path, *encoder)
    assert done.returncode == 1 and "is already an index of something else" in done.stderr, done.stderr


@pytest.mark.slow
def test_a_build_resumes_after_ctrl_c(data, minilm, tmp_path):
    with gzip.open(data / "nq" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        (tmp_path / "part.jsonl").write_text("".join(islice(file, 6000)))
    args = ["index", str(tmp_path / "part.jsonl"), "-o", str(tmp_path / "mine"), "--max-length", "32", "--offline"]
    process = start(*args)
    journal = tmp_path / "mine.building" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while not (journal.exists() and journal.read_text().strip()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b""), err
    assert b"run the same command again to resume" in err
    assert b"Traceback" not in err
    assert not (tmp_path / "mine").exists()
    process = start(*args)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert b"6,000 passages" in err
