from pathlib import Path

import pytest

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import parse_measures
from elasticdenser.suites import Suite, read_any_suite, read_suite
from elasticdenser.suites.settings import Bm25Settings, DenseSettings, RrfSettings

RERANKED = [f"bm25-{name}" for name in ("reranked", "reranked-middle", "reranked-small", "cascade")]
SYSTEMS = {
    "elastic-local": ["auto"],
    "subjects-local": ["full"],
    "xquad-local": ["e5"],
    "rerank-local": [
        *("full", "full-reranked", "level0", "level0-reranked", "level0-by-level0", "bm25", "bm25-reranked"),
        *("tasb", "tasb-reranked", "splade", "splade-reranked"),
    ],
    "rerank-elastic-local": [
        *("full", *(name.replace("bm25", "full") for name in RERANKED)),
        *("bm25", *RERANKED, "tasb", "tasb-reranked", "splade", "splade-reranked"),
    ],
}
GOOD = """
title = "A suite"
[corpora.c]
sources = ["passages.jsonl"]
[query-sets.q]
corpus = "c"
source = "queries.jsonl"
measures = ["nDCG@10"]
[systems.both]
type = "rrf"
of = ["words", "vectors"]
[systems.words]
type = "bm25"
k1 = 1
[systems.vectors]
type = "dense"
exact = true
[systems.third]
type = "bm25"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "suite.toml"
    path.write_text(text)
    return path


def test_a_suite_is_read_and_systems_come_after_those_that_they_fuse(tmp_path):
    suite = read_suite(write(tmp_path, GOOD))
    assert (suite.title, suite.k, suite.baseline) == ("A suite", 1000, "both")
    assert list(suite.systems) == ["words", "vectors", "both", "third"]
    assert suite.systems["words"] == Bm25Settings(k1=1.0)
    assert suite.systems["vectors"] == DenseSettings(exact=True)
    assert suite.systems["both"] == RrfSettings(of=("words", "vectors"))
    assert suite.query_sets["q"].measures == ("nDCG@10",)


def test_a_part_of_a_suite_includes_the_baseline_and_fused_systems(tmp_path):
    suite = read_suite(write(tmp_path, GOOD))
    assert list(suite.only(query_sets=["q"], systems=["words"]).systems) == ["words", "vectors", "both"]
    alone = read_suite(write(tmp_path, 'baseline = "third"\n' + GOOD))
    assert list(alone.only(query_sets=[], systems=["vectors"]).systems) == ["vectors", "third"]
    assert alone.only(query_sets=[], systems=[]) == alone
    with pytest.raises(BadInputError, match="got 'nowhere', expected one of q"):
        suite.only(query_sets=["nowhere"], systems=[])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A suite"', "title = 3", "suite.title: got 3, expected a value of type str"),
        (
            'title = "A suite"',
            'titel = "A suite"',
            "suite: unknown key 'titel', expected some of title, baseline,",
        ),
        ('title = "A suite"', "k = 0", "suite.k: got 0, expected at least 1"),
        ('title = "A suite"', 'baseline = "none"', "baseline: got 'none', expected one of"),
        ('corpus = "c"', 'corpus = "d"', "query-sets.q.corpus: got 'd', expected one of c"),
        ('corpus = "c"', "", "query-sets.q: 'corpus' is missing"),
        (
            'measures = ["nDCG@10"]',
            "measures = []",
            "measures: got [], expected a list with at least 1 item",
        ),
        ('measures = ["nDCG@10"]', 'measures = "nDCG@10"', "expected a list"),
        ('measures = ["nDCG@10"]', "measures = [10]", "query-sets.q.measures[0]: got 10, expected a value of type str"),
        (
            'source = "queries.jsonl"',
            'source = "x"\ntyping_errors = 3',
            "got 3, expected at least 0 and at most 2",
        ),
        ('source = "queries.jsonl"', 'source = "x"\nk = -1', "query-sets.q.k: got -1, expected at least 0"),
        ("k1 = 1", "k1 = -1", "systems.words.k1: got -1, expected at least 0"),
        ("k1 = 1", "k1 = nan", "not a finite number"),
        ("k1 = 1", "b = 1.5", "systems.words.b: got 1.5, expected at least 0 and at most 1"),
        ('of = ["words", "vectors"]', "of = []", "systems.both.of: got [], expected a list with at least 1 item"),
        ('type = "rrf"', 'type = "magic"', "systems.both: got type = 'magic', expected one of dense, hybrid, bm25"),
        ('"words", "vectors"]', '"words", "nothing"]', "systems.both.of: got 'nothing'"),
        ('"words", "vectors"]', '"words", "both"]', "fuses itself"),
        ("exact = true", "exact = 1", "systems.vectors.exact: got 1, expected a value of type bool"),
        ("exact = true", 'precision = "int7"', "got 'int7'; expected one of auto, int8, fp32"),
        (
            "exact = true",
            "exakt = true",
            "systems.vectors: unknown key 'exakt', expected some of title,",
        ),
        ('sources = ["passages.jsonl"]', "", "corpora.c: got {}: expected either 'sources' or 'index'"),
        ("[corpora.c]", "[corpora.'a/b']", "cannot be part of a file name"),
        (
            "[query-sets.q]",
            "[query_sets.q]",
            "suite: unknown key 'query_sets'",
        ),
        (GOOD, "title = 'x'", "there are no corpora"),
        (GOOD, "title = ", "this is not TOML"),
        (
            'type = "rrf"\nof = ["words", "vectors"]',
            'type = "weighted"\nof = ["words", "vectors"]\nweights = [1]',
            "got 1 weights for 2 systems",
        ),
    ],
)
def test_an_invalid_suite_is_refused_with_file_and_key(tmp_path, old, new, message):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(BadInputError) as raised:
        read_suite(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(path))


def test_an_unknown_key_comes_with_the_known_one_that_is_similar(tmp_path):
    with pytest.raises(BadInputError, match="did you mean 'query-sets'"):
        read_suite(write(tmp_path, GOOD.replace("[query-sets.q]", "[query_sets.q]")))


def test_a_missing_suite_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="cannot read this suite"):
        read_suite(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "eval" / "suites").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_suites_of_the_project_can_be_read_and_measured(path):
    suite = read_any_suite(path)
    if not isinstance(suite, Suite):
        pytest.skip("it has models of tasks instead of systems: see tests/recipes")
    assert list(suite.systems) == SYSTEMS.get(path.stem, ["exact", "auto", "bm25", "rrf", "weighted"])
    for query_set in suite.query_sets.values():
        assert parse_measures(query_set.measures)
        assert query_set.title
