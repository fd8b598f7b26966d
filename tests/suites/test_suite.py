import json
import logging
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ir_measures import ScoredDoc
from tiny import needs_pyserini
from typer.testing import CliRunner

from elasticdenser.cli import app
from elasticdenser.datasets.runs import write_run
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError, MissingExtraError
from elasticdenser.evaluation import Comparison
from elasticdenser.retrieval import java
from elasticdenser.suites import SuiteOptions, cell_lines, read_suite, run_suite

WORDS = ["dune", "desert", "paris", "csv", "threads", "moon", "bread", "river", "piano", "chess", "snow", "iron"]

SUITE = """
title = "Few words"
k = 10

[corpora.words]
sources = ["words"]

[query-sets.words]
title = "One word each"
corpus = "words"
source = "words"
measures = ["RR@10", "R@5", "AnswerMatch@5"]

[query-sets.elsewhere]
corpus = "words"
source = "not-here"
measures = ["RR@10"]

[systems.exact]
type = "dense"
encoder = "ENCODER"
exact = true

[systems.auto]
type = "dense"
encoder = "ENCODER"

[systems.given]
type = "run"
path = "{query_set}.trec"
"""

HYBRID = """
[systems.hybrid]
type = "hybrid"
encoder = "ENCODER"
word_weight = 1
"""

BM25 = """
[systems.bm25]
type = "bm25"

[systems.rrf]
type = "rrf"
of = ["auto", "bm25"]

[systems.weighted]
type = "weighted"
of = ["bm25", "auto"]
weights = [1, 2]
"""


@pytest.fixture
def data_folder(tmp_path) -> Path:
    """A BEIR folder of twelve passages and as many queries, and a run in which each is found at rank 1."""
    folder = tmp_path / "data" / "words"
    (folder / "qrels").mkdir(parents=True)
    passages = [
        {"_id": f"d{n}", "title": "", "text": f"all about {word} {WORDS[n - 1]}"} for n, word in enumerate(WORDS)
    ]
    queries = [{"_id": f"q{n}", "text": f"about {word}", "answers": [word.upper()]} for n, word in enumerate(WORDS)]
    for name, records in (("corpus", passages), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(len(WORDS)))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    write_run(folder.parent / "words.trec", [ScoredDoc(f"q{n}", f"d{n}", 1.0) for n in range(len(WORDS))])
    return folder.parent


@pytest.fixture
def suite_file(tmp_path, tiny_model) -> Path:
    path = tmp_path / "suite.toml"
    path.write_text(SUITE.replace("ENCODER", str(tiny_model)))
    return path


def evaluate(suite_file, folder, data_folder, **options):
    messages: list[str] = []
    settings = SuiteOptions(data=data_folder, offline=True, **{"timed_queries": 0, **options})
    progress = lambda activity, done, total: messages.append(activity)  # noqa: E731
    return run_suite(read_suite(suite_file), folder, settings, progress=progress), messages


@pytest.mark.slow
def test_a_suite_from_nothing_to_its_report_and_again(suite_file, data_folder, tmp_path):
    out = tmp_path / "out"
    comparison, messages = evaluate(suite_file, out, data_folder, timed_queries=2)
    assert "words: encoding" in messages
    assert [system.name for system in comparison.systems] == ["exact", "auto", "given"]
    assert [query_set.name for query_set in comparison.query_sets] == ["words"]
    assert (
        comparison.cell("words", "given").mean("RR@10")
        == comparison.cell("words", "given").mean("AnswerMatch@5")
        == 1.0
    )
    assert comparison.cell("words", "exact").values == comparison.cell("words", "auto").values
    assert comparison.cell("words", "exact").ms_per_query > 0
    assert comparison.query_sets[0].n_passages == len(WORDS)
    assert Comparison.read(out / "results.json") == comparison
    lines = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    assert [line["system"] for line in lines] == ["exact", "auto", "given"]
    assert lines[2]["measures"]["RR@10"]["mean"] == 1.0 and lines[2]["measures"]["RR@10"]["n_queries"] == 12
    assert lines == [line | {"when": lines[0]["when"]} for line in cell_lines(comparison)]

    again, messages = evaluate(suite_file, out, data_folder, timed_queries=2)
    assert again == comparison
    assert not [activity for activity in messages if activity not in ("significance", "report")]


