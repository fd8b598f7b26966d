"""Scripts that make the dev sets and collect the training texts."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import collect_texts
import held_out
import make_dev_sets
import pytest
from recipe_scripts import RECIPES, write_data_sets

from elasticdenser.datasets import Passage, load_qrels, load_queries, open_corpus

DEV_SETS = {"scifact", "medquad", "wiki-leads", "keywords", "python-docs", "trecqa"}


@pytest.fixture(scope="module")
def made_up_data(tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("data")
    write_data_sets(data)
    return data


def read_lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def run_main(monkeypatch, module, *arguments: Path | str) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def documented(name: str, text: str) -> Passage:
    return Passage(name, f"{name}(a)\n{text}", f"{name}(a)")


@pytest.fixture
def few_docs(monkeypatch):
    """A standard library of three functions, two of which have the same docstring."""
    shared = "Close the door of the stable quietly behind the last horse."
    docs = [
        documented("stable.close", shared),
        documented("barn.close", shared),
        documented("stable.feed", "Give every horse of the stable as much hay as it will eat."),
        documented("stable.short", "Too short."),
    ]
    monkeypatch.setattr(make_dev_sets, "python_docs", lambda: iter(docs))
    return docs


@pytest.fixture
def subjects(made_up_data, few_docs, tmp_path, monkeypatch) -> Path:
    run_main(monkeypatch, make_dev_sets, made_up_data, tmp_path / "subjects")
    return tmp_path / "subjects"


def test_dev_sets_can_be_searched(subjects, made_up_data):
    assert {path.name for path in (subjects / "dev").iterdir()} == DEV_SETS
    assert (subjects / "wiki").resolve() == (made_up_data / "wiki").resolve()
    for name in DEV_SETS:
        folder = subjects / "dev" / name
        passages = {passage.doc_id for passage in open_corpus([str(folder)])}
        qrels = list(load_qrels(folder, split="dev"))
        queries = {query.query_id: query.text for query in load_queries(folder, split="dev")}
        assert qrels and {qrel.doc_id for qrel in qrels} <= passages, name
        assert {qrel.query_id for qrel in qrels} == set(queries) and all(queries.values()), name


def test_dev_sets_ask_for_what_is_held_out(subjects):
    leads = {query.query_id for query in load_queries(subjects / "dev" / "wiki-leads", split="dev")}
    keywords = {held_out.article_of(q.query_id) for q in load_queries(subjects / "dev" / "keywords", split="dev")}
    assert leads and keywords and all(map(held_out.is_held_out_article, leads | keywords))
    # The lead is not among the passages that are searched for the rest of its article.
    lead_ids = {passage.doc_id for passage in open_corpus([str(subjects / "dev" / "wiki-leads")])}
    assert not {f"{article}-0" for article in leads} & lead_ids
    assert len(list(load_queries(subjects / "dev" / "medquad", split="dev"))) == held_out.N_MEDICAL_QUESTIONS


def test_functions_with_one_docstring_share_a_passage(subjects):
    folder = subjects / "dev" / "python-docs"
    assert len(list(open_corpus([str(folder)]))) == 2
    names = {query.query_id: query.text for query in load_queries(folder, split="dev")}
    assert set(names.values()) == {"stable.close", "barn.close", "stable.feed"}
    answers = {names[qrel.query_id]: qrel.doc_id for qrel in load_qrels(folder, split="dev")}
    assert answers["stable.close"] == answers["barn.close"] != answers["stable.feed"]


def test_dev_sets_are_made_again_with_the_same_bytes(subjects, made_up_data, tmp_path, monkeypatch):
    files = [path for path in (subjects / "dev").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    run_main(monkeypatch, make_dev_sets, made_up_data, subjects)
    assert {path: path.read_bytes() for path in files} == before


def test_collected_texts_hold_nothing_held_out(subjects, made_up_data, few_docs, monkeypatch):
    packages = subjects / "packages"
    (packages / "mine" / "tests").mkdir(parents=True)
    lines = [few_docs[0].text.partition("\n")[2], "Count the apples in the basket and return their number."]
    body = "\n".join(f"def f{n}():\n    '''{line}'''" for n, line in enumerate(lines))
    (packages / "mine" / "__init__.py").write_text(body)
    (packages / "mine" / "tests" / "test_mine.py").write_text("'''Nothing of this test is ever read.'''")
    monkeypatch.setattr(collect_texts.sysconfig, "get_path", lambda name: str(packages))
    monkeypatch.setattr(collect_texts.shutil, "which", lambda name: None)
    run_main(
        monkeypatch, collect_texts, subjects, subjects / "texts", "wiki", "science", "medicine", "python", "titles"
    )
    texts = {path.name.partition(".")[0]: read_lines(path) for path in (subjects / "texts").iterdir()}
    assert set(texts) == {"wiki", "science", "medicine", "python", "titles"} and all(texts.values())
    for lines in texts.values():
        assert len(set(lines)) == len(lines) and all(line == " ".join(line.split()) for line in lines)
    articles = {int(number) for line in texts["wiki"] + texts["titles"] for number in re.findall(r"article(\d+)", line)}
    assert articles and not any(held_out.is_held_out_article(f"wiki-{number}") for number in articles)
    asked = {q.text for q in load_queries(subjects / "dev" / "medquad", split="dev")}
    numbers = {re.search(r"disease(\d+)", question)[1] for question in asked}
    assert not numbers & {n for line in texts["medicine"] for n in re.findall(r"(?:disease|number|patient)(\d+)", line)}
    assert not any("compound seven lowers the pressure of blood in" in line for line in texts["science"])
    collected = " ".join(texts["python"]).lower()
    assert "apples" in collected and "nothing of this test" not in collected
    assert "quietly behind the last horse" not in collected or "door of the stable quietly" not in collected


def test_names_and_messages_of_installed_packages_are_texts(subjects, tmp_path, monkeypatch):
    source = """
