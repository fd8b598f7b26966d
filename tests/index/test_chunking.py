"""Documents that are cut into chunks, and passages that are too long."""

from __future__ import annotations

import json
import random
import shutil
from itertools import pairwise

import numpy as np
import pytest
from hashing import HashingEncoder, make_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.datasets import Corpus, Passage
from elasticdenser.errors import BadInputError, BuildError, QueryError
from elasticdenser.index import PassageIndex, build
from elasticdenser.index.chunker import Chunker
from elasticdenser.index.chunking import Chunking, chunk_id, document_of
from elasticdenser.index.journal import JOURNAL
from elasticdenser.index.layout import building_folder
from elasticdenser.index.manifest import Manifest

N_SPECIAL = 2


def sentence(n_words, word="ab"):
    """A sentence of 2 tokens a word in the tiny vocabulary, and the full stop."""
    return " ".join([word.capitalize(), *[word] * (n_words - 1)]) + "."


def chunks_of(encoder, chunking, *documents):
    return list(Chunker(Chunking.parse(chunking), encoder).chunks(iter(documents)))


def corpus_of(*documents):
    return Corpus.from_passages("documents", lambda: documents)


LONG = Passage(doc_id="d#1", title="T", text=" ".join(sentence(n) for n in (3, 4, 5, 2, 6, 1, 7, 3)))


def test_chunks_are_made_of_whole_sentences(tiny_encoder):
    chunks = chunks_of(tiny_encoder, "24", LONG)
    assert [chunk.doc_id for chunk in chunks] == [f"d#1#{number}" for number in range(len(chunks))]
    assert " ".join(chunk.text for chunk in chunks) == LONG.text
    assert len(chunks) == 5 and all(chunk.text.endswith(".") and chunk.title == "T" for chunk in chunks)
    assert max(tiny_encoder.count_tokens([chunk.content for chunk in chunks])) <= 24


def test_overlap_repeats_whole_sentences(tiny_encoder):
    chunks = [chunk.text for chunk in chunks_of(tiny_encoder, "24/10", LONG)]
    for before, after in pairwise(chunks):
        repeated = [end for end in range(1, len(after)) if before.endswith(after[:end])]
        assert not repeated or after[repeated[-1] - 1] == "."
    assert sum(map(len, chunks)) > len(LONG.text)
    assert max(tiny_encoder.count_tokens([f"T {text}" for text in chunks])) <= 24


def test_a_short_document_is_one_chunk(tiny_encoder):
    documents = [Passage(doc_id="a", text=" one\ttwo "), Passage(doc_id="b", text="", title="only a title")]
    chunks = chunks_of(tiny_encoder, "40", *documents)
    assert chunks == [Passage(doc_id=f"{d.doc_id}#0", text=d.text, title=d.title) for d in documents]


def test_a_long_title_is_cut_with_the_text(tiny_encoder):
    title = "word " * 12
    chunks = chunks_of(tiny_encoder, "24", Passage(doc_id="a", title=title, text="The text."))
    assert {chunk.title for chunk in chunks} == {""}
    assert " ".join(chunk.text for chunk in chunks).split() == f"{title} The text.".split()


def test_the_prompt_counts(tiny_model):
    from elasticdenser import PassageEncoder

    options = {"dtype": "float32", "device": "cpu"}
    prompted = PassageEncoder.from_pretrained(str(tiny_model), passage_prompt="abc: ", **options)
    for chunk in chunks_of(prompted, "24", LONG):
        assert prompted.count_tokens([f"abc: {chunk.content}"])[0] <= 24
    with pytest.raises(BadInputError, match=r"expected 14 \(prompt"):
        chunks_of(prompted, "13", LONG)


NASTY_PIECES = ["ab", "a" * 90, "b" * 300, ". ", "! ", "\n\n", " ", "  ", "é", "日本。", "Dr. ", "...", "\0", "\u200b"]
NASTY = st.lists(st.sampled_from(NASTY_PIECES), max_size=60).map("".join)


@pytest.mark.slow
@given(text=NASTY, title=NASTY | st.just(""), chunking=st.sampled_from(["10", "13/12", "20/5", "64/30"]))
@settings(max_examples=60, deadline=None)
def test_no_chunk_is_truncated(tiny_encoder, text, title, chunking):
    chunks = chunks_of(tiny_encoder, chunking, Passage(doc_id="d", title=title, text=text))
    assert [chunk.doc_id for chunk in chunks] == [f"d#{number}" for number in range(len(chunks))] != []
    for tokenized in tiny_encoder._tokenizer.tokenize([chunk.content for chunk in chunks]):
        assert len(tokenized.ids) <= Chunking.parse(chunking).tokens and not tokenized.is_truncated


@pytest.mark.slow
@given(text=NASTY, chunking=st.sampled_from(["10", "13/12", "20/5", "64/30"]))
@settings(max_examples=60, deadline=None)
def test_no_text_is_lost(tiny_encoder, text, chunking):
    chunker = Chunker(Chunking.parse(chunking), tiny_encoder)
    position = 0
    for start, end in [*chunker._spans(text, chunker._room), (len(text), len(text))]:
        assert end > position or start == len(text)
        assert tiny_encoder.count_tokens([text[position:start]]) == [N_SPECIAL]
        position = end


