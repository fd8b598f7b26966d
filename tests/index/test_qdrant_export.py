"""Export of an index to Qdrant, in its local mode."""

from __future__ import annotations

import pytest
from qdrant_helpers import TEXTS, build_small

from elasticdenser.errors import BuildError, QueryError
from elasticdenser.index import qdrant

qdrant_client = pytest.importorskip("qdrant_client", reason="needs pip install 'elasticdenser[qdrant]'")


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_encoder):
    return build_small(tmp_path_factory.mktemp("small") / "i", tiny_encoder)


@pytest.fixture
def client():
    return qdrant.connect(path=":memory:")


def test_points_hold_vectors_ids_titles_and_texts(client, index):
    steps = []
    qdrant.export_to_qdrant(index, client, "mine", progress=lambda *step: steps.append(step))
    assert steps[-1] == ("exporting", 5, 5)
    assert client.count("mine").count == 5
    ids = [qdrant.point_id(f"d{number}") for number in range(5)]
    points = {point.id: point for point in client.retrieve("mine", ids, with_vectors=True)}
    for number, text in enumerate(TEXTS):
        point = points[ids[number]]
        assert point.payload == {"doc_id": f"d{number}", "title": "title 0", "text": text}
        assert point.vector == pytest.approx(index.vectors[number].tolist(), abs=1e-6)
    assert qdrant.encoder_of(client, "mine") == index.manifest.encoder


def test_an_interrupted_export_is_continued_by_the_same_call(client, index, monkeypatch):
    monkeypatch.setattr(qdrant, "_PASSAGES_AT_ONCE", 2)
    upsert, calls = client.upsert, []

    def failing(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return upsert(*args, **options)

    monkeypatch.setattr(client, "upsert", failing)
    with pytest.raises(KeyboardInterrupt):
        qdrant.export_to_qdrant(index, client, "mine")
    assert client.count("mine").count == 2
    for _ in range(2):
        qdrant.export_to_qdrant(index, client, "mine")
        assert client.count("mine").count == 5


def test_a_collection_of_something_else_is_refused(client, index, tmp_path, tiny_encoder):
    larger = build_small(tmp_path / "larger", tiny_encoder, n_copies=2)
    qdrant.export_to_qdrant(index, client, "mine")
    with pytest.raises(BuildError, match=r"is of another index \(by corpus_sha256, n_passages\): choose another"):
        qdrant.export_to_qdrant(larger, client, "mine")
    assert client.count("mine").count == 5
    models = qdrant_client.models
    client.create_collection("cosine", vectors_config=models.VectorParams(size=32, distance=models.Distance.COSINE))
    with pytest.raises(BuildError, match="its vectors are not of 32 dimensions by inner product"):
        qdrant.export_to_qdrant(index, client, "cosine")
    client.create_collection("others", vectors_config=models.VectorParams(size=32, distance=models.Distance.DOT))
    client.upsert("others", [models.PointStruct(id=1, vector=[1.0] * 32)])
    with pytest.raises(BuildError, match="has 6 points, expected the 5 of the index"):
        qdrant.export_to_qdrant(index, client, "others")


def test_an_index_without_texts_has_only_ids(client, tmp_path, tiny_encoder):
    from elasticdenser import PassageIndex

    index = PassageIndex.build([{"_id": "a", "text": "cats"}], tmp_path / "i", tiny_encoder, texts=False, workers=1)
    qdrant.export_to_qdrant(index, client, "mine")
    assert client.retrieve("mine", [qdrant.point_id("a")])[0].payload == {"doc_id": "a"}


def test_places_that_cannot_be_used_are_errors_of_one_line(index, tmp_path):
    with pytest.raises(QueryError, match="both or neither of url and path"):
        qdrant.connect()
    (tmp_path / "file").write_text("x")
    with pytest.raises(QueryError, match="cannot be opened"):
        qdrant.connect(path=str(tmp_path / "file"))
    with pytest.raises(BuildError, match=r"refuses \(Collection name cannot contain '/'"):
        qdrant.export_to_qdrant(index, qdrant.connect(path=":memory:"), "a/b")
    first = qdrant.connect(path=str(tmp_path / "local"))
    with pytest.raises(QueryError, match="cannot be opened"):
        qdrant.connect(path=str(tmp_path / "local"))
    first.close()
    with pytest.raises(BuildError, match="cannot be reached"):
        qdrant.export_to_qdrant(
            index, qdrant_client.QdrantClient(url="http://127.0.0.1:9", check_compatibility=False), "m"
        )