class Basket:
    def count(self, kind: str = "apple", *, whole=True):
        if not kind:
            raise ValueError(f"got kind {kind!r}, expected the name of a fruit")
        raise KeyError("no fruit")

    def _hidden(self): ...

async def empty(): ...
"""
    for name in (
        "mine/__init__.py",
        "mine/fruit.py",
        "json/decoder.py",
        "backports/late.py",
        "mine/tests/test_mine.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source if "mine" in name else "def borrowed(): ...")
    monkeypatch.setattr(collect_texts.sysconfig, "get_path", lambda name: str(tmp_path))
    texts = set(collect_texts.names(subjects))
    names = {text.partition("(")[0] for text in texts if ":" not in text.partition("(")[0]}
    assert names == {
        f"{module}.{name}" for module in ("mine", "mine.fruit") for name in ("Basket", "Basket.count", "empty")
    }
    assert "ValueError: got kind x, expected the name of a fruit" in texts
    assert not any("KeyError" in text or "borrowed" in text for text in texts)
    signatures = {text for text in texts if text.startswith("mine") and "(" in text}
    assert all(text.endswith(("()", "(self, kind: str='apple', *, whole=True)")) for text in signatures)


@pytest.mark.slow
def test_texts_are_collected_only_beside_dev_sets(made_up_data, tmp_path):
    command = [sys.executable, RECIPES / "collect_texts.py", made_up_data, tmp_path / "texts"]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "expected the folder that make_dev_sets.py made" in failed.stderr
    assert not (tmp_path / "texts").exists()


def test_an_unknown_source_is_refused(subjects, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_main(monkeypatch, collect_texts, subjects, subjects / "texts", "wikis")
    assert "got source wikis, expected some of wiki, science" in capsys.readouterr().err


def test_held_out_texts_overlap_by_eight_words_or_as_a_whole():
    texts = held_out.HeldOutTexts(["one two three four five six seven eight nine", "Short query?"])
    assert texts.overlap("Zero, one, two; three four five six SEVEN eight!")
    assert not texts.overlap("one two three four five six seven 8")
    assert texts.overlap("short query") and not texts.overlap("a short query")


def test_the_share_of_held_out_articles():
    shares = [held_out.is_held_out_article(f"wiki-{number}") for number in range(20_000)]
    assert sum(shares) / len(shares) == pytest.approx(held_out.ARTICLES_PER_MILLE / 1000, rel=0.15)
    assert held_out.article_of("wiki-12-3") == "wiki-12"
    questions = [f"question {number}" for number in range(1500)]
    chosen = held_out.held_out_questions(questions * 2)
    assert len(chosen) == held_out.N_MEDICAL_QUESTIONS and chosen == held_out.held_out_questions(questions[::-1])


def test_spans_have_all_lengths():
    words = [str(number) for number in range(100)]
    spans = [collect_texts.span_of(words, Random(seed)).split() for seed in range(3000)]
    assert all(span == words[int(span[0]) : int(span[0]) + len(span)] for span in spans)
    lengths = [len(span) for span in spans]
    assert (min(lengths), max(lengths)) == collect_texts.SPAN_WORDS
    # Log-uniform: as many from 3 to 6 as from 10 to 20 words.
    assert sum(3 <= n < 6 for n in lengths) == pytest.approx(sum(10 <= n < 20 for n in lengths), rel=0.15)
    assert {collect_texts.span_of(["one"], Random(seed)) for seed in range(20)} == {"one"}


def test_pieces_are_spans_sentences_and_runs():
    sentences = [f"Sentence {number} has some words." for number in range(80)]
    text = " ".join(sentences)
    pieces = list(collect_texts.cut([text], 2000, Random(0)))
    assert len(pieces) == 2000 and all(piece in text for piece in pieces)
    lengths = [len(piece.split()) for piece in pieces]
    assert max(lengths) == collect_texts.MAX_WORDS
    assert sum(piece in sentences for piece in pieces) / 2000 == pytest.approx(0.25, abs=0.06)
    assert sum(length > 40 for length in lengths) / 2000 == pytest.approx(0.22, abs=0.06)
    assert list(collect_texts.cut(["one"], 3, Random(0))) == ["one"] * 3
    longest = " ".join(["word"] * 500)
    assert max(len(piece.split()) for piece in collect_texts.cut([longest], 200, Random(0))) <= collect_texts.MAX_WORDS


def test_lines_are_distinct_and_without_rules():
    nothing = held_out.HeldOutTexts([])
    texts = ["Contents ........ 12\n==========", "Contents 12", " \n ", "....."] * 2
    lines = [collect_texts.lines_of(texts, 0, nothing, Random(seed)) for seed in range(20)]
    assert ["Contents 12"] in lines and all(line in (["Contents 12"], ["contents 12"]) for line in lines)


def test_a_fifth_of_the_texts_is_varied():
    variants = [collect_texts.varied("The Novel, of course!", Random(seed)) for seed in range(2000)]
    assert variants.count("Novel course") / 2000 == pytest.approx(collect_texts.KEYWORD_SHARE, abs=0.03)
    assert variants.count("the novel of course") / 2000 == pytest.approx(collect_texts.CASELESS_SHARE, abs=0.03)
    assert len(set(variants)) == 3


def test_paragraphs_of_a_manual_page():
    page = r"""
