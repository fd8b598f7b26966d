"""Program that kills a build before each of its file operations in turn, and checks what is left.

Every build runs in a forked process that ends itself before its n-th operation, as if by kill -9. Then the old or the
new index must open completely (or opening must say what to do), and the same command must succeed. Operations that
find the same files as an earlier one are left out: a kill before them leaves the same.
"""

import builtins
import gc
import hashlib
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hashing import HashingEncoder, assert_same, make_corpus

from elasticdenser.errors import IndexFormatError
from elasticdenser.index import PassageIndex, build, rebuild
from elasticdenser.index.structures import index_structure

OPERATIONS = [
    (os, "replace"),
    (os, "link"),
    (os, "rename"),
    (os, "fsync"),
    (os, "truncate"),
    (os, "unlink"),
    (os, "rmdir"),
    (os, "mkdir"),
    (os, "open"),
    (builtins, "open"),
]


@contextmanager
def each_operation(action):
    """Call `action` with 1, 2, ... before each operation that may change what is on disk."""
    count, originals = 0, [getattr(module, name) for module, name in OPERATIONS]

    def wrap(operation, name):
        def wrapped(*args, **kwargs):
            nonlocal count
            if name != "open" or may_write(*args, **kwargs):
                count += 1
                action(count)
            return operation(*args, **kwargs)

        return wrapped

    for (module, name), operation in zip(OPERATIONS, originals, strict=True):
        setattr(module, name, wrap(operation, name))
    try:
        yield
    finally:
        for (module, name), operation in zip(OPERATIONS, originals, strict=True):
            setattr(module, name, operation)


def killed_before(nth):
    """End the process before the n-th operation that may change what is on disk."""
    return each_operation(lambda count: os._exit(9) if count == nth else None)


def may_write(_, mode="r", *args, **kwargs):
    """Return whether a file is opened for writing; `mode` is that of `open`, or the flags of `os.open`."""
    return bool(mode & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(mode, int) else set(mode) & set("wax+"))


def files_of(path):
    """Return a checksum of all files whose paths begin with `path`: of their names and contents."""
    checksum = hashlib.sha256()
    for root in sorted(path.parent.glob(f"{path.name}*")):
        for entry in (root, *sorted(root.rglob("*"))):
            content = entry.read_bytes() if entry.is_file() else b"(a folder)"
            checksum.update(f"{entry} {len(content)} ".encode() + content)
    return checksum.digest()


def kills_worth_trying(work, path):
    """Return the operations of `work` before which the files are in a new state; then the number after the last one."""
    first, n = {}, 0

    def note(count):
        nonlocal n
        n = count
        first.setdefault(files_of(path), count)

    with each_operation(note):
        work(path)
    return [*first.values(), n + 1]


def prepare_for_forks():
    """Start no threads of OpenMP, which do not survive a fork, wait for no disk, and leave nothing to the collector."""
    os.fsync = np.memmap.flush = lambda *args: None  # a kill, unlike a power failure, loses no writes
    index_structure.cpu_count = lambda: 1
    gc.collect()
    gc.freeze()  # collections then leave what was imported alone, and children share its memory


def in_child(task):
    """Run `task` in a forked process, and return its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            task()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check(path, words, n):
    """Check that a complete index of `n` passages, made with one of the words, is at `path`; return it and the word."""
    index = PassageIndex.open(path, check="all")
    word = index.passage_at(0).text.split()[0]
    assert word in words, word
    assert_same(index, n, word, metadata=True)
    return index, word


def check_words(index, name):
    """Check that the words of the passages are found, if they are indexed; return the stemmer."""
    assert name.endswith("hybrid") == (index.lexical is not None)
    if index.lexical is None:
        return None
    assert index.lexical.search("7", 3)[1].tolist() == [7]
    assert len(index.lexical.search("passages", 30)[1]) == 25
    return index.lexical.analyzer.stemmer


def scenario_build(path):
    PassageIndex.build(make_corpus(25, metadata=True), path, HashingEncoder())


def scenario_overwrite(path):
    PassageIndex.build(make_corpus(25, "other", metadata=True), path, HashingEncoder(), overwrite=True)


def scenario_rebuild(path):
    rebuild(path, "HNSW4")


def scenario_build_hybrid(path):
    PassageIndex.build(make_corpus(25, metadata=True), path, HashingEncoder(), hybrid=True)


def scenario_rebuild_hybrid(path):
    rebuild(path, hybrid=True, stemmer="english")


def try_all(name, folder):
    """Kill a scenario before each operation that finds new files; return the numbers of kills and operations."""
    scenario = globals()[f"scenario_{name}"]
    old = folder / "old"
    is_new, is_rebuilt = name.startswith("build"), name.startswith("rebuild")
    first = scenario_build_hybrid if name == "rebuild_hybrid" else scenario_build
    first(old)
    unharmed = folder / "unharmed"
    if not is_new:
        shutil.copytree(old, unharmed)
    kills = kills_worth_trying(scenario, unharmed)
    check(unharmed, ("passage", "other"), 25)  # what is imported here, the children need not import
    prepare_for_forks()
    for nth in kills:
        path = folder / f"{name}-{nth}"
        if not is_new:
            shutil.copytree(old, path)

        def killed(nth=nth, path=path):
            with killed_before(nth):
                scenario(path)

        assert in_child(killed) == (0 if nth == kills[-1] else 9), nth

        def check_remains(path=path):
            try:
                index, _ = check(path, ("passage",) if is_new else ("passage", "other"), 25)
                check_words(index, name)
            except IndexFormatError as error:
                assert not path.exists() and not is_rebuilt, error
                assert any(word in str(error) for word in ("run the same", "does not exist")), error

        def repeat(path=path):
            scenario(path)
            index, word = check(path, ("passage", "other"), 25)
            assert word == ("other" if name == "overwrite" else "passage")
            assert index.manifest.structure.factory == ("HNSW4" if name == "rebuild" else "Flat")
            assert check_words(index, name) == {"build_hybrid": "porter", "rebuild_hybrid": "english"}.get(name)
            allowed = {*index.manifest.files, "manifest.json", ".checked.json"}
            assert {entry.name for entry in path.iterdir()} <= allowed, sorted(path.iterdir())
            assert not [p for p in path.parent.iterdir() if p.name.startswith(path.name + ".")]

        for task in (check_remains, repeat):
            assert in_child(task) == 0, (name, nth, task.__name__)
        shutil.rmtree(path)
    return len(kills), kills[-1] - 1


if __name__ == "__main__":
    build.WINDOW = 10
    prepare_for_forks()
    for which in sys.argv[2:]:
        n_kills, n_operations = try_all(which, Path(sys.argv[1]))
        sys.stdout.write(f"{which} {n_kills} {n_operations}\n")