@pytest.mark.slow
def test_queries_are_encoded_in_the_precision_of_the_suite(suite_file, data_folder, tmp_path):
    out = tmp_path / "out"
    suite_file.write_text(
        suite_file.read_text()
        + f"""
[systems.precise]
type = "dense"
encoder = "{re.search('encoder = "(.*)"', suite_file.read_text())[1]}"
exact = true
precision = "fp32"
"""
    )
    comparison, messages = evaluate(suite_file, out, data_folder)
    served = ElasticQueryEncoder.from_pretrained(re.search('encoder = "(.*)"', suite_file.read_text())[1]).dtype
    settings = {system.name: system.settings.get("precision") for system in comparison.systems}
    assert settings == {"exact": served, "auto": served, "given": None, "precise": "float32"}
    assert messages.count("words: encoding") >= 1
    if served != "float32":
        expected = f"Queries are encoded in {served} (exact, auto); float32 (precise)."
        assert expected in (out / "report.md").read_text()

    options = SuiteOptions(data=data_folder, offline=True, timed_queries=0)
    messages.clear()
    progress = lambda activity, done, total: messages.append(activity)  # noqa: E731
    again = run_suite(read_suite(suite_file).with_precision("fp32"), out, options, progress=progress)
    assert {system.settings.get("precision") for system in again.systems} == {"float32", None}
    assert "words: encoding" not in messages  # the index is the same
    assert ("words: exact" in messages) is (served != "float32")  # the runs are not
    assert "words: precise" not in messages
    assert "Queries are encoded in float32." in (out / "report.md").read_text()


