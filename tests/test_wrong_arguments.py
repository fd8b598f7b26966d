"""Arguments of wrong types and values of the public API: each is refused by an error of the package, in one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ir_measures import Qrel, ScoredDoc
from late_interaction_models import write_late_interaction

from elasticdenser import (
    ElasticQueryEncoder,
    LateInteractionRanker,
    PassageEncoder,
    PassageIndex,
    Retriever,
    Subnet,
    open_corpus,
)
from elasticdenser.datasets import Passage
from elasticdenser.errors import ElasticDenserError
from elasticdenser.evaluation import evaluate, parse_measures

PASSAGES = [Passage(doc_id=f"d{number}", text=f"word {number} of a passage") for number in range(4)]
JUDGED, HITS, MEASURES = [Qrel("q", "d1", 1)], [ScoredDoc("q", "d1", 1.0)], parse_measures(["RR@10"])


@pytest.fixture(scope="module")
def parts(tiny_elastic, tmp_path_factory):
    """An index, its encoders and a ranker, with the folder of the ranker."""
    folder = tmp_path_factory.mktemp("arguments")
    passages = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    write_late_interaction(folder / "ranker", tiny_elastic)
    return SimpleNamespace(
        folder=folder,
        passages=passages,
        queries=ElasticQueryEncoder.from_pretrained(tiny_elastic, dtype="float32", device="cpu"),
        index=PassageIndex.build(PASSAGES, folder / "index", passages, workers=1),
        ranker=LateInteractionRanker.from_pretrained(folder / "ranker", token_vectors=folder / "vectors"),
    )


def build(parts, encoder=None, **options):
    return PassageIndex.build(PASSAGES, parts.folder / "other", encoder or parts.passages, **options)


CALLS = [
    (lambda p: build(p, factory=5), "got the factory string 5, expected one such as HNSW32, or auto"),
    (lambda p: p.index.compact(factory=5), "got the factory string 5"),
    (lambda p: build(p, texts="no"), "got texts = 'no', expected True or False"),
    (lambda p: build(p, overwrite=1), "got overwrite = 1, expected True or False"),
    (lambda p: build(p, workers="2"), "got workers = '2', expected a whole number of at least 1"),
    (lambda p: build(p, workers=-3), "got workers = -3, expected at least 1"),
    (lambda p: build(p, chunk=1.5), "got '1.5' for the length of chunks"),
    (lambda p: build(p, shards="two"), "got shards = 'two', expected a whole number"),
    (lambda p: build(p, encoder=p.queries), "expected a PassageEncoder, or the folder or model id of an encoder"),
    (lambda p: build(p, encoder=Path("/no/such")), "there is no folder /no/such"),
    (lambda p: p.index.add([{"_id": "x", "text": "y"}], encoder=5), "got the encoder 5, expected a PassageEncoder"),
    (lambda p: PassageIndex.open(p.index.path, check="x"), "got check = 'x', expected 'changed' or 'all' or 'sizes'"),
    (lambda p: PassageIndex.open(p.index.path, threads="2"), "got threads = '2', expected a whole number"),
    (lambda p: PassageIndex.open(p.index.path, threads=2.0), "of at least 1: use threads = 2"),
    (lambda p: PassageIndex.open(p.index.path, encoder=p.queries), "expected the fingerprint of an encoder"),
    (lambda p: Retriever(p.passages, p.index), "to encode queries, expected an ElasticQueryEncoder"),
    (lambda p: Retriever(p.queries, "index"), "got the index 'index', expected a PassageIndex"),
    (lambda p: Retriever(p.queries, p.index, ranker=5), "got the ranker 5, expected the folder of one"),
    (lambda p: Retriever.open(p.index.path, encoder=5), "got the encoder 5, expected a folder or a model id"),
    (lambda p: PassageEncoder.from_pretrained(None), "got the encoder None, expected a folder"),
    (lambda p: ElasticQueryEncoder.from_pretrained(Path("/no/such")), "there is no folder /no/such"),
    (lambda p: p.ranker.score("q", 5), "got 5, expected a list of texts"),
    (lambda p: p.ranker.rerank("q", 5), "got 5, expected a list of texts"),
    (lambda p: p.ranker.store("text"), "got one string, expected a list of texts: use [text]"),
    (
        lambda p: LateInteractionRanker.from_pretrained(p.folder / "ranker", token_vectors=p.folder, max_bytes="1"),
        "got max_bytes = '1', expected a whole number of at least 0",
    ),
    (lambda p: evaluate("qrels.tsv", HITS, MEASURES), "got judgements of type str, expected a list, as load_qrels"),
    (lambda p: evaluate([5], HITS, MEASURES), "got 5 among the judgements"),
    (lambda p: evaluate(JUDGED, {"q": {"d1": 1.0}}, MEASURES), "got hits of type dict, expected a list, as read_run"),
    (lambda p: evaluate(JUDGED, ["d1"], MEASURES), "got 'd1' among the hits"),
    (lambda p: evaluate([Qrel("q", "d1", "1")], HITS, MEASURES), "is '1', expected a whole number"),
    (lambda p: evaluate(JUDGED, HITS, ["RR@10"]), "as parse_measures(['RR@10']) returns it"),
    (lambda p: evaluate(JUDGED, HITS, []), "got the measures [], expected a list"),
    (lambda p: parse_measures("RR@10"), "got the measures 'RR@10', expected a list of names"),
    (lambda p: parse_measures([5]), "got the measures [5], expected a list of names"),
    (lambda p: open_corpus(5), "got the corpus 5, expected files, folders or ids"),
    (lambda p: Subnet("0.5", 3), "got width '0.5' and depth 3, expected numbers"),
]


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message for _, message in CALLS])
def test_what_is_not_of_the_right_kind_is_refused_in_one_line(parts, call, message):
    with pytest.raises(ElasticDenserError) as caught:
        call(parts)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (parts.folder / "other").exists()


def test_an_encoder_may_be_given_by_a_path(parts, tiny_elastic, tmp_path):
    built = PassageIndex.build(PASSAGES, tmp_path / "index", Path(tiny_elastic), workers=1)
    (hit,) = Retriever.open(built.path, encoder=Path(tiny_elastic)).search("word 2 of a passage", 1)
    assert hit.doc_id == "d2"