@pytest.mark.slow
@pytest.mark.parametrize("text", ["word " * 2_000, "ab" * 20, "日" * 2_000])
def test_a_document_without_sentences_is_cut(tiny_encoder, text):
    chunks = chunks_of(tiny_encoder, "10", Passage(doc_id="d", text=text))
    assert len(chunks) >= 5
    assert "".join(chunk.text for chunk in chunks).replace(" ", "") == text.replace(" ", "")
    assert max(tiny_encoder.count_tokens([chunk.content for chunk in chunks])) <= 10


@pytest.mark.parametrize("text", ["", "x", "9", "65", "-3", "20/20", "20/30", "20/", "/5", "1e3", "20/5/1", "²"])
def test_wrong_lengths_are_refused(tiny_encoder, text):
    with pytest.raises(BadInputError, match=r"got .*expected .*use"):
        chunks_of(tiny_encoder, text, LONG)


def test_chunks_without_tokens_are_refused():
    with pytest.raises(BadInputError, match="got chunks of 0 tokens, expected more"):
        Chunking.parse("0")


def test_lengths_are_spelled_as_they_are_parsed():
    for text in ("20", "20/5"):
        assert str(Chunking.parse(text)) == text
    assert Chunking.parse(" 20 / 0 ") == Chunking(tokens=20)
    assert document_of(chunk_id("a#7", 3)) == "a#7"


@pytest.fixture
def documents():
    rng = random.Random(0)
    lengths = [1, 3, 40, 2, 60]
    return [
        Passage(doc_id=f"d{n}", title=f"T{n}", text=" ".join(sentence(rng.randint(2, 5)) for _ in range(length)))
        for n, length in enumerate(lengths)
    ]


def test_an_index_of_chunks(tiny_encoder, tmp_path, documents):
    index = PassageIndex.build(corpus_of(*documents), tmp_path / "i", tiny_encoder, chunk="32/8", workers=1)
    expected = chunks_of(tiny_encoder, "32/8", *documents)
    assert [index.passage_at(position) for position in range(len(index))] == expected
    assert np.allclose(index.vectors, tiny_encoder.encode([chunk.content for chunk in expected]), atol=1e-5)
    manifest = index.manifest
    assert (manifest.chunking, manifest.n_documents) == (Chunking(tokens=32, overlap=8), 5)
    assert manifest.n_truncated == 0 and manifest.n_passages == len(expected) > 10
    assert Manifest.read(tmp_path / "i") == manifest
    assert index.document_of(index.doc_ids[3]) == "d2"
    # documents stand for all their chunks
    of_d2 = [position for position in range(len(index)) if index.doc_ids[position].startswith("d2#")]
    assert index.positions(["d2", "d0#0"]).tolist() == [*of_d2, 0] and len(of_d2) > 3
    for unknown in ("d", "d2#999", "d9"):
        with pytest.raises(QueryError, match=f"not in the index, such as '{unknown}'"):
            index.positions([unknown])


def test_a_repeated_document_is_skipped_whole(tiny_encoder, tmp_path, documents):
    longer = Passage(doc_id="d1", text=documents[4].text)
    corpus = Corpus.from_passages("x", lambda: [*documents, longer], skip_bad=True)
    index = PassageIndex.build(corpus, tmp_path / "i", tiny_encoder, chunk="32", workers=1)
    assert [doc_id for doc_id in index.doc_ids if doc_id.startswith("d1#")] == ["d1#0"]
    assert index.manifest.corpus["skipped"] == {"repeated id": 1} and index.manifest.n_documents == 5


@pytest.mark.slow
def test_chunks_belong_to_the_plan_of_a_build(tiny_encoder, tmp_path, documents, monkeypatch):
    class Stop(BaseException):
        pass

    def stop(step, done, _):
        if step == "encoding" and done >= 10:
            raise Stop

    monkeypatch.setattr(build, "WINDOW", 5)
    corpus, path = corpus_of(*documents), tmp_path / "i"
    whole = PassageIndex.build(corpus, tmp_path / "whole", tiny_encoder, chunk="32", workers=1)
    with pytest.raises(Stop):
        PassageIndex.build(corpus, path, tiny_encoder, chunk="32", workers=1, progress=stop)
    with pytest.raises(BuildError, match=r"chunks: 32/8 against 32"):
        PassageIndex.build(corpus, path, tiny_encoder, chunk="32/8", workers=1)
    monkeypatch.setattr(build, "_PROGRESS_EVERY", 1)
    steps = []
    index = PassageIndex.build(
        corpus, path, tiny_encoder, chunk="32", workers=1, progress=lambda *step: steps.append(step[0])
    )
    assert list(index.doc_ids) == list(whole.doc_ids) and np.allclose(index.vectors, whole.vectors, atol=1e-5)
    assert "cutting into chunks" not in steps  # the plan knows their number
    PassageIndex.build(corpus, path, tiny_encoder, chunk="32", workers=1)
    for other in (None, "32/8"):
        with pytest.raises(
            BuildError, match=rf"already an index of something else.*chunks: {other or 'none'} against 32"
        ):
            PassageIndex.build(corpus, path, tiny_encoder, chunk=other, workers=1)