@pytest.mark.slow
def test_missing_data_are_skipped_and_reported(suite_file, data_folder, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        comparison, _ = evaluate(suite_file, tmp_path / "out", data_folder)
    (skipped,) = comparison.skipped
    assert (skipped.query_set, skipped.system) == ("elsewhere", "")
    assert "not-here is missing in" in skipped.reason
    assert "skipped elsewhere" in caplog.text
    for report in ("report.md", "report.html"):
        assert "not-here is missing in" in (tmp_path / "out" / report).read_text()
    assert "is the baseline instead" not in caplog.text
    (data_folder / "words.trec").unlink()
    comparison, _ = evaluate(suite_file, tmp_path / "out", data_folder)
    assert ("words", "given") in [(skipped.query_set, skipped.system) for skipped in comparison.skipped]
    assert [system.name for system in comparison.systems] == ["exact", "auto"]


def test_without_any_data_the_error_names_what_is_missing(suite_file, tmp_path):
    with pytest.raises(BadInputError, match=r"could be evaluated \(words: words is missing in"):
        evaluate(suite_file, tmp_path / "out", tmp_path)


@pytest.mark.slow
def test_without_pyserini_its_systems_are_skipped_with_the_way_to_install_it(
    suite_file, data_folder, tmp_path, monkeypatch
):
    def lacks():
        raise MissingExtraError("pyserini", "pyserini")

    monkeypatch.setattr("elasticdenser.suites.systems.require_pyserini", lacks)
    suite_file.write_text(suite_file.read_text() + BM25)
    comparison, _ = evaluate(suite_file, tmp_path / "out", data_folder)
    reasons = {skipped.system: skipped.reason for skipped in comparison.skipped if skipped.query_set == "words"}
    assert set(reasons) == {"bm25", "rrf", "weighted"}
    assert "pip install 'pyserini==" in reasons["bm25"]
    assert reasons["rrf"] == "it fuses bm25, which was skipped"


@pytest.mark.slow
def test_a_hybrid_system_adds_words_to_an_index_that_lacks_them(suite_file, data_folder, tmp_path):
    out = tmp_path / "out"
    evaluate(suite_file, out, data_folder)
    encoder = re.search('encoder = "(.*)"', suite_file.read_text())[1]
    suite_file.write_text(suite_file.read_text() + HYBRID.replace("ENCODER", encoder))
    comparison, messages = evaluate(suite_file, out, data_folder)
    assert "words: words" in messages and "words: encoding" not in messages
    # Two passages hold the word of a query; of equal ones the first wins, which for the last query is the wrong one.
    assert comparison.cell("words", "hybrid").mean("RR@10") == pytest.approx(11.5 / 12)
    (settings,) = (system.settings for system in comparison.systems if system.name == "hybrid")
    assert (settings["type"], settings["stemmer"], settings["word_weight"]) == ("hybrid", "porter", 1)
    fingerprints = {comparison.cell("words", name).fingerprint for name in ("auto", "hybrid")}
    assert len(fingerprints) == 2


@pytest.mark.slow
def test_a_changed_corpus_gets_its_own_index_and_runs(suite_file, data_folder, tmp_path):
    out = tmp_path / "out"
    before, _ = evaluate(suite_file, out, data_folder)
    with open(data_folder / "words" / "corpus.jsonl", "a") as file:
        file.write(json.dumps({"_id": "new", "title": "", "text": "something else"}) + "\n")
    after, messages = evaluate(suite_file, out, data_folder)
    assert "words: encoding" in messages
    assert len(list((out / "indexes").iterdir())) == 2
    assert after.cell("words", "exact").fingerprint != before.cell("words", "exact").fingerprint
    assert after.cell("words", "exact").run != before.cell("words", "exact").run
    assert (out / before.cell("words", "exact").run).exists()


@pytest.mark.slow
def test_a_suite_can_name_a_finished_index(suite_file, data_folder, tmp_path):
    evaluate(suite_file, tmp_path / "out", data_folder)
    (index,) = (tmp_path / "out" / "indexes").iterdir()
    suite_file.write_text(suite_file.read_text().replace('sources = ["words"]', f'index = "{index}"'))
    comparison, messages = evaluate(suite_file, tmp_path / "other", data_folder)
    assert "words: encoding" not in messages
    assert not (tmp_path / "other" / "indexes").exists()
    assert len(comparison.cells) == 3
    suite_file.write_text(suite_file.read_text().replace(str(index), "no-index"))
    with pytest.raises(BadInputError, match="no-index is missing in"):
        evaluate(suite_file, tmp_path / "third", data_folder)


@pytest.mark.slow
def test_a_run_over_another_corpus_is_an_error(suite_file, data_folder, tmp_path):
    write_run(data_folder / "words.trec", [ScoredDoc("q1", "x1", 1.0), ScoredDoc("q2", "x2", 1.0)])
    with pytest.raises(BadInputError, match="x1"):
        evaluate(suite_file, tmp_path / "out", data_folder)
    write_run(data_folder / "words.trec", [ScoredDoc("other1", "d1", 1.0)])
    with pytest.raises(BadInputError, match="the run has no judged query"):
        evaluate(suite_file, tmp_path / "out", data_folder)


@pytest.mark.slow
def test_a_missing_baseline_is_replaced_with_a_warning(suite_file, data_folder, tmp_path, caplog):
    suite_file.write_text('baseline = "given"\n' + suite_file.read_text())
    (data_folder / "words.trec").unlink()
    comparison, _ = evaluate(suite_file, tmp_path / "out", data_folder)
    assert comparison.baseline == "exact"
    assert "the baseline given was skipped everywhere: exact is the baseline instead" in caplog.text


@pytest.mark.slow
def test_question_files_of_dpr_are_registered(suite_file, data_folder, tmp_path):
    questions = "".join(f"about {word}\t['{word}']\n" for word in WORDS)
    (data_folder / "nq-test.qa.csv").write_text(questions)
    text = suite_file.read_text().replace('source = "not-here"', 'source = "words-of-dpr/test"')
    text = text.replace('measures = ["RR@10"]', 'measures = ["AnswerMatch@5"]')
    suite_file.write_text(text + '\n[register]\n"words-of-dpr/test" = "nq-test.qa.csv"\n')
    comparison, _ = evaluate(suite_file, tmp_path / "out", data_folder)
    assert comparison.cell("elsewhere", "exact").values["AnswerMatch@5"].keys() == {str(n) for n in range(12)}


@pytest.mark.slow
def test_a_registered_question_file_that_is_missing_is_named(suite_file, data_folder, tmp_path):
    text = suite_file.read_text().replace('source = "not-here"', 'source = "words-of-dpr/none"')
    suite_file.write_text(text + '\n[register]\n"words-of-dpr/none" = "none.qa.csv"\n')
    comparison, _ = evaluate(suite_file, tmp_path / "out", data_folder)
    assert "none.qa.csv is missing in" in comparison.skipped[0].reason


class PageText(HTMLParser):
    def __init__(self):
        super().__init__()
        self.text = ""

    def handle_data(self, data):
        self.text += data


@pytest.mark.slow
@needs_pyserini
def test_the_command_with_bm25_and_fusions(suite_file, data_folder, tmp_path):
    assert java.find_java() is not None
    suite_file.write_text(suite_file.read_text() + BM25)
    out = tmp_path / "out"
    command = ["eval", str(suite_file), "-o", str(out), "--data", str(data_folder), "--timed", "2", "--offline"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    for name in ("exact", "auto", "bm25", "rrf", "weighted", "AnswerMatch@5", "One word each"):
        assert name in result.stdout
    assert "skipped all systems on elsewhere" in result.stderr
    comparison = Comparison.read(out / "results.json")
    assert comparison.cell("words", "bm25").mean("R@5") == 1.0
    assert comparison.cell("words", "bm25").mean("R@5") >= comparison.cell("words", "rrf").mean("R@5") > 0
    assert all(comparison.cell("words", name).ms_per_query for name in ("bm25", "rrf", "weighted"))
    page = PageText()
    page.feed((out / "report.html").read_text())
    for text in ("Few words", "BM25 (pyserini), k1 0.9, b 0.4", "pyserini", "reciprocal rank fusion of auto and bm25"):
        assert text in page.text

    again = CliRunner().invoke(app, [*command, "--json"])
    assert again.exit_code == 0, again.output
    lines = [json.loads(line) for line in again.stdout.splitlines()]
    assert [line["system"] for line in lines] == ["exact", "auto", "given", "bm25", "rrf", "weighted"]
    part = CliRunner().invoke(app, [*command, "--json", "--query-set", "words", "--system", "rrf"])
    assert [json.loads(line)["system"] for line in part.stdout.splitlines()] == ["exact", "auto", "bm25", "rrf"]


def test_the_command_reports_an_error_in_one_line(suite_file, data_folder, tmp_path):
    def error(*arguments):
        result = CliRunner().invoke(app, ["eval", *map(str, arguments), "-o", str(tmp_path / "out"), "--offline"])
        assert result.exit_code == 1
        return result.stderr.splitlines()[-1]

    assert "cannot read this suite" in error(tmp_path / "none.toml")
    assert "expected one of words, elsewhere" in error(suite_file, "--query-set", "nq")
    assert "nothing of this suite could be evaluated" in error(suite_file, "--data", tmp_path / "nothing")
    (data_folder / "words" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\tgood\n")
    assert "test.tsv:2: the score is 'good'" in error(suite_file, "--data", data_folder)
