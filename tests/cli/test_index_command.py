"""`elasticdenser index`."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from contextlib import closing
from importlib import metadata

import numpy as np
import pytest
from cli_helpers import TEXTS, assert_fails, assert_fails_after_notes, run, run_code, start
from kernel_helpers import needs_fast_path

import elasticdenser
from elasticdenser.cli.options import dtype_of
from elasticdenser.encoders.backends import BACKENDS
from elasticdenser.index import PassageIndex, journal
from elasticdenser.index.manifest import Manifest
from elasticdenser.kernel import paths


@pytest.mark.slow
def test_the_summary_of_a_build(corpus, tiny_model, tmp_path):
    path = tmp_path / "mine"
    result = run("index", str(corpus), "-o", str(path), "--encoder", str(tiny_model), "--precision", "fp32")
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "3 passages" in result.stderr and "recall@10 1.000" in result.stderr
    assert f'elasticdenser search {path} "your question"' in result.stderr


@pytest.mark.slow
def test_no_text_is_lost_without_a_word(tiny_model, tmp_path):
    corpus, path = tmp_path / "a.jsonl", tmp_path / "index"
    corpus.write_text('{"_id": 1, "title": "a", "body": "dune", "url": "u"}\n')
    command = ["index", str(corpus), "-o", str(path), "--encoder", str(tiny_model), "--precision", "fp32"]
    assert_fails(run(*command), "a.jsonl:1: no 'text'", "its fields are _id, body, title, url", "--text")
    result = run(*command, "--text", "body", "--title", "title+url", "--id", "_id")
    assert result.exit_code == 0 and "not read" not in result.stderr, result.output
    assert_fails_after_notes(run(*command, "--text", "bodi", "--overwrite"), "has a field 'bodi'")
    result = run(*command, "--text", "body", "--overwrite")
    assert result.stderr.count("not read: url; --text, --title and --id choose other fields") == 1
    (hit,) = json.loads(run("search", str(path), "dune", "--json", "--encoder", str(tiny_model)).stdout)["hits"]
    assert (hit["doc_id"], hit["title"], hit["text"]) == ("1", "a", "dune")


@pytest.mark.slow
def test_what_became_a_passage_of_plain_text_is_said(tiny_model, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "my day.txt").write_text("one\ntwo\n")
    command = ["--encoder", str(tiny_model), "--precision", "fp32"]
    result = run("index", str(tmp_path / "notes"), "-o", str(tmp_path / "a"), *command)
    assert "1 file of plain text: each is one passage" in result.stderr and "a: 1 passages" in result.stderr
    result = run("index", str(tmp_path / "notes" / "my day.txt"), "-o", str(tmp_path / "b"), *command)
    assert "1 file of plain text: each line is one passage" in result.stderr and "b: 2 passages" in result.stderr


@pytest.mark.slow
def test_documents_of_a_folder_become_sections_and_what_is_left_out_is_said(tiny_model, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("# Guide\n\nFirst.\n\n## Use\n\nThen.\n")
    (notes / "b.html").write_bytes(b"binary\0")
    command = ["--encoder", str(tiny_model), "--precision", "fp32"]
    result = run("index", str(notes), "-o", str(tmp_path / "a"), *command)
    assert "a: 2 passages" in result.stderr, result.output
    assert f"left out: {notes / 'b.html'} (binary)" in result.stderr and "skipped 1: binary" in result.stderr
    result = run("index", str(notes), "-o", str(tmp_path / "b"), *command, "--chunk", "24")
    (hit,) = json.loads(run("search", str(tmp_path / "b"), "Then.", "-k", "1", "--json", *command[:2]).stdout)["hits"]
    assert (hit["doc_id"], hit["title"]) == ("a.md#use#0", "Guide > Use")


def test_a_query_to_sqlite_is_a_corpus(tiny_model, tmp_path):
    with closing(sqlite3.connect(tmp_path / "docs.db")) as connection, connection:
        connection.execute("CREATE TABLE docs AS SELECT 1 AS id, 'dune' AS body")
    source = f"sqlite:{tmp_path / 'docs.db'}?query=SELECT id, body AS text FROM docs"
    command = ["-o", str(tmp_path / "index"), "--encoder", str(tiny_model), "--precision", "fp32"]
    result = run("index", source, *command)
    assert "index: 1 passages" in result.stderr, result.output
    assert_fails(
        run("index", source + " WHERE", *command, "--overwrite"), "cannot be read by the query", "incomplete input"
    )


@pytest.mark.slow
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


@pytest.mark.slow
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
    """Run `index` in a process in which torch is found, but cannot be imported."""
    code = f"""if True:
        import sys
        from importlib.machinery import ModuleSpec

        class Finder:
            def find_spec(self, name, path=None, target=None):
                return ModuleSpec(name, self) if name == "torch" else None

            def create_module(self, spec):
                raise ImportError("torch is imported")

        sys.meta_path.insert(0, Finder())
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


