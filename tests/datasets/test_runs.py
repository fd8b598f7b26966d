"""Run files of TREC."""

from __future__ import annotations

import gzip
import logging

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import ScoredDoc

from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.errors import BadInputError

RUN = [ScoredDoc("q1", "d1", 0.5), ScoredDoc("q1", "d2", 0.75), ScoredDoc("q2", "d1", -1.0)]


def test_a_run_has_six_columns_and_rising_ranks(tmp_path):
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


@pytest.mark.slow
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
        ([("q", "d", 1.0), ("p", "d", 1.0), ("q", "e", 1.0)], "appears again"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, hits, message):
    with pytest.raises(BadInputError, match=message):
        write_run(tmp_path / "a.trec", [ScoredDoc("ok", "d", 1.0), *(ScoredDoc(*hit) for hit in hits)])
    assert list(tmp_path.iterdir()) == []


def test_bad_tags_and_paths_are_refused(tmp_path):
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


def test_missing_truncated_and_binary_files_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="check the path"):
        read_run(tmp_path / "none.trec")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"".join(b"q Q0 d%d 1 1.0 t\n" % i for i in range(99)))[:-9])
    with pytest.raises(BadInputError, match=r"cut\.gz: the archive is truncated"):
        read_run(cut)
    plain = tmp_path / "plain.gz"
    plain.write_text("q Q0 d 1 1.0 t\n")
    with pytest.raises(BadInputError, match="damaged or not a gzip file"):
        read_run(plain)
    binary = tmp_path / "binary.trec"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInputError, match="UTF-8"):
        read_run(binary)


def _warnings(caplog, path, lines: list[str]) -> list[str]:
    path.write_text("".join(line + "\n" if not line else f"{line} tag\n" for line in lines))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert len(read_run(path)) == sum(map(bool, lines))
    return [record.getMessage() for record in caplog.records]


ORDERLY = ["a Q0 d1 1 0.9", "a Q0 d2 2 0.9", "a Q0 d3 7 0.1", "b Q0 d1 0 -1", "b Q0 d2 1 -2"]


@pytest.mark.parametrize(
    "lines",
    [
        ORDERLY,
        list(reversed(ORDERLY)),
        [ORDERLY[0], ORDERLY[3], ORDERLY[1], ORDERLY[4], ORDERLY[2]],
        ["a Q0 d1 -5 3", "a Q0 d2 +0 2", "a Q0 d3 9223372036854775807 1"],
    ],
)
def test_ranks_that_agree_with_the_scores_cause_no_warning(tmp_path, caplog, lines):
    assert _warnings(caplog, tmp_path / "a.trec", lines) == []


def test_repeated_ranks_are_counted_by_query(tmp_path, caplog):
    path = tmp_path / "a.trec"
    lines = [*ORDERLY, "c Q0 d1 1 2", "", "c Q0 d2 1 1", "c Q0 d3 1 0", "a Q0 d4 2 0.5"]
    assert _warnings(caplog, path, lines) == [
        f"{path}: 2 of 3 queries have a rank twice, first in line 8: the scores count"
    ]
    (message,) = _warnings(caplog, path, ["q Q0 d1 1 1", "q Q0 d2 1 2", "q Q0 d3 1 3"])
    assert "1 of 1 queries have a rank twice, first in line 2" in message


def test_ranks_against_the_scores_are_counted_by_query(tmp_path, caplog):
    path = tmp_path / "a.trec"
    (message,) = _warnings(caplog, path, ["", *ORDERLY, "c Q0 d1 1 1", "c Q0 d2 2 2", "c Q0 d3 3 3"])
    assert message.startswith(f"{path}: 1 of 3 queries are in another order by rank than by score, first in line 8: ")
    # Apart from one another in the file, and beside a repeated rank.
    repeated, contradicted = _warnings(caplog, path, ["q Q0 d1 2 5", "p Q0 d1 1 1", "q Q0 d2 2 3", "q Q0 d3 1 4"])
    assert "1 of 2 queries have a rank twice, first in line 3" in repeated
    assert "1 of 2 queries are in another order by rank than by score, first in line 4" in contradicted


def test_ranks_that_are_no_whole_numbers_are_counted(tmp_path, caplog):
    path = tmp_path / "a.trec"
    (message,) = _warnings(caplog, path, ["", "q Q0 d1 1 3", "q Q0 d2 1.5 2", "q Q0 d3 - 1", "p Q0 d3 1e0 1"])
    assert message == (
        f"{path}: 3 of 4 hits have a rank that is not a whole number, first '1.5' in line 3: the scores count"
    )
    bad, contradicted = _warnings(caplog, path, ["q Q0 d1 1 3", f"q Q0 d2 {1 << 63} 2", "q Q0 d3 2 4"])
    assert "1 of 3 hits" in bad and "first in line 3" in contradicted
    assert len(_warnings(caplog, path, ["q Q0 d1 x 3", "q Q0 d2 x 2"])) == 1


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=8))
def test_rank_warnings_agree_with_comparing_all_pairs(tmp_path_factory, hits):
    lines = [f"{query_id} Q0 d{i} {rank} {score} tag\n" for i, (query_id, rank, score) in enumerate(hits)]
    path = tmp_path_factory.mktemp("runs") / "a.trec"
    path.write_text("".join(lines))
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("elasticdenser.datasets.rank_check").addHandler(handler)
    try:
        read_run(path)
    finally:
        logging.getLogger("elasticdenser.datasets.rank_check").removeHandler(handler)
    pairs = [(first, second) for first in hits for second in hits if first[0] == second[0]]
    contradicted = {first[0] for first, second in pairs if first[1] < second[1] and first[2] < second[2]}
    repeated = {hit[0] for hit in hits if sum(hit[:2] == other[:2] for other in hits) > 1}
    expected = [f": {len(query_ids)} of " for query_ids in (repeated, contradicted) if query_ids]
    assert len(messages) == len(expected)
    assert all(count in message for count, message in zip(expected, messages, strict=True))
