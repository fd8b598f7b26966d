"""Alterations of an index whose checksums are made to fit again, and a use of everything that the index holds."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import random
import resource
import sys
from dataclasses import replace
from pathlib import Path

from hashing import HashingEncoder

from elasticdenser.errors import IndexFormatError, QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.index.manifest import FileEntry, Manifest

VALUES = [
    None,
    True,
    False,
    -1,
    0,
    1,
    7,
    1.5,
    2**31,
    2**63,
    10**30,
    "",
    "x",
    "../x",
    "a/b",
    "é\0",
    [],
    {},
    [1],
    {"a": 1},
]
BYTES = [0, 1, 10, 0x20, 0x22, 0x7F, 0x80, 0xC3, 0xFF]


def use(path: Path) -> None:
    """Open an index, search it with every effort, and read all ids and passages."""
    index = PassageIndex.open(path, check="sizes")
    queries = HashingEncoder().encode(["a", "b"])
    for effort in index.manifest.structure.efforts:
        if effort.recall_at_10:
            index.search(queries, 5, recall=effort.recall_at_10)
    index.search(queries, 5)
    index.search(queries, 5, exact=True)
    _, positions = index.search(queries, len(index), within=range(len(index)))
    index.doc_ids.take(positions[0])
    for position, doc_id in enumerate(index.doc_ids):
        with contextlib.suppress(QueryError):  # an id that was altered is not in the table
            index.positions([doc_id])
        if index.has_texts:
            assert all(isinstance(text, str) for text in (doc_id, index.passage_at(position).content))
    sum(index.manifest.corpus["skipped"].values())


def fault_of(path: Path) -> str:
    """Return what is wrong with an index; empty if nothing is. Other errors than `IndexFormatError` pass."""
    try:
        use(path)
    except IndexFormatError as error:
        return str(error)
    return ""


def alter_manifest(folder: Path, rng: random.Random) -> str:
    """Alter one value of the manifest, and return what was altered."""
    file = folder / "manifest.json"
    value = json.loads(file.read_text(encoding="utf-8"))
    del value["sha256"]
    places = list(_places(value))
    container, key = rng.choice(places)
    action = rng.choice(["replace", "replace", "replace", "remove", "add"])
    new = copy.deepcopy(rng.choice(VALUES))
    was = f"{action} {key!r}: {str(container[key])[:40]!r} -> {new!r}"
    if action == "replace":
        container[key] = new
    elif action == "remove":
        del container[key]
    elif isinstance(container, list):
        container.append(new)
    else:
        container[f"{key}2"] = new
    value["sha256"] = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    file.write_text(json.dumps(value), encoding="utf-8")
    return was


def _places(value):
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def alter_file(folder: Path, name: str, rng: random.Random) -> str:
    """Alter some bytes of a file, or swap or cut parts of it, and return what was done."""
    manifest = Manifest.read(folder)
    content = bytearray((folder / name).read_bytes())
    offset = rng.randrange(len(content))
    kind = rng.choice(["bytes", "bytes", "number", "ones", "cut"])
    if kind == "bytes":
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.choice(BYTES)
    elif kind == "number":
        number = rng.choice([-1, 0, 1, 3, 255, 2**31, 2**40, 2**62])
        start = offset // 8 * 8
        content[start : start + 8] = number.to_bytes(8, "little", signed=True)[: len(content[start : start + 8])]
    elif kind == "ones":
        content[offset : offset + 4] = b"\xff" * len(content[offset : offset + 4])
    elif name.endswith((".faiss", ".txt", ".jsonl")):
        content = content[:offset]
    (folder / name).write_bytes(content)
    entry = FileEntry.of(folder / name)
    replace(manifest, files={**manifest.files, name: entry}).write(folder)
    return f"{kind} of {name} at {offset}"


def main(folder: Path, name: str, n_cases: int, seed: int) -> None:
    """Alter a file again and again in this process, which FAISS may end; print each case before it is tried."""
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    files = {file: (folder / file).read_bytes() for file in ("manifest.json", name)}
    for case in range(n_cases):
        rng = random.Random(seed + case)
        sys.stdout.write(f"case {case}: {alter_file(folder, name, rng)}\n")
        sys.stdout.flush()
        try:
            fault_of(folder)
        finally:
            for file, content in files.items():
                (folder / file).write_bytes(content)
    sys.stdout.write("end\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
