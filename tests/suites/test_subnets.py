"""Suites with systems of several subnets, and with typing errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from elastic_models import write_elastic_encoder
from test_settings import GOOD, write

from elasticdenser.errors import BadInputError
from elasticdenser.models.locate import DEFAULT_ELASTIC
from elasticdenser.progress import silent
from elasticdenser.subnet import LEVEL_0, Subnet
from elasticdenser.suites import SuiteOptions, cell_lines, read_suite, run_suite
from elasticdenser.suites.perturbed_queries import mistyped
from elasticdenser.suites.resources import Resources
from elasticdenser.suites.settings import DenseSettings, SubnetSettings

SUBNETS = [Subnet(1.0, 2), Subnet(0.5, 2), Subnet(1.0, 1), LEVEL_0]
ALL = GOOD.replace("exact = true", 'exact = true\nsubnet = "all"')
SOME = GOOD.replace("exact = true", 'subnet = ["level0", "w0.50-d2", "w0.5-d2"]')


def expanded(suite):
    """Expand a suite for an encoder that has `SUBNETS`."""
    return suite.expanded(lambda encoder: SUBNETS)


def test_all_subnets_of_a_system_become_a_system_each(tmp_path):
    suite = expanded(read_suite(write(tmp_path, 'baseline = "vectors"\n' + ALL)))
    systems = ["vectors.w1-d2", "vectors.w0.5-d2", "vectors.w1-d1", "vectors.level0"]
    assert list(suite.systems) == ["words", *systems, "both", "third"]
    assert suite.systems["vectors.level0"] == SubnetSettings(
        encoder=DEFAULT_ELASTIC, subnet="level0", exact=True, family="vectors"
    )
    # Where a single system is needed, it is the largest.
    assert suite.baseline == "vectors.w1-d2"
    assert suite.systems["both"].of == ("words", "vectors.w1-d2")
    assert expanded(suite) == suite


def test_a_list_of_subnets_and_a_single_subnet(tmp_path):
    suite = read_suite(write(tmp_path, SOME.replace('"words", "vectors"]', '"words", "vectors.level0"]')))
    assert suite.systems["vectors"].subnet == ("level0", "w0.5-d2")
    assert list(expanded(suite).systems) == ["words", "vectors.w0.5-d2", "vectors.level0", "both", "third"]
    assert expanded(suite).systems["both"].of == ("words", "vectors.level0")
    single = read_suite(write(tmp_path, GOOD.replace("exact = true", 'subnet = "w1.0-d1"')))
    assert expanded(single).systems["vectors"] == DenseSettings(encoder=DEFAULT_ELASTIC, subnet="w1-d1")


def test_without_subnets_nothing_changes_and_no_encoder_is_loaded(tmp_path):
    suite = read_suite(write(tmp_path, GOOD))
    assert suite.expanded(lambda encoder: pytest.fail("an encoder was loaded")) == suite


@pytest.mark.parametrize(
    ("text", "baseline", "chosen", "expected"),
    [
        (ALL, "vectors", ["vectors.level0"], ["vectors.w1-d2", "vectors.level0"]),
        (ALL, "vectors.w0.5-d2", ["vectors.w1.0-d1"], ["vectors.w0.5-d2", "vectors.w1-d1"]),
        (ALL, "third", ["vectors.level0"], ["vectors.level0", "third"]),
        (ALL, "third", ["both"], ["words", "vectors.w1-d2", "both", "third"]),
        (ALL, "third", ["vectors", "vectors.level0"], [*(f"vectors.{subnet}" for subnet in SUBNETS), "third"]),
        (SOME, "vectors", ["third"], ["vectors.w0.5-d2", "third"]),
        (SOME, "third", ["vectors"], ["vectors.w0.5-d2", "vectors.level0", "third"]),
    ],
)
def test_a_choice_means_a_system_or_one_subnet_of_it(tmp_path, text, baseline, chosen, expected):
    suite = read_suite(write(tmp_path, f'baseline = "{baseline}"\n' + text))
    assert list(expanded(suite.only(query_sets=[], systems=chosen)).systems) == expected


def test_subnets_can_be_chosen_for_a_suite_that_names_none(tmp_path):
    suite = read_suite(write(tmp_path, GOOD))
    assert suite.with_subnets([]) == suite
    single = expanded(suite.with_subnets(["w0.50-d2"]))
    assert single.systems["vectors"] == DenseSettings(encoder=DEFAULT_ELASTIC, subnet="w0.5-d2", exact=True)
    assert list(single.systems) == list(suite.systems)
    several = expanded(suite.with_subnets(["level0", "w1-d2"]))
    assert [name for name in several.systems if "." in name] == ["vectors.w1-d2", "vectors.level0"]
    assert len(expanded(suite.with_subnets(["all"])).systems) == len(suite.systems) - 1 + len(SUBNETS)
    with pytest.raises(BadInputError, match=r"vectors\.subnet: got subnet 'small'"):
        suite.with_subnets(["small"])


def test_an_unknown_choice_is_refused(tmp_path):
    suite = read_suite(write(tmp_path, SOME))
    with pytest.raises(BadInputError, match=r"got 'vectors.w1-d1', expected one of words, vectors, vectors.level0, "):
        suite.only(query_sets=[], systems=["vectors.w1-d1"])
    with pytest.raises(BadInputError, match=r"got 'words.level0', expected one of words"):
        suite.only(query_sets=[], systems=["words.level0"])
    suite = read_suite(write(tmp_path, ALL))
    with pytest.raises(BadInputError, match=r"got 'vectors.huge', expected one of words, vectors, vectors.SUBNET,"):
        suite.only(query_sets=[], systems=["vectors.huge"])
    with pytest.raises(
        BadInputError, match=r"systems.vectors.subnet: got w1-d9, but the encoder has only the subnets w1-d2, "
    ):
        expanded(suite.only(query_sets=[], systems=["vectors.w1-d9"]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('subnet = "all"', "subnet = []", "systems.vectors.subnet: got [], expected a list with at least 1 item"),
        ('subnet = "all"', "subnet = [1]", "systems.vectors.subnet[0]: got 1, expected a value of type str"),
        ('subnet = "all"', "subnet = 0.5", "systems.vectors.subnet: got 0.5, expected a value of type str"),
        ('subnet = "all"', 'subnet = ["all", "level0"]', "systems.vectors.subnet: got subnet 'all', expected the form"),
        ('subnet = "all"', 'subnet = "small"', "systems.vectors.subnet: got subnet 'small'"),
        ('"vectors"]', '"vectors.tiny"]', "systems.both.of: got 'vectors.tiny', expected one of"),
        ('title = "A suite"', 'baseline = "words.w1-d2"', "baseline: got 'words.w1-d2', expected one of"),
        (
            "[query-sets.q]",
            "[query-sets.q]\ntyping_errors = 3",
            "got 3, expected at least 0 and at most 2",
        ),
        (
            "[query-sets.q]",
            "[query-sets.q]\ntyping_errors = -1",
            "got -1, expected at least 0 and at most 2",
        ),
        (
            "[query-sets.q]",
            '[query-sets.q]\nperturbation = "typo"',
            "got the perturbation 'typo', expected one of typing-error, ",
        ),
        (
            "[query-sets.q]",
            '[query-sets.q]\nperturbation = "dropped-word"\ntyping_errors = 1',
            "got both 'typing_errors' and 'perturbation', expected one of them",
        ),
        ("[query-sets.q]", "[query-sets.q]\ntyping_errors = true", "typing_errors: got True, expected a value of type"),
    ],
)
def test_invalid_subnets_and_typing_errors_are_refused_with_their_key(tmp_path, old, new, message):
    assert old in ALL
    with pytest.raises(BadInputError) as raised:
        read_suite(write(tmp_path, ALL.replace(old, new)))
    assert message in str(raised.value)


def test_subnets_that_the_encoder_lacks_are_refused(tmp_path):
    lacks = read_suite(write(tmp_path, GOOD.replace("exact = true", 'subnet = ["w1-d2", "w1-d9", "w1-d8"]')))
    with pytest.raises(BadInputError, match=r"got w1-d9, w1-d8, but the encoder has only the subnets w1-d2, w0.5-d2,"):
        expanded(lacks)
    fused = read_suite(write(tmp_path, ALL.replace('"vectors"]', '"vectors.w1-d9"]')))
    with pytest.raises(
        BadInputError, match=r"systems.both.of: got 'vectors.w1-d9', but vectors has only the subnets w1-d2"
    ):
        expanded(fused)
    taken = read_suite(write(tmp_path, ALL.replace("[systems.third]", '[systems."vectors.level0"]')))
    with pytest.raises(BadInputError, match=r"systems.vectors.level0: a subnet of vectors has the same name"):
        expanded(taken)


def test_typing_errors_depend_on_the_query_not_on_its_position():
    queries = {"a": "who wrote dune", "b": "where is paris", "c": "who wrote dune"}
    one, two = mistyped(queries, 1), mistyped(queries, 2)
    assert mistyped(queries, 0) == queries
    assert all(len({queries[key], one[key], two[key]}) == 3 for key in "ab")
    assert one["a"] != one["c"]
    assert mistyped({"b": queries["b"]}, 2) == {"b": two["b"]}
    # Other machines and later versions must give the same errors, or figures cannot be compared.
    assert one == {"a": "who wrrote dune", "b": "whee is paris", "c": "who wroe dune"}


SUITE = """
title = "Subnets"
baseline = "elastic"
k = 5
[corpora.c]
sources = ["words"]
[query-sets.clean]
title = "One word each"
corpus = "c"
source = "words"
measures = ["RR@5", "R@1"]
[query-sets.hasty]
corpus = "c"
source = "words"
measures = ["RR@5"]
typing_errors = 2
[query-sets.swapped]
corpus = "c"
source = "words"
measures = ["RR@5"]
perturbation = "swapped-words"
[systems.plain]
type = "dense"
encoder = "PLAIN"
[systems.elastic]
type = "dense"
title = "of twelve"
encoder = "ELASTIC"
subnet = "all"
"""
WORDS = ["dune", "desert", "paris", "threads", "moon", "bread", "river", "piano", "chess", "snow"]


@pytest.fixture
def data_folder(tmp_path) -> Path:
    """A BEIR folder of ten passages and as many queries."""
    folder = tmp_path / "data" / "words"
    (folder / "qrels").mkdir(parents=True)
    for name, text in (("corpus", "all about {}"), ("queries", "about {}")):
        records = [{"_id": f"{name[0]}{n}", "title": "", "text": text.format(word)} for n, word in enumerate(WORDS)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\tc{n}\t1" for n in range(len(WORDS)))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder.parent


@pytest.mark.slow
def test_a_suite_of_all_subnets_with_slips(tiny_model, data_folder, tmp_path):
    elastic, out = write_elastic_encoder(tmp_path / "elastic", tiny_model, seed=1), tmp_path / "out"
    path = write(tmp_path, SUITE.replace("PLAIN", str(tiny_model)).replace("ELASTIC", str(elastic)))
    options = SuiteOptions(data=data_folder, offline=True, timed_queries=0)
    suite = read_suite(path).with_precision("fp32")
    comparison = run_suite(suite, out, options)

    subnets = ["w1-d2", "w0.5-d2", "w1-d1", "w0.25-d2", "w0.5-d1", "w0.25-d1"]
    assert [system.name for system in comparison.systems] == ["plain", *(f"elastic.{subnet}" for subnet in subnets)]
    families = [(system.family, system.subnet) for system in comparison.systems[1:]]
    assert families == [("elastic", subnet) for subnet in subnets]
    assert comparison.systems[0].family == "" and comparison.baseline == "elastic.w1-d2"
    assert comparison.systems[2].title == "of twelve, w0.5-d2"
    # The index of the full encoder serves all its subnets.
    assert len(list((out / "indexes").iterdir())) == 1

    clean, hasty, swapped = comparison.query_sets
    assert (clean.typing_errors, hasty.typing_errors, clean.origin) == (0, 2, hasty.origin)
    assert hasty.title == "hasty, 2 typing errors per query"
    assert (swapped.slips, swapped.typing_errors, swapped.origin) == ("swapped-words", 0, clean.origin)
    assert swapped.title == "swapped, swapped-words" and swapped.queries["q0"] == "dune about"
    assert hasty.queries == mistyped(clean.queries, 2) != clean.queries
    assert comparison.cell("clean", "elastic.w1-d2").mean("RR@5") > comparison.cell("hasty", "elastic.w1-d2").mean(
        "RR@5"
    )
    assert len({cell.fingerprint for cell in comparison.cells}) == len({cell.run for cell in comparison.cells}) == 21
    slips = {(line["typing_errors"], line["perturbation"]) for line in cell_lines(comparison)}
    assert slips == {(0, ""), (2, ""), (0, "swapped-words")}
    for report in ("report.md", "report.html"):
        assert "Retention by subnet: elastic" in (out / report).read_text()

    messages: list[str] = []
    again = run_suite(suite, out, options, progress=lambda activity, done, total: messages.append(activity))
    assert again == comparison and set(messages) == {"significance", "report"}

    # After another training all subnets except the full one have other vectors: their cached results must not be used.
    write_elastic_encoder(elastic, tiny_model, seed=2)
    after = run_suite(suite, out, options)
    same = [cell.system for cell in after.cells if cell.fingerprint in {old.fingerprint for old in comparison.cells}]
    assert same == ["plain", "elastic.w1-d2"] * 3


def test_all_subnets_of_the_default_encoder(data_folder, tmp_path):
    path = write(tmp_path, SUITE.replace('encoder = "ELASTIC"\n', "").replace("PLAIN", "none"))
    options = SuiteOptions(data=data_folder, offline=True, timed_queries=0)
    systems = Resources(read_suite(path), tmp_path, options, silent).suite.systems
    assert {"elastic.w1-d6", "elastic.level0"} <= set(systems)
