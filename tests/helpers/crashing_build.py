"""Program that kills a build before each of its file operations in turn, and checks what is left.

Every build runs in a forked process that ends itself before its n-th operation, as if by kill -9. Then the old or the
new index must open completely (or opening must say what to do), and the same command must succeed.
"""

import builtins
import os
import shutil
import sys
from pathlib import Path

from hashing import HashingEncoder, assert_same, make_corpus

from elasticdenser.errors import IndexFormatError
from elasticdenser.index import PassageIndex, build, rebuild

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


def die_before(nth):
    """End the process before the n-th operation from now on that may change what is on disk."""
    count = 0

    def wrap(operation, name):
        def wrapped(*args, **kwargs):
            nonlocal count
            count += name != "open" or may_write(*args, **kwargs)
            if count == nth:
                os._exit(9)
            return operation(*args, **kwargs)

        return wrapped

    for module, name in OPERATIONS:
        setattr(module, name, wrap(getattr(module, name), name))


def may_write(_, mode="r", *args, **kwargs):
    """Return whether a file is opened for writing; `mode` is that of `open`, or the flags of `os.open`."""
    return bool(mode & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(mode, int) else set(mode) & set("wax+"))


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
    """Kill a scenario before each of its operations in turn, and return the number of operations."""
    scenario = globals()[f"scenario_{name}"]
    old = folder / "old"
    is_new, is_rebuilt = name.startswith("build"), name.startswith("rebuild")
    first = scenario_build_hybrid if name == "rebuild_hybrid" else scenario_build
    assert in_child(lambda: first(old)) == 0
    nth = 0
    while True:
        nth += 1
        path = folder / f"{name}-{nth}"
        if not is_new:
            shutil.copytree(old, path)

        def killed(nth=nth, path=path):
            die_before(nth)
            scenario(path)

        status = in_child(killed)
        assert status in (0, 9), (nth, status)

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
        if status == 0:
            return nth - 1


if __name__ == "__main__":
    build.WINDOW = 10
    for which in sys.argv[2:]:
        sys.stdout.write(f"{which} {try_all(which, Path(sys.argv[1]))}\n")
