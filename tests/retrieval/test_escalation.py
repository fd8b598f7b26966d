"""Escalation: queries whose best hits score nearly alike are searched again by a larger subnet."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest

from elasticdenser import PassageEncoder, PassageIndex, Retriever, Subnet
from elasticdenser.errors import QueryError
from elasticdenser.retrieval.escalation import Escalation, margins

WORDS = ["dune", "spice", "csv file", "thread", "desert planet", "python", "read a file", "wait", "novel", "water"]
SMALL, LARGE = Subnet.parse("level0"), Subnet.parse("w1-d2")


@pytest.fixture(scope="module")
def retriever(tmp_path_factory, tiny_elastic):
    texts = [f"{a} and {b}" for a in WORDS for b in WORDS]
    passages = [{"_id": f"d{number}", "text": text} for number, text in enumerate(texts)]
    path = tmp_path_factory.mktemp("escalation") / "index"
    PassageIndex.build(passages, path, PassageEncoder.from_pretrained(str(tiny_elastic)), workers=1)
    return Retriever.open(path, encoder=str(tiny_elastic), device="cpu")


def hits_by_query(hits):
    return [list(group) for _, group in groupby(hits, key=lambda hit: hit.query_id)]


def margins_at(retriever, subnet):
    vectors = retriever.encoder.encode(WORDS, subnet)
    return margins(*retriever.index.search(vectors, 10))


def test_a_margin_is_that_of_the_tenth_hit_or_of_the_last():
    scores = np.linspace(1, 0.5, 11, dtype=np.float32)[None].repeat(3, axis=0)
    positions = np.arange(11)[None].repeat(3, axis=0)
    positions[1, 4:] = -1
    positions[2, 1:] = -1
    assert margins(scores, positions) == pytest.approx([0.45, 0.15, np.inf])
    assert margins(scores[:, :0], positions[:, :0]) == pytest.approx([np.inf] * 3)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_only_queries_below_the_margin_escalate(retriever, k):
    found = margins_at(retriever, SMALL)
    escalation = Escalation(float(np.median(found)), LARGE)
    mixed = hits_by_query(retriever.search(WORDS, k, subnet=SMALL, escalation=escalation))
    small, large = (hits_by_query(retriever.search(WORDS, k, subnet=subnet)) for subnet in (SMALL, LARGE))
    for number, margin in enumerate(found):
        subnet, expected = (LARGE, large) if margin < escalation.margin else (SMALL, small)
        assert mixed[number] == expected[number] and len(mixed[number]) == k
        assert {hit.subnet for hit in mixed[number]} == {subnet}
    assert small != large


def test_a_spelling_is_taken_too_and_a_small_margin_changes_nothing(retriever):
    plain = list(retriever.search(WORDS, 3, subnet=SMALL))
    assert list(retriever.search(WORDS, 3, subnet=SMALL, escalation="1e-9:w1-d2")) == plain
    all_large = list(retriever.search(WORDS, 3, subnet=SMALL, escalation="9:w1-d2"))
    assert all_large == list(retriever.search(WORDS, 3, subnet=LARGE))
    assert {hit.subnet for hit in all_large} == {LARGE}


def test_a_level_does_not_escalate_to_itself(retriever, monkeypatch):
    expected, encoded = list(retriever.search(WORDS, 3, subnet=SMALL)), []
    encode = retriever.encoder.encode

    def recording(texts, subnet=None):
        encoded.append(texts)
        return encode(texts, subnet)

    monkeypatch.setattr(retriever.encoder, "encode", recording)
    assert list(retriever.search(WORDS, 3, subnet=SMALL, escalation=Escalation(9, SMALL))) == expected
    assert encoded == [WORDS]


@pytest.mark.parametrize("k", [1, 2, 20])
def test_documents_escalate_by_the_tenth_chunk(tmp_path, tiny_elastic, k):
    texts = [". ".join(f"{a} and {b}" for a in WORDS) + "." for b in WORDS]
    passages = [{"_id": f"d{number}", "text": text} for number, text in enumerate(texts)]
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), device="cpu")
    PassageIndex.build(passages, tmp_path / "index", encoder, workers=1, chunk="20")
    retriever = Retriever.open(tmp_path / "index", encoder=str(tiny_elastic), device="cpu")
    found = margins_at(retriever, SMALL)
    options = {"subnet": SMALL, "escalation": Escalation(float(np.median(found)), LARGE), "by_document": True}
    hits = hits_by_query(retriever.search(WORDS, k, **options))
    subnets = [LARGE if margin < options["escalation"].margin else SMALL for margin in found]
    assert [of_query[0].subnet for of_query in hits] == subnets and set(subnets) == {SMALL, LARGE}


def test_a_reranker_gets_as_many_candidates_as_without(retriever):
    options = {"subnet": SMALL, "reranker": "mmr:0.5"}
    plain = list(retriever.search(WORDS, 2, **options))
    assert list(retriever.search(WORDS, 2, escalation="1e-9:w1-d2", **options)) == plain


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("w1-d2", "got the escalation 'w1-d2'; expected MARGIN:SUBNET, such as 0.08:w1-d6"),
        ("x:w1-d2", "got the escalation 'x:w1-d2'"),
        ("0.1:", "got the escalation '0.1:'"),
        ("nan:w1-d2", "got the escalation 'nan:w1-d2'"),
        ("0:w1-d2", "got the margin 0.0; expected a difference of scores above 0"),
        ("0.1:w1-d9", "w1-d9"),
    ],
)
def test_mistakes_are_named(retriever, spelling, message):
    with pytest.raises(QueryError, match=message):
        retriever.search("dune", escalation=spelling)


def test_an_unknown_subnet_is_refused_at_once(retriever):
    with pytest.raises(QueryError, match="got subnet w1-d9"):
        retriever.search("dune", subnet=SMALL, escalation=Escalation(1e-9, Subnet.parse("w1-d9")))


def test_a_spelling_can_be_read_again(retriever):
    escalation = Escalation(0.08251234567, LARGE)
    assert str(escalation) == "0.08251234567:w1-d2"
    assert Escalation.parse(str(escalation), retriever.encoder) == escalation
