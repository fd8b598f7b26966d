"""Systems of type rerank: settings, order of systems, and evaluation over searches and runs."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from ir_measures import ScoredDoc
from late_interaction_models import write_late_interaction

from elasticdenser import ElasticRanker
from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.errors import BadInputError
from elasticdenser.rankers.token_rows import PassageRows
from elasticdenser.suites import SuiteOptions, read_suite, run_suite

WORDS = ["dune", "desert", "paris", "csv", "threads", "moon"]
TEXTS = {f"d{n}": f"all about {word} {WORDS[n - 1]}" for n, word in enumerate(WORDS)}

CORPUS = """
k = 6
[corpora.words]
sources = ["words"]
[query-sets.words]
corpus = "words"
source = "words"
measures = ["RR@3"]
"""
DENSE = """
[systems.dense]
type = "dense"
encoder = "ENCODER"
"""
RUN = """
[systems.given]
type = "run"
path = "{query_set}.trec"
"""


def reranking(over, *lines, name="reranked") -> str:
    return "\n".join([f"[systems.{name}]", 'type = "rerank"', f'over = "{over}"', *lines, ""])


@pytest.fixture
def data_folder(tmp_path):
    """A BEIR folder of six passages and as many queries, and a run that has the passages in the order of their ids."""
    folder = tmp_path / "data" / "words"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": doc_id, "title": "On words", "text": text} for doc_id, text in TEXTS.items()]
    queries = [{"_id": f"q{n}", "text": f"about {word}"} for n, word in enumerate(WORDS)]
    for name, records in (("corpus", rows), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(len(WORDS)))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    hits = [ScoredDoc(f"q{n}", doc_id, -i) for n in range(len(WORDS)) for i, doc_id in enumerate(TEXTS)]
    write_run(folder.parent / "words.trec", hits)
    return folder.parent


@pytest.fixture
def evaluated(tmp_path, tiny_model, tiny_ranker, data_folder):
    """Evaluates a suite of these tables."""

    def evaluate(*tables, baseline="", source="words", **options):
        first_line = f'baseline = "{baseline}"' if baseline else ""
        text = (
            "\n".join((first_line, CORPUS.replace('["words"]', f'["{source}"]'), *tables))
            .replace("ENCODER", str(tiny_model))
            .replace("RANKER", str(tiny_ranker))
        )
        (tmp_path / "suite.toml").write_text(text)
        settings = SuiteOptions(data=data_folder, offline=True, **{"timed_queries": 0, "workers": 2, **options})
        messages: list[str] = []
        progress = lambda activity, done, total: messages.append(activity)  # noqa: E731
        comparison = run_suite(read_suite(tmp_path / "suite.toml"), tmp_path / "out", settings, progress=progress)
        return comparison, messages

    return evaluate


def order_of(folder, comparison, system) -> dict[str, list[str]]:
    ranked: dict[str, list[str]] = {}
    for hit in read_run(folder / "out" / comparison.cell("words", system).run):
        ranked.setdefault(hit.query_id, []).append(hit.doc_id)
    return ranked


def ranked_by(tiny_ranker, query, doc_ids, subnet=None) -> list[str]:
    texts = [f"On words {TEXTS[doc_id]}" for doc_id in doc_ids]
    ranked = ElasticRanker.from_pretrained(tiny_ranker).rerank(query, texts, subnet=subnet)
    return [doc_ids[position] for position, _, _ in ranked]


@pytest.mark.slow
def test_a_finished_run_is_reranked_with_the_texts_of_the_corpus(evaluated, tiny_ranker, tmp_path):
    comparison, messages = evaluated(
        RUN, reranking("given", 'ranker = "RANKER"', "candidates = 4", 'subnet = "w0.5-d1"')
    )
    ids = list(TEXTS)
    assert order_of(tmp_path, comparison, "reranked") == {
        f"q{n}": ranked_by(tiny_ranker, f"about {word}", ids[:4], "w0.5-d1") + ids[4:] for n, word in enumerate(WORDS)
    }
    assert not any("build" in message or "encod" in message for message in messages)
    system = next(system for system in comparison.systems if system.name == "reranked")
    assert system.title == "given, reranked by elastic:4:w0.5-d1"
    assert system.settings["over"] == "given" and system.settings["stages"] == "4:w0.5-d1"


@pytest.mark.slow
def test_a_search_is_reranked_timed_and_cached(evaluated, tiny_ranker, tmp_path):
    stages = ('ranker = "RANKER"', 'stages = ["5:w0.25-d1", "2:w1-d2"]')
    # Before the system that it reranks, to be evaluated after it.
    tables = (reranking("dense", *stages), DENSE)
    comparison, _ = evaluated(*tables, baseline="dense", timed_queries=2)
    first = order_of(tmp_path, comparison, "dense")
    for n, word in enumerate(WORDS):
        query, doc_ids = f"about {word}", first[f"q{n}"]
        small = ranked_by(tiny_ranker, query, doc_ids[:5], "w0.25-d1")
        expected = ranked_by(tiny_ranker, query, small[:2]) + small[2:] + doc_ids[5:]
        assert order_of(tmp_path, comparison, "reranked")[f"q{n}"] == expected
    times = {cell.system: cell.ms_per_query for cell in comparison.cells}
    assert times["reranked"] > times["dense"] > 0
    _, messages = evaluated(*tables, baseline="dense", timed_queries=2)
    assert "words: reranked" not in messages


@pytest.mark.slow
def test_the_reranking_of_a_finished_run_is_timed_and_the_run_is_not(evaluated):
    lines = ('ranker = "RANKER"', "candidates = 4")
    comparison, _ = evaluated(RUN, reranking("given", *lines), timed_queries=2)
    times = {cell.system: cell.ms_per_query for cell in comparison.cells}
    assert times["given"] is None and times["reranked"] > 0
    system = next(system for system in comparison.systems if system.name == "reranked")
    assert system.settings["timed"] == "reranking alone"


@pytest.mark.slow
def test_paths_of_databases_are_in_the_data_folder(evaluated, data_folder):
    with closing(sqlite3.connect(data_folder / "words.db")) as connection:
        connection.execute("CREATE TABLE docs (id TEXT, text TEXT)")
        connection.executemany("INSERT INTO docs VALUES (?, ?)", TEXTS.items())
        connection.commit()
    query = "sqlite:words.db?query=SELECT id, text FROM docs WHERE id <> 'd9'"
    comparison, _ = evaluated(DENSE, source=query)
    assert comparison.cell("words", "dense").mean("RR@3") >= 0
    with pytest.raises(BadInputError, match=r"absent.db is missing in "):
        evaluated(DENSE, source="sqlite:absent.db")


@pytest.mark.slow
def test_the_weight_of_the_first_stage_can_be_set(evaluated, tmp_path):
    weight = ('ranker = "RANKER"', "candidates = 6", "first_stage_weight = 1e6")
    comparison, _ = evaluated(DENSE, reranking("dense", *weight))
    assert order_of(tmp_path, comparison, "reranked") == order_of(tmp_path, comparison, "dense")


@pytest.mark.slow
def test_the_scores_of_other_systems_are_scaled_before_their_weight(evaluated, tmp_path):
    weight = ('ranker = "RANKER"', "candidates = 4", "first_stage_weight = 1e6")
    comparison, _ = evaluated(RUN, reranking("given", *weight))
    assert order_of(tmp_path, comparison, "reranked") == {f"q{n}": list(TEXTS) for n in range(len(WORDS))}
    (info,) = (info for info in comparison.systems if info.name == "reranked")
    assert info.settings["first_stage_scores"] == "scaled to 0 to 1"


@pytest.mark.slow
def test_late_interaction_reranks_and_its_token_vectors_are_there_the_next_time(
    evaluated, tiny_elastic, tmp_path, monkeypatch
):
    ranker = write_late_interaction(tmp_path / "late", tiny_elastic)
    tables = (RUN, reranking("given", f'ranker = "{ranker}"', "candidates = 4"))
    comparison, _ = evaluated(*tables)
    (stored,) = (tmp_path / "out" / "indexes" / "token-vectors").glob("*/*.activations")
    first = order_of(tmp_path, comparison, "reranked")
    assert set(first) == {f"q{n}" for n in range(len(WORDS))}
    (tmp_path / "out" / "cells.jsonl").unlink()
    shutil.rmtree(tmp_path / "out" / "runs")
    monkeypatch.delattr(PassageRows, "encode")  # the passages are not encoded again
    comparison, _ = evaluated(*tables)
    assert order_of(tmp_path, comparison, "reranked") == first and stored.is_file()


def test_token_vectors_are_stored_when_a_suite_is_interrupted(evaluated, tiny_elastic, tmp_path, monkeypatch):
    ranker = write_late_interaction(tmp_path / "late", tiny_elastic)

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("elasticdenser.suites.run.replace", interrupted)  # after the systems are evaluated
    with pytest.raises(KeyboardInterrupt):
        evaluated(RUN, reranking("given", f'ranker = "{ranker}"', "candidates = 4"))
    assert list((tmp_path / "out" / "indexes" / "token-vectors").glob("*/*.activations"))


def test_what_was_skipped_is_not_reranked(evaluated):
    missing = '[systems.absent]\ntype = "run"\npath = "absent.trec"\n'
    comparison, _ = evaluated(RUN, missing, reranking("absent", 'ranker = "RANKER"', "candidates = 2"))
    reasons = {skipped.system: skipped.reason for skipped in comparison.skipped}
    assert reasons["reranked"] == "it reranks absent, which was skipped"


@pytest.mark.parametrize(
    ("over", "lines", "message"),
    [
        ("absent", (), r"systems.reranked.over: got 'absent', expected one of given, reranked"),
        ("reranked", (), r"systems.reranked reranks itself \(reranked of reranked\): remove it from 'over'"),
        (
            "given",
            ("candidates = 7",),
            r"systems.reranked: got 7 candidates, but words has 6 hits per query",
        ),
        ("given", ("candidates = 2", 'subnet = "w1-d6"'), r"systems.reranked: got subnet w1-d6, expected one of this"),
        ("given", ("candidates = 2", 'stages = ["3"]'), r"got both 'stages' and 'candidates' or 'subnet'"),
        ("given", ('stages = ["2", "3"]',), r"systems.reranked: got a stage of 3 candidates after one of 2"),
        ("given", ("first_stage_weight = -1",), r"systems.reranked.first_stage_weight"),
    ],
)
def test_wrong_settings_are_refused(evaluated, over, lines, message):
    with pytest.raises(BadInputError, match=message):
        evaluated(RUN, reranking(over, 'ranker = "RANKER"', *lines))


def test_a_run_over_another_corpus_is_refused(evaluated, data_folder):
    write_run(data_folder / "words.trec", [ScoredDoc("q1", "d1", 2.0), ScoredDoc("q1", "x1", 1.0)])
    with pytest.raises(BadInputError, match=r"1 of the 2 documents to rerank are not in the corpus words \('x1'\)"):
        evaluated(reranking("given", 'ranker = "RANKER"', "candidates = 2"), RUN)


def test_a_ranker_can_be_given_for_a_suite_that_names_none(tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text("\n".join((CORPUS, RUN, reranking("given"))))
    suite = read_suite(path)
    assert suite.with_ranker(tmp_path).systems["reranked"].ranker == str(tmp_path)
    assert suite.with_ranker(None) == suite


def test_a_choice_of_systems_includes_the_one_that_is_reranked(tmp_path):
    path = tmp_path / "suite.toml"
    tables = ('baseline = "other"', CORPUS, RUN, RUN.replace("given", "other"), reranking("given"))
    path.write_text("\n".join(tables))
    assert list(read_suite(path).only(query_sets=[], systems=["reranked"]).systems) == ["given", "other", "reranked"]
