"""Positions of ids, looked up together and one by one."""

from __future__ import annotations

import pytest

from elasticdenser.errors import QueryError
from elasticdenser.index import line_files
from elasticdenser.index.line_files import IdTable, LineFile, write_lookup

IDS = ["a", "b", "ä☃", "d"]


@pytest.fixture(params=["different hashes", "equal hashes"])
def table(tmp_path, monkeypatch, request):
    if request.param == "equal hashes":
        monkeypatch.setattr(line_files, "_id_hash", lambda _: 7)
    lines = [f"{doc_id}\n".encode() for doc_id in IDS]
    (tmp_path / "ids").write_bytes(b"".join(lines))
    ends = [sum(map(len, lines[: number + 1])) for number in range(len(lines))]
    (tmp_path / "ends").write_bytes(b"".join(end.to_bytes(8, "little") for end in ends))
    write_lookup(tmp_path / "lookup", IDS, len(IDS))
    return IdTable(LineFile(tmp_path / "ids", tmp_path / "ends"), tmp_path / "lookup")


def test_ids_are_found_in_the_order_asked_for(table):
    asked = ["d", "none", "a", "ä☃", "a"]
    assert table.find_all(asked).tolist() == [table.find(doc_id) for doc_id in asked] == [3, -1, 0, 2, 0]
    assert table.find_all([]).tolist() == []


def test_unknown_ids_are_named(table):
    assert table.positions(["b", "a"]).tolist() == [1, 0]
    with pytest.raises(QueryError, match="1 of 2 document ids are not in the index, such as 'none'"):
        table.positions(["b", "none"])