.\" A comment.
.de MACRO
.. is not read
.TH STABLE 1
.SH NAME
stable \- keep the horses of a farm in one place \fB(see below)\fP
.SH DESCRIPTION
.B stable
opens the door \(em if there is \[lq]one\[rq] \- and
.I counts
the horses.
.nf
for horse in horses; do count of them again and again and again; done
.fi
.TP
--all
"""
    assert [" ".join(text.split()) for text in collect_texts.manual_paragraphs(page)] == [
        "stable - keep the horses of a farm in one place (see below)",
        'stable opens the door - if there is "one" - and counts the horses.',
    ]


def test_prose_is_told_from_code_and_other_scripts():
    assert collect_texts.is_prose("Return the number of apples in `basket`.")
    assert not collect_texts.is_prose("x = f(y_1) + g[2] # of z")
    assert not collect_texts.is_prose("число яблок в корзине")


def test_no_group_gives_more_paths_than_allowed():
    paths = [Path(f"{group}/{number}.py") for group, n in (("large", 50), ("small", 2)) for number in range(n)]
    chosen = list(collect_texts.some_of_each(paths, 5, lambda path: path.parts[0]))
    assert sum(path.parts[0] == "large" for path in chosen) == 5 and len(chosen) == 7
    assert chosen == list(collect_texts.some_of_each(paths[::-1], 5, lambda path: path.parts[0]))


def test_every_source_of_the_recipe_is_collected():
    recipe = (RECIPES / "all-MiniLM-L6-v2-subjects.toml").read_text()
    # The model was trained before names were collected.
    assert set(re.findall(r'"texts/(\w+)\.txt\.gz"', recipe)) == set(collect_texts.SOURCES) - {"names"}
    assert set(re.findall(r'path = "dev/([\w-]+)"', recipe)) == DEV_SETS