INTERRUPTED = """if True:
    import sys, time
    from elasticdenser.cli import main
    from elasticdenser.index import build, journal

    build.WINDOW = 8
    append_window = journal.append_window

    def append_and_wait(*args, **options):
        append_window(*args, **options)
        print("ready", file=sys.stderr, flush=True)
        for _ in range(6000):  # a signal ends it
            time.sleep(0.01)

    journal.append_window = append_and_wait
    main()
"""
"""The command, which waits for a signal once it has finished a window of passages."""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_a_build_resumes_after_ctrl_c_and_sigterm(tiny_model, tmp_path, number, code):
    lines = (json.dumps({"_id": str(number), "text": f"text {number}"}) for number in range(20))
    (tmp_path / "part.jsonl").write_text("\n".join(lines))
    args = ["index", str(tmp_path / "part.jsonl"), "-o", str(tmp_path / "mine")]
    args += ["--encoder", str(tiny_model), "--precision", "fp32"]
    process = start(*args, command=[sys.executable, "-c", INTERRUPTED])
    while (line := process.stderr.readline()) != b"ready\n":
        assert line, "the build ended before its first window"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, b""), err
    assert b"run the same command again to resume" in err
    assert b"Traceback" not in err
    assert not (tmp_path / "mine").exists()
    assert journal.n_finished(tmp_path / "mine.building") == 8
    result = run(*args)
    assert result.exit_code == 0, result.output
    assert "20 passages" in result.stderr
    assert len(PassageIndex.open(tmp_path / "mine", check="all")) == 20


def test_an_output_below_a_file_is_refused(corpus):
    result = run("index", str(corpus), "-o", f"{corpus}/index")
    assert result.exit_code == 2 and "is a file, not a folder" in " ".join(result.stderr.replace("│", " ").split())


def test_a_checkout_that_is_not_installed_indexes(corpus, tiny_model, tmp_path, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    monkeypatch.setattr(metadata, "distribution", absent)
    args = ["-o", str(tmp_path / "index"), "--encoder", str(tiny_model), "--precision", "fp32"]
    result = run("index", str(corpus), *args)
    assert result.exit_code == 0, result.output
    assert Manifest.read(tmp_path / "index").software == elasticdenser.__version__


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.parametrize(
    ("options", "way_out"),
    [(["--precision", "bf16"], "use --precision int8 or fp32"), (["--device", "cuda"], "use --device cpu")],
)
def test_without_torch_what_it_computes_is_refused_before_the_work(
    corpus, tiny_model, tmp_path, without_torch, options, way_out
):
    args = ["-o", str(tmp_path / "index"), "--encoder", str(tiny_model), *options]
    assert_fails(run("index", str(corpus), *args), "(extra 'train'): pip install 'torch>=", way_out)
    assert not list(tmp_path.iterdir())


@needs_fast_path
def test_without_torch_passages_are_encoded_in_8_bits(corpus, tiny_model, tmp_path, without_torch):
    result = run("index", str(corpus), "-o", str(tmp_path / "index"), "--encoder", str(tiny_model))
    assert result.exit_code == 0, result.output
    assert "encoded in 8 bits (--precision int8" in result.stderr and "extra 'train'" in result.stderr
    assert Manifest.read(tmp_path / "index").encoder.dtype == "int8"


@pytest.mark.slow
@needs_fast_path
def test_float32_is_the_same_with_and_without_torch(corpus, tiny_model, tmp_path, monkeypatch):
    args = [str(corpus), "--encoder", str(tiny_model), "--precision", "fp32", "-o"]
    assert run("index", *args, str(tmp_path / "with")).exit_code == 0
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "torch", None)
        result = run("index", *args, str(tmp_path / "without"))
    assert result.exit_code == 0, result.output
    made = [PassageIndex.open(tmp_path / name) for name in ("with", "without")]
    assert [index.manifest.encoder.dtype for index in made] == ["float32", "float32"]
    assert (made[0].vectors != made[1].vectors).any()
    np.testing.assert_allclose(made[1].vectors, made[0].vectors, atol=1e-4)


def test_without_torch_and_kernel_one_line_names_the_extra(corpus, tiny_model, tmp_path, without_torch, monkeypatch):
    monkeypatch.setattr(paths, "_available", ())
    args = ["-o", str(tmp_path / "index"), "--encoder", str(tiny_model)]
    assert_fails(run("index", str(corpus), *args), "without our kernel (it was not built here", "extra 'train'")
    assert not list(tmp_path.iterdir())
