from __future__ import annotations

import gzip

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.runs import read_run, write_run

RUN = [ScoredDoc("q1", "d1", 0.5), ScoredDoc("q1", "d2", 0.75), ScoredDoc("q2", "d1", -1.0)]


def test_columns_and_ranks(tmp_path):
    path = tmp_path / "new" / "a.trec"
    assert write_run(path, iter(RUN), tag="me") == 3
    assert path.read_text() == "q1 Q0 d2 1 0.75 me\nq1 Q0 d1 2 0.5 me\nq2 Q0 d1 1 -1.0 me\n"


@pytest.mark.parametrize("name", ["a.trec", "a.trec.gz"])
def test_round_trip_also_through_ir_measures(tmp_path, name):
    path = tmp_path / name
    write_run(path, RUN)
    expected = [RUN[1], RUN[0], RUN[2]]
    assert read_run(path) == expected
    assert list(ir_measures.read_trec_run(str(path))) == expected


def test_same_run_gives_same_bytes(tmp_path):
    write_run(tmp_path / "a.gz", RUN)
    write_run(tmp_path / "b.gz", RUN)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_ties_keep_their_order(tmp_path):
    hits = [ScoredDoc("q", doc_id, 1.0) for doc_id in ("b", "c", "a")]
    write_run(tmp_path / "a.trec", hits)
    assert read_run(tmp_path / "a.trec") == hits


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_scores_read_back_exactly(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("runs") / "a.trec"
    write_run(path, (ScoredDoc("q", str(i), np.float32(s)) for i, s in enumerate(scores)))
    back = {hit.doc_id: np.float32(hit.score) for hit in read_run(path)}
    assert [back[str(i)] for i in range(len(scores))] == [np.float32(s) for s in scores]


@pytest.mark.parametrize(
    ("hits", "message"),
    [
        ([("q 1", "d", 1.0)], "query id 'q 1'"),
        ([("q", "d\t1", 1.0)], "document id"),
        ([("q", "", 1.0)], "document id ''"),
        ([("q", 7, 1.0)], "document id 7"),
        ([("q", "d", float("nan"))], "not a finite number"),
        ([("q", "d", float("inf"))], "not a finite number"),
        ([("q", "d", 1.0), ("q", "d", 0.5)], "twice"),
        ([("q", "d", 1.0), ("p", "d", 1.0), ("q", "e", 1.0)], "comes back"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, hits, message):
    with pytest.raises(BadInputError, match=message):
        write_run(tmp_path / "a.trec", [ScoredDoc("ok", "d", 1.0), *(ScoredDoc(*hit) for hit in hits)])
    assert list(tmp_path.iterdir()) == []


def test_bad_tag_and_bad_places(tmp_path):
    with pytest.raises(BadInputError, match="run tag"):
        write_run(tmp_path / "a.trec", RUN, tag="two words")
    with pytest.raises(BadInputError, match="folder"):
        write_run(tmp_path, RUN)
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="is a file"):
        write_run(tmp_path / "file" / "a.trec", RUN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 d 1 1.0 t\nq Q0 d 1 1.0\n", ":2: got 5 columns"),
        ("q Q0 d 1 x t\n", ":1: score 'x'"),
        ("q Q0 d 1 nan t\n", ":1: score 'nan'"),
        ("q Q0 d 1 1 t\n\np Q0 d 1 1 t\nq Q0 d 2 0 t\n", ":4: document 'd' is listed twice"),
        ("\n", "empty"),
    ],
)
def test_bad_files_name_the_line(tmp_path, text, message):
    path = tmp_path / "a.trec"
    path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        read_run(path)


def test_missing_cut_and_binary_files(tmp_path):
    with pytest.raises(BadInputError, match="check the path"):
        read_run(tmp_path / "none.trec")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"".join(b"q Q0 d%d 1 1.0 t\n" % i for i in range(99)))[:-9])
    with pytest.raises(BadInputError, match="complete gzip"):
        read_run(cut)
    plain = tmp_path / "plain.gz"
    plain.write_text("q Q0 d 1 1.0 t\n")
    with pytest.raises(BadInputError, match="complete gzip"):
        read_run(plain)
    binary = tmp_path / "binary.trec"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="UTF-8"):
        read_run(binary)
