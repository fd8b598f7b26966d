from pathlib import Path

import pytest

from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.measures import parse_measures
from elasticdenser.suites import read_suite
from elasticdenser.suites.settings import Bm25Settings, DenseSettings, RrfSettings

SYSTEMS = {"elastic-local": ["auto"]}
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


def test_a_suite_is_read_and_systems_stand_after_those_they_fuse(tmp_path):
    suite = read_suite(write(tmp_path, GOOD))
    assert (suite.title, suite.k, suite.baseline) == ("A suite", 1000, "both")
    assert list(suite.systems) == ["words", "vectors", "both", "third"]
    assert suite.systems["words"] == Bm25Settings(k1=1.0)
    assert suite.systems["vectors"] == DenseSettings(exact=True)
    assert suite.systems["both"] == RrfSettings(of=("words", "vectors"))
    assert suite.query_sets["q"].measures == ("nDCG@10",)


def test_a_part_of_a_suite_keeps_the_baseline_and_what_is_fused(tmp_path):
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
        ('title = "A suite"', "title = 3", "title: got 3, expected a value of type str"),
        ('title = "A suite"', 'titel = "A suite"', "unknown key 'titel'"),
        ('title = "A suite"', "k = 0", "got k = 0"),
        ('title = "A suite"', 'baseline = "none"', "baseline: got 'none', expected one of"),
        ('corpus = "c"', 'corpus = "d"', "query-sets.q.corpus: got 'd', expected one of c"),
        ('corpus = "c"', "", "query-sets.q: 'corpus' is missing"),
        ('measures = ["nDCG@10"]', "measures = []", "expected a list with at least one item"),
        ('measures = ["nDCG@10"]', 'measures = "nDCG@10"', "expected a list"),
        ('measures = ["nDCG@10"]', "measures = [10]", "expected a value of type str"),
        ('type = "rrf"', 'type = "magic"', "got type = 'magic', expected one of dense, bm25"),
        ('"words", "vectors"]', '"words", "nothing"]', "systems.both.of: got 'nothing'"),
        ('"words", "vectors"]', '"words", "both"]', "fuses itself"),
        ("exact = true", "exact = 1", "expected a value of type bool"),
        ("exact = true", "exakt = true", "systems.vectors: unknown key 'exakt'"),
        ('sources = ["passages.jsonl"]', "", "expected either 'sources' or 'index'"),
        ("[corpora.c]", "[corpora.'a/b']", "cannot be part of a file name"),
        ("[query-sets.q]", "[query_sets.q]", "unknown key 'query_sets'"),
        (GOOD, "title = 'x'", "there are no corpora"),
        (GOOD, "title = ", "this is no TOML"),
        (
            'type = "rrf"\nof = ["words", "vectors"]',
            'type = "weighted"\nof = ["words", "vectors"]\nweights = [1]',
            "got 1 weights for 2 systems",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, old, new, message):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(BadInputError) as raised:
        read_suite(path)
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(path))


def test_a_missing_file(tmp_path):
    with pytest.raises(BadInputError, match="cannot read this suite"):
        read_suite(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "eval" / "suites").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_suites_of_the_project_can_be_read_and_measured(path):
    suite = read_suite(path)
    assert list(suite.systems) == SYSTEMS.get(path.stem, ["exact", "auto", "bm25", "rrf", "weighted"])
    for query_set in suite.query_sets.values():
        assert parse_measures(query_set.measures)
        assert query_set.title
