"""An index that several processes change and search at once, and disks that are full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hashing import HashingEncoder, make_corpus, make_passages
from test_build_disk import mounted

from elasticdenser.datasets import Passage
from elasticdenser.errors import BuildError
from elasticdenser.index import PassageIndex

WRITER = """if True:
    import sys
    from hashing import HashingEncoder
    from elasticdenser.datasets import Passage
    from elasticdenser.index import PassageIndex
    path, name = sys.argv[1:]
    index, encoder = PassageIndex.open(path), HashingEncoder()
    for number in range(6):
        index = index.add([Passage(f"{name}{number}", f"text {name} {number}")], encoder=encoder)
        index = index.add([Passage("shared", f"from {name} {number}")], encoder=encoder)
        if number % 2:
            index = index.delete([f"{name}{number}"])
    index.compact()
"""


@pytest.mark.slow
def test_two_writers_and_a_reader_at_once(small_index):
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "helpers"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WRITER, str(small_index)]
    writers = [subprocess.Popen([*command, name], env=env, stderr=subprocess.PIPE, text=True) for name in "ab"]
    index = PassageIndex.open(small_index)
    query = HashingEncoder().encode(["passage number 4"])
    generations = set()
    while any(writer.poll() is None for writer in writers):
        index = index.refresh() if len(generations) % 2 else PassageIndex.open(small_index)
        generations.add(index.generation)
        ids = list(index.doc_ids)
        assert len(ids) == len(set(ids)) == len(index)
        assert ids[:60] == [p.doc_id for p in make_passages(60)]
        assert index.search(query, 5)[1][0, 0] == 4
    assert [writer.wait() for writer in writers] == [0, 0], [writer.stderr.read() for writer in writers]
    assert len(generations) > 3
    index = PassageIndex.open(small_index, check="all")
    assert sorted(list(index.doc_ids)[60:]) == ["a0", "a2", "a4", "b0", "b2", "b4", "shared"]
    assert index.text("shared") in ("from a 5", "from b 5")


def fill(file, *, leaving=0):
    """Fill a disk but for some bytes."""
    free = os.statvfs(file.parent)
    file.write_bytes(b"x" * (free.f_bavail * free.f_frsize - leaving))


@pytest.mark.slow
def test_a_full_disk_leaves_the_index_as_it_was(tmp_path, hashing):
    new = [Passage(doc_id=f"n{number}", text=f"text {number} " * 9) for number in range(1000)]
    with mounted(tmp_path / "disk", "size=2m") as disk:
        index = PassageIndex.build(make_corpus(1000), disk / "index", hashing).delete(["d1é"])
        for leaving in (0, 20_000, 70_000, 150_000):
            fill(disk / "filler", leaving=leaving)
            with pytest.raises(
                BuildError, match="the disk is full: free some space, then run the same command"
            ) as error:
                index.add(new, encoder=hashing)
            assert "\n" not in str(error.value)
            with pytest.raises(BuildError, match="the disk is full"):
                index.compact()
            (disk / "filler").unlink()
            opened = PassageIndex.open(disk / "index", check="all")
            assert list(opened.doc_ids) == list(index.doc_ids)
        index = index.add(new, encoder=hashing).compact()
        assert len(index) == 1999
        fill(disk / "filler")
        with pytest.raises(BuildError, match="the disk is full"):
            index.delete([f"d{number}é" for number in range(2, 1000)])
        assert len(PassageIndex.open(disk / "index", check="all")) == 1999
