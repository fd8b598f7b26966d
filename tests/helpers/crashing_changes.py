"""Program that kills changes of an index before each of their file operations in turn, and checks what is left.

Every change runs in a forked process that ends itself before its n-th operation, as if by kill -9. Then the index must
open completely, as it was before or after the change, and the same change must succeed and leave nothing behind.
"""

import shutil
import sys
from pathlib import Path

from crashing_build import in_child, killed_before, kills_worth_trying, prepare_for_forks
from hashing import HashingEncoder, make_corpus, make_passages

from elasticdenser.datasets import Passage
from elasticdenser.index import PassageIndex
from elasticdenser.index.contents import IndexContents

OLD = make_passages(12, metadata=True)
NEW = [Passage(doc_id="d3é", text="other"), Passage(doc_id="new", text="new number", metadata={"number": 5, "size": 1})]
SECOND = Passage(doc_id="d2é", text="second", metadata={"number": 2})


def build(path):
    PassageIndex.build(make_corpus(12, metadata=True), path, HashingEncoder(), hybrid=True)


def build_and_change(path):
    build(path)
    index = PassageIndex.open(path).delete(["d1é", "d7é"], compact=False)
    index.add([SECOND], encoder=HashingEncoder(), compact=False)


CHANGED = [*(p for p in OLD if p.doc_id not in ("d1é", "d2é", "d7é")), SECOND]


def add(path):
    PassageIndex.open(path).add(NEW, encoder=HashingEncoder(), compact=False, metadata="all")


def delete(path):
    PassageIndex.open(path).delete(["d3é", "d4é"], missing_ok=True, compact=False)


def compact(path):
    PassageIndex.open(path).compact()


def snapshot(path):
    target = path.with_name(f"{path.name}-snapshot")
    if not target.exists():
        PassageIndex.open(path).snapshot(target)


def without(passages, *doc_ids):
    return [p for p in passages if p.doc_id not in doc_ids]


SCENARIOS = {
    "add": (build_and_change, add, CHANGED, [*without(CHANGED, "d3é"), *NEW]),
    "convert": (build, delete, OLD, without(OLD, "d3é", "d4é")),
    "delete": (build_and_change, delete, CHANGED, without(CHANGED, "d3é", "d4é")),
    "compact": (build_and_change, compact, CHANGED, CHANGED),
    "snapshot": (build_and_change, snapshot, CHANGED, CHANGED),
}
"""Name -> function that makes the index, the change, and the passages before and after."""


def held_by(path):
    """Return the passages of an index, after checking everything in it."""
    index = PassageIndex.open(path, check="all")
    passages = [index.passage_at(position) for position in range(len(index))]
    assert list(index.doc_ids) == [p.doc_id for p in passages]
    vectors = HashingEncoder().encode([p.content for p in passages])
    assert (index.vectors[:] == vectors).all()
    _, positions = index.search(vectors, 1)
    assert positions[:, 0].tolist() == list(range(len(passages))), positions
    for word in ("number", "other", "second"):
        holding = [position for position, p in enumerate(passages) if word in p.text]
        assert sorted(index.lexical.search(word, 100)[1].tolist()) == holding
    numbers = [(p.metadata or {}).get("number", -1) for p in passages]
    assert index.matches("number >= 3").positions.tolist() == [n for n, number in enumerate(numbers) if number >= 3]
    return passages


def check_tidy(path):
    contents = IndexContents.read(path)
    found = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file() and file.name != ".checked.json"}
    manifests = {f"{segment.path}/manifest.json" for segment in contents.segments}
    assert found == {*contents.manifest.files, *manifests, "manifest.json"}, found
    others = [entry.name for entry in path.parent.iterdir() if entry.name.startswith(f"{path.name}.")]
    assert not others, others


def try_all(name, folder):
    """Kill a change before each of its operations that finds new files; return the numbers of kills and operations."""
    make, change, before, after = SCENARIOS[name]
    old, unharmed = folder / "old", folder / "unharmed"
    make(old)
    # Once here, so that the children find everything imported: imports took most of their time.
    shutil.copytree(old, unharmed)
    PassageIndex.open(unharmed)  # here and below, so that nothing has to be verified after the copy
    kills = kills_worth_trying(change, unharmed)
    held_by(unharmed)
    prepare_for_forks()
    for nth in kills:
        path = folder / f"{name}-{nth}"
        shutil.copytree(old, path)
        PassageIndex.open(path)

        def killed(nth=nth, path=path):
            with killed_before(nth):
                change(path)

        status = in_child(killed)
        assert status == (0 if nth == kills[-1] else 9), (name, nth, status)

        def check(path=path, status=status):
            held = held_by(path)
            assert held == after or (status == 9 and held == before), held
            target = path.with_name(f"{path.name}-snapshot")
            assert not target.exists() or held_by(target) == before

        def repeat(path=path):
            change(path)
            if name == "snapshot":
                assert held_by(path.with_name(f"{path.name}-snapshot")) == before
            PassageIndex.open(path).add([Passage(doc_id="last", text="last")], encoder=HashingEncoder(), compact=False)
            assert held_by(path) == [*after, Passage(doc_id="last", text="last")]
            check_tidy(path)

        for task in (check, repeat):
            assert in_child(task) == 0, (name, nth, task.__name__)
        for used in (path, path.with_name(f"{path.name}-snapshot")):
            shutil.rmtree(used, ignore_errors=True)
    return len(kills), kills[-1] - 1


if __name__ == "__main__":
    prepare_for_forks()
    for which in sys.argv[2:]:
        n_kills, n_operations = try_all(which, Path(sys.argv[1]))
        sys.stdout.write(f"{which} {n_kills} {n_operations}\n")
