"""Ranges of a corpus hold its passages, once and in order, and are read as the whole is."""

import gzip
import json
import pickle

import pytest

from elasticdenser.datasets import FieldNames, open_corpus
from elasticdenser.datasets.corpora import Corpus
from elasticdenser.datasets.cutting import cut_corpus, with_absolute_paths
from elasticdenser.datasets.passages import Passage
from elasticdenser.errors import BadInputError


def jsonl(n, start=0):
    return "".join(
        json.dumps({"_id": f"p{i}", "text": f"passage {i} " + "é" * (i % 13)}) + "\n" for i in range(start, n)
    )


def written(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def located(corpora):
    return [passage for corpus in corpora for passage in corpus.with_locations()]


FILES = {
    "a.jsonl": jsonl(40),
    "no-final-line-feed.jsonl": jsonl(40).rstrip("\n"),
    "windows.jsonl": "\ufeff" + jsonl(40).replace("\n", "\r\n"),
    "blank.jsonl": "\n\n" + jsonl(20).replace("\n", "\n\n \n"),
    "a.tsv": "".join(f"{i}\ttext {i}\ttitle {i}\n" for i in range(30)),
    "header.tsv": "title\tid\ttext\n" + "".join(f"T{i}\t{i}\ttext {i}\n" for i in range(30)),
    "a.txt": "".join(f"line {i}\n" for i in range(30)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("n_ranges", [1, 2, 3, 7])
def test_ranges_of_a_file_are_the_file(tmp_path, name, n_ranges):
    corpus = open_corpus(written(tmp_path / name, FILES[name]))
    ranges = cut_corpus(corpus, n_ranges)
    assert len(ranges) == n_ranges and all(map(list, ranges))
    assert located(ranges) == located([corpus])


def test_ranges_have_about_the_same_size(tmp_path):
    ranges = cut_corpus(open_corpus(written(tmp_path / "a.jsonl", jsonl(400))), 4)
    assert all(90 <= len(list(own)) <= 110 for own in ranges)


def test_ranges_can_be_sent_to_another_process(tmp_path):
    corpus = open_corpus(written(tmp_path / "a.jsonl", jsonl(40)), skip_bad=True, fields=FieldNames(title="text"))
    ranges = pickle.loads(pickle.dumps(cut_corpus(corpus, 3)))
    assert located(ranges) == located([corpus])
    assert all(own.skip_bad for own in ranges)


def test_a_corpus_with_absolute_paths_is_read_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    for name in ("a.txt", "b.jsonl"):
        written(tmp_path / name, FILES["a.txt"] if name == "a.txt" else jsonl(20))
    monkeypatch.chdir(tmp_path)
    corpus = open_corpus(["a.txt", "b.jsonl"])
    passages, absolute = list(corpus), with_absolute_paths(corpus)
    monkeypatch.chdir(tmp_path / "other")
    assert list(absolute) == passages
    assert [p for own in cut_corpus(absolute, 3) for p in own] == passages


def test_a_fault_is_reported_with_its_line_in_the_file(tmp_path):
    lines = jsonl(40).splitlines(keepends=True)
    path = written(tmp_path / "a.jsonl", "".join([*lines[:30], "not JSON\n", *lines[30:]]))
    with pytest.raises(BadInputError, match=r"a\.jsonl:31: not JSON"):
        located(cut_corpus(open_corpus(path), 4))


def test_a_field_that_is_missing_in_one_range_is_no_fault(tmp_path):
    path = written(tmp_path / "a.jsonl", '{"_id": "1", "text": "a", "head": "b"}\n' + jsonl(20))
    assert len(located(cut_corpus(open_corpus(path, fields=FieldNames(title="head")), 3))) == 21


def test_compressed_files_stay_whole(tmp_path):
    parts = [written(tmp_path / f"{i}.jsonl.gz", gzip.compress(jsonl(10 * i + 10, 10 * i).encode())) for i in range(4)]
    ranges = cut_corpus(open_corpus(parts), 3)
    assert [len({path for path, _, _ in own.with_locations()}) for own in ranges] in ([1, 1, 2], [1, 2, 1], [2, 1, 1])
    assert located(ranges) == located([open_corpus(parts)])
    with pytest.raises(BadInputError, match=r"at most 4 ranges, expected 5: decompress .*0\.jsonl\.gz"):
        cut_corpus(open_corpus(parts), 5)


def test_no_range_is_empty_beside_a_large_whole_file(tmp_path):
    sizes = [1, 1, 40, 1]
    parts, start = [], 0
    for number, size in enumerate(sizes):
        parts.append(written(tmp_path / f"{number}.jsonl.gz", gzip.compress(jsonl(start + size, start).encode(), 0)))
        start += size
    for n_ranges in (2, 3, 4):
        ranges = cut_corpus(open_corpus(parts), n_ranges)
        assert len(ranges) == n_ranges and all(map(list, ranges))


def test_an_array_of_json_stays_whole(tmp_path):
    path = written(tmp_path / "a.json", json.dumps([{"_id": str(i), "text": f"t{i}"} for i in range(9)], indent=1))
    with pytest.raises(BadInputError, match="at most 1 ranges"):
        cut_corpus(open_corpus(path), 2)


def test_a_long_line_is_in_one_range(tmp_path):
    long = json.dumps({"_id": "long", "text": "x" * 10_000}) + "\n"
    corpus = open_corpus(written(tmp_path / "a.jsonl", jsonl(3) + long + jsonl(6, 3)))
    assert located(cut_corpus(corpus, 2)) == located([corpus])
    with pytest.raises(BadInputError, match="at most 2 ranges, expected 5: take fewer shards"):
        cut_corpus(corpus, 5)


def test_a_corpus_in_memory_cannot_be_cut():
    corpus = Corpus.from_passages("mine", lambda: [Passage(doc_id="1", text="a")])
    with pytest.raises(BadInputError, match="in memory"):
        cut_corpus(corpus, 2)
