"""`Retriever.search(hybrid=...)`, alone and in the engine; and snippets."""

from __future__ import annotations

import pickle

import pytest

from elasticdenser import PassageIndex, RetrievalEngine, Retriever
from elasticdenser.datasets import Passage
from elasticdenser.engine.processes.messages import decode_message, encode_batch
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Query
from elasticdenser.errors import IndexFormatError, QueryError

PASSAGES = [
    Passage("d1", "Dune is a novel. It plays on a desert planet, full of worms."),
    Passage("d2", "Read a csv file with headers. Nobody reads it without."),
    Passage("d3", "", title="Title alone"),
    Passage("d4", "Wait for several threads to finish."),
]
PROFILE = Profile(levels=[Level(name="w1-d2", quality=1.0, measured_s={1: 0.002, 8: 0.01})])


@pytest.fixture(scope="module")
def index(tmp_path_factory, tiny_encoder):
    path = tmp_path_factory.mktemp("hybrid") / "index"
    return PassageIndex.build(PASSAGES, path, tiny_encoder, hybrid=True, workers=1)


@pytest.fixture(scope="module")
def retriever(index, tiny_query_encoder):
    return Retriever(tiny_query_encoder, index)


def ids(hits):
    return [hit.doc_id for hit in hits]


def test_a_call_may_differ_from_the_retriever(index, tiny_query_encoder):
    by_words = Retriever(tiny_query_encoder, index, hybrid=1.0)
    by_meaning = Retriever(tiny_query_encoder, index)
    for query, best in (("worms", "d1"), ("headers", "d2"), ("threads", "d4")):
        assert ids(by_words.search(query, 1)) == [best] == ids(by_meaning.search(query, 1, hybrid=1.0))
        assert ids(by_words.search(query, 1, hybrid=True)) == [best]
        expected = list(by_meaning.search(query, 4))
        assert list(by_words.search(query, 4, hybrid=False)) == expected
        assert ids(by_meaning.search(query, 4, hybrid=0)) == ids(expected)


def test_only_some_documents_are_searched(retriever):
    assert ids(retriever.search("worms", 4, hybrid=1.0, doc_ids=["d2", "d4"])) in (["d2", "d4"], ["d4", "d2"])


def test_wrong_weights_and_indexes_without_words_are_refused_by_the_call(retriever, tmp_path, tiny_encoder):
    with pytest.raises(QueryError, match="the weight of words from 0 to 1"):
        retriever.search("worms", hybrid=7)
    bare = PassageIndex.build(PASSAGES, tmp_path / "bare", tiny_encoder, workers=1)
    with pytest.raises(QueryError, match="cannot be searched by words"):
        Retriever(retriever.encoder, bare).search("worms", hybrid=True)
    with pytest.raises(QueryError, match="cannot be searched by words"):
        Retriever(retriever.encoder, bare, hybrid=True)


def test_documents_are_ranked_by_their_best_chunk(tmp_path, tiny_encoder, tiny_query_encoder):
    index = PassageIndex.build(PASSAGES, tmp_path / "chunks", tiny_encoder, hybrid=True, workers=1, chunk="16")
    (hit,) = Retriever(tiny_query_encoder, index).search("worms", 1, hybrid=1.0, by_document=True)
    assert hit.doc_id == "d1" and "worms" in index.passage(hit.passage_id).text


def test_an_opened_retriever_is_hybrid_in_another_process_too(index, tiny_elastic):
    opened = Retriever.open(index.path, encoder=str(tiny_elastic), device="cpu", download=False, hybrid=0.8)
    assert pickle.loads(pickle.dumps(opened)).word_weight == 0.8


def test_the_engine_searches_by_words_for_those_who_ask(retriever):
    with RetrievalEngine(retriever, PROFILE, slo_s=60, workers=1) as engine:
        futures = [engine.submit("worms", k=4, hybrid=hybrid) for hybrid in (1.0, None, 1.0, True, False)]
        answers = [ids(future.result(30).hits) for future in futures]
        expected = [ids(retriever.search("worms", 4, hybrid=hybrid)) for hybrid in (1.0, None, 1.0, True, False)]
        assert answers == expected
        with pytest.raises(QueryError, match="the weight of words"):
            engine.submit("worms", hybrid=-1)


@pytest.mark.parametrize(("hybrid", "weight"), [(None, None), (True, None), (False, None), (True, 0.25)])
def test_messages_to_processes_say_whether_words_count(hybrid, weight):
    queries = [Query(text="worms", k=3, hybrid=hybrid, word_weight=weight)]
    assert decode_message(encode_batch(queries, "level0", 3)) == (queries, "level0", 3)


def test_snippets_are_the_best_sentences(retriever):
    hits = list(retriever.search("deserts and worms", 4))
    for hit, snippet in zip(hits, retriever.snippets("deserts and worms", hits), strict=True):
        text = retriever.index.passage(hit.doc_id).text
        if not text:
            assert (snippet.start, snippet.end, snippet.score, snippet.words) == (0, 0, None, ())
            continue
        sentences = [sentence for sentence in text.replace(". ", ".|").split("|") if sentence]
        scores = retriever.encoder.encode_passages(sentences) @ retriever.encoder.encode(["deserts and worms"])[0]
        assert text[snippet.start : snippet.end] == sentences[int(scores.argmax())]
        assert snippet.score == pytest.approx(float(scores.max()), abs=1e-6)
        words = [text[start:end] for start, end in snippet.words]
        assert words == [word for word in ("desert", "worms") if word in text[snippet.start : snippet.end]]


def test_snippets_need_texts(tmp_path, tiny_encoder, tiny_query_encoder):
    bare = Retriever(
        tiny_query_encoder, PassageIndex.build(PASSAGES, tmp_path / "bare", tiny_encoder, texts=False, workers=1)
    )
    with pytest.raises(IndexFormatError, match="holds no texts"):
        bare.snippets("worms", bare.search("worms", 1))
