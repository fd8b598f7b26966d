"""The scan of a corpus before it is encoded."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.datasets import Corpus, Passage, open_corpus, scan, scan_corpus, unique_passages
from elasticdenser.errors import BadInputError


def _corpus(*passages: Passage, skip_bad: bool = False) -> Corpus:
    return Corpus.from_passages("mine", lambda: passages, skip_bad=skip_bad)


def test_passages_are_counted_and_the_scratch_file_is_gone(tmp_path):
    scratch = tmp_path / "scratch"
    result = scan_corpus(_corpus(Passage("1", "x"), Passage("2", "y")), scratch)
    assert (result.n_passages, result.n_skipped, result.skipped, result.repeated_ids) == (2, 0, {}, frozenset())
    assert list(scratch.iterdir()) == []


def test_the_checksum_tells_passages_fields_and_order_apart(tmp_path):
    variants = [
        _corpus(Passage("1", "x"), Passage("2", "y")),
        _corpus(Passage("2", "y"), Passage("1", "x")),
        _corpus(Passage("1", "x"), Passage("2", "", "y")),
        _corpus(Passage("1", "xy"), Passage("2", "y")),
        _corpus(Passage("1x", "x"), Passage("2", "y")),
        _corpus(Passage("1", "x")),
    ]
    sums = [scan_corpus(corpus, tmp_path).sha256 for corpus in variants]
    assert len(set(sums)) == len(variants)
    assert scan_corpus(variants[0], tmp_path).sha256 == sums[0]


def test_a_repeated_id_names_both_places(tmp_path):
    first, second = tmp_path / "a.tsv", tmp_path / "b.jsonl"
    first.write_text("0\tx\n7\tx\n")
    second.write_text('\n{"id": 7, "text": "y"}\n')
    with pytest.raises(BadInputError, match=r"b\.jsonl:2: id '7' is already that of .*a\.tsv:2: give each") as caught:
        scan_corpus(open_corpus([first, second]), tmp_path / "scratch")
    assert (caught.value.path, caught.value.line) == (str(second), 2)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_with_skip_bad_the_first_of_a_repeated_id_wins(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [("1", "first"), ("2", "x"), ("1", "second"), ("1", "third"), ("2", "y"), ("3", "")]
    path.write_text("".join(json.dumps({"id": doc_id, "text": text}) + "\n" for doc_id, text in rows) + "oops\n")
    corpus = open_corpus([path], skip_bad=True)
    result = scan_corpus(corpus, tmp_path / "scratch")
    assert result.n_passages == 2
    assert result.skipped == {"repeated id": 3, "empty text": 1, "not JSON": 1}
    assert result.n_skipped == 5
    assert result.repeated_ids == {"1", "2"}
    assert [passage.text for passage in unique_passages(corpus, result)] == ["first", "x"]
    assert result.sha256 == scan_corpus(_corpus(Passage("1", "first"), Passage("2", "x")), tmp_path).sha256


def test_equal_hashes_of_different_ids_are_no_repetition(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "_hash", lambda doc_id: b"samehash")
    assert scan_corpus(_corpus(Passage("1", "x"), Passage("2", "x")), tmp_path).repeated_ids == frozenset()
    with pytest.raises(BadInputError, match="mine:3: id '1' is already that of mine:1"):
        scan_corpus(_corpus(Passage("1", "x"), Passage("2", "x"), Passage("1", "x")), tmp_path)


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 8))
def test_repetitions_are_found_wherever_blocks_end(tmp_path_factory, ids, block):
    passages = [Passage(str(number), f"text {position}") for position, number in enumerate(ids)]
    corpus = _corpus(*passages, skip_bad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "_COMPARED_AT_ONCE", block)
        result = scan_corpus(corpus, tmp_path_factory.mktemp("scratch"))
    assert result.repeated_ids == {str(number) for number in ids if ids.count(number) > 1}
    unique = list(unique_passages(corpus, result))
    assert len(unique) == result.n_passages == len(set(ids))
    assert [passage.doc_id for passage in unique] == [str(number) for number in dict.fromkeys(ids)]


def test_an_empty_corpus_is_an_error_even_with_skip_bad(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n")
    with pytest.raises(BadInputError, match="the corpus 'a' holds no passages, expected at least one: check its files"):
        scan_corpus(open_corpus([path]), tmp_path / "scratch")
    path.write_text("oops\n" * 3)
    with pytest.raises(BadInputError, match=r"all 3 lines were bad, first .*a\.jsonl:1: not JSON"):
        scan_corpus(open_corpus([path], skip_bad=True), tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_progress_is_reported_and_ends_with_the_total(tmp_path):
    reports: list[int] = []
    passages = [Passage(str(number), "x") for number in range(10_000)]
    scan_corpus(_corpus(*passages), tmp_path, progress=reports.append)
    assert reports == [4096, 8192, 10_000]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    corpus = Corpus.from_passages("many", lambda: (Passage(f"id-{number}", "x") for number in range(200_000)))
    tracemalloc.start()
    try:
        result = scan_corpus(corpus, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.n_passages == 200_000
    assert peak < 4 << 20


def test_a_real_corpus_and_the_same_twice(data, tmp_path):
    result = scan_corpus(open_corpus([data / "nq"]), tmp_path)
    assert (result.n_passages, result.repeated_ids) == (11_297, frozenset())
    twice = open_corpus([data / "nq", data / "nq"], skip_bad=True)
    again = scan_corpus(twice, tmp_path)
    assert (again.n_passages, again.skipped) == (11_297, {"repeated id": 11_297})
    assert again.sha256 == result.sha256