def test_truncated_passages_are_counted(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "WINDOW", 4)
    texts = [sentence(n) for n in (2, 30, 31, 40, 500, 3, 2000, 1)]  # 2n + 1 tokens, and 2 special ones, of 64
    corpus = corpus_of(*(Passage(doc_id=str(n), text=text) for n, text in enumerate(texts)))
    index = PassageIndex.build(corpus, tmp_path / "i", tiny_encoder, workers=1)
    assert index.manifest.n_truncated == 4
    one_by_one = [len(tiny_encoder.token_ends(text)) for text in texts]
    assert one_by_one == [5, 61, 62, 62, 62, 7, 62, 3]


def test_the_count_survives_a_restart(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "WINDOW", 2)
    corpus = corpus_of(*(Passage(doc_id=str(n), text=sentence(n * 10 + 1)) for n in range(8)))
    path = tmp_path / "i"

    class Stop(BaseException):
        pass

    def stop(step, done, _):
        if step == "encoding" and done == 6:
            raise Stop

    with pytest.raises(Stop):
        PassageIndex.build(corpus, path, tiny_encoder, workers=1, progress=stop)
    copy = tmp_path / "copy"
    shutil.copytree(building_folder(path), building_folder(copy))
    assert PassageIndex.build(corpus, path, tiny_encoder, workers=1).manifest.n_truncated == 5
    # The journal of an older version has no count.
    journal = building_folder(copy) / JOURNAL
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert entries[-1].pop("truncated") == 3
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert PassageIndex.build(corpus, copy, tiny_encoder, workers=1).manifest.n_truncated is None


def test_an_encoder_that_does_not_count(tmp_path):
    assert PassageIndex.build(make_corpus(5), tmp_path / "i", HashingEncoder()).manifest.n_truncated is None


def test_an_index_of_version_2_is_read(tmp_path):
    PassageIndex.build(make_corpus(5), tmp_path / "i", HashingEncoder())
    path = tmp_path / "i" / "manifest.json"
    value = json.loads(path.read_text()) | {"version": 2}
    for key in ("n_truncated", "chunking", "n_documents", "sha256"):
        del value[key]
    path.write_text(json.dumps(value))
    manifest = PassageIndex.open(tmp_path / "i").manifest
    assert (manifest.version, manifest.n_truncated, manifest.chunking) == (2, None, None)


@pytest.mark.slow
def test_documents_of_chunks_are_replaced_and_deleted_whole(tiny_encoder, tmp_path):
    documents = [Passage(doc_id=f"d{n}", text=LONG.text.replace("Ab", f"B{n}"), title="T") for n in range(3)]
    index = PassageIndex.build(documents, tmp_path / "index", tiny_encoder, chunk="24")
    n_chunks = len(index) // 3
    shorter = Passage(doc_id="d1", text=sentence(3))
    changed = index.add([*documents[:1], shorter, Passage(doc_id="d3", text=LONG.text)], encoder=tiny_encoder)
    assert changed.doc_ids.take(changed.positions(["d1"])) == ["d1#0"]
    assert changed.passage("d1#0").text == shorter.text
    assert (changed.manifest.n_documents, changed.generation) == (4, 2)
    changed = changed.delete(["d0", "d3"])
    expected = [*(f"d2#{n}" for n in range(n_chunks)), "d1#0"]
    assert list(changed.doc_ids) == expected
    assert changed.manifest.n_documents == 2
    for unknown in ("d0", "d2#1"):  # a single chunk is not deleted
        with pytest.raises(QueryError, match="1 of 1 document ids are not in"):
            changed.delete([unknown])
    compacted = changed.compact()
    assert (list(compacted.doc_ids), compacted.manifest.n_documents) == (expected, 2)
    again = compacted.add([documents[2], shorter], encoder=tiny_encoder)
    assert again.generation == compacted.generation  # nothing has changed
    with pytest.raises(BadInputError, match="got vectors for an index of chunks"):
        compacted.add([shorter], vectors=compacted.vectors[:1])


def test_an_encoder_may_be_named_and_the_length_of_chunks_be_a_number(tiny_model, tmp_path):
    passages = [{"_id": "d1", "text": "Dune. " * 40}]
    index = PassageIndex.build(passages, tmp_path / "index", str(tiny_model), chunk=16, workers=1)
    assert index.manifest.encoder.name == str(tiny_model)
    assert index.manifest.chunking == Chunking(tokens=16)
    more = index.add([{"_id": "d2", "text": "Dune."}], encoder=str(tiny_model))
    assert more.manifest.n_documents == 2
