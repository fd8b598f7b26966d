"""Suites with systems of several sizes, and with typing errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_settings import GOOD, write

from elasticdenser.errors import BadInputError
from elasticdenser.models.elastic_files import save_elastic
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.models.locate import DEFAULT_ELASTIC, find_model
from elasticdenser.models.settings import read_settings
from elasticdenser.subnet import LEVEL_0, Subnet
from elasticdenser.suites import SuiteOptions, cell_lines, read_suite, run_suite
from elasticdenser.suites.mistyped_queries import mistyped
from elasticdenser.suites.settings import DenseSettings, SizeSettings
from elasticdenser.suites.subnets import at_sizes

KNOWN = [Subnet(1.0, 2), Subnet(0.5, 2), Subnet(1.0, 1), LEVEL_0]
ALL = GOOD.replace("exact = true", 'exact = true\nsubnet = "all"')
SOME = GOOD.replace("exact = true", 'subnet = ["level0", "w0.50-d2", "w0.5-d2"]')


def expanded(suite):
    """The suite at the sizes of an encoder that has `KNOWN`."""
    return at_sizes(suite, lambda encoder: KNOWN)


def test_all_sizes_of_a_system_are_a_system_each(tmp_path):
    suite = expanded(read_suite(write(tmp_path, 'baseline = "vectors"\n' + ALL)))
    sizes = ["vectors.w1-d2", "vectors.w0.5-d2", "vectors.w1-d1", "vectors.level0"]
    assert list(suite.systems) == ["words", *sizes, "both", "third"]
    assert suite.systems["vectors.level0"] == SizeSettings(
        encoder=DEFAULT_ELASTIC, subnet="level0", exact=True, size_of="vectors"
    )
    # Where one is wanted it is the largest.
    assert suite.baseline == "vectors.w1-d2"
    assert suite.systems["both"].of == ("words", "vectors.w1-d2")
    assert expanded(suite) == suite


def test_a_list_of_sizes_and_one_size(tmp_path):
    suite = read_suite(write(tmp_path, SOME.replace('"words", "vectors"]', '"words", "vectors.level0"]')))
    assert suite.systems["vectors"].subnet == ("level0", "w0.5-d2")
    assert list(expanded(suite).systems) == ["words", "vectors.w0.5-d2", "vectors.level0", "both", "third"]
    assert expanded(suite).systems["both"].of == ("words", "vectors.level0")
    one = read_suite(write(tmp_path, GOOD.replace("exact = true", 'subnet = "w1.0-d1"')))
    assert expanded(one).systems["vectors"] == DenseSettings(encoder=DEFAULT_ELASTIC, subnet="w1-d1")


def test_without_sizes_nothing_changes_and_no_encoder_is_asked(tmp_path):
    suite = read_suite(write(tmp_path, GOOD))
    assert at_sizes(suite, lambda encoder: pytest.fail("asked for sizes")) == suite


@pytest.mark.parametrize(
    ("text", "baseline", "chosen", "found"),
    [
        (ALL, "vectors", ["vectors.level0"], ["vectors.w1-d2", "vectors.level0"]),
        (ALL, "vectors.w0.5-d2", ["vectors.w1.0-d1"], ["vectors.w0.5-d2", "vectors.w1-d1"]),
        (ALL, "third", ["vectors.level0"], ["vectors.level0", "third"]),
        (ALL, "third", ["both"], ["words", "vectors.w1-d2", "both", "third"]),
        (ALL, "third", ["vectors", "vectors.level0"], [*(f"vectors.{size}" for size in KNOWN), "third"]),
        (SOME, "vectors", ["third"], ["vectors.w0.5-d2", "third"]),
        (SOME, "third", ["vectors"], ["vectors.w0.5-d2", "vectors.level0", "third"]),
    ],
)
def test_a_choice_means_a_system_or_one_size_of_it(tmp_path, text, baseline, chosen, found):
    suite = read_suite(write(tmp_path, f'baseline = "{baseline}"\n' + text))
    assert list(expanded(suite.only(query_sets=[], systems=chosen)).systems) == found


def test_sizes_can_be_asked_for_where_the_suite_names_none(tmp_path):
    suite = read_suite(write(tmp_path, GOOD))
    assert suite.at([]) == suite
    one = expanded(suite.at(["w0.50-d2"]))
    assert one.systems["vectors"] == DenseSettings(encoder=DEFAULT_ELASTIC, subnet="w0.5-d2", exact=True)
    assert list(one.systems) == list(suite.systems)
    some = expanded(suite.at(["level0", "w1-d2"]))
    assert [name for name in some.systems if "." in name] == ["vectors.w1-d2", "vectors.level0"]
    assert len(expanded(suite.at(["all"])).systems) == len(suite.systems) - 1 + len(KNOWN)
    with pytest.raises(BadInputError, match=r"vectors\.subnet: got subnet 'small'"):
        suite.at(["small"])


def test_a_choice_of_no_size(tmp_path):
    suite = read_suite(write(tmp_path, SOME))
    with pytest.raises(BadInputError, match=r"got 'vectors.w1-d1', expected one of words, vectors, vectors.level0, "):
        suite.only(query_sets=[], systems=["vectors.w1-d1"])
    with pytest.raises(BadInputError, match=r"got 'words.level0', expected one of words"):
        suite.only(query_sets=[], systems=["words.level0"])
    suite = read_suite(write(tmp_path, ALL))
    with pytest.raises(BadInputError, match=r"got 'vectors.huge', expected one of words, vectors, vectors.SIZE, both"):
        suite.only(query_sets=[], systems=["vectors.huge"])
    with pytest.raises(
        BadInputError, match=r"systems.vectors.subnet: got w1-d9, but the encoder has the sizes w1-d2, "
    ):
        expanded(suite.only(query_sets=[], systems=["vectors.w1-d9"]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('subnet = "all"', "subnet = []", "systems.vectors.subnet: got [], expected a list with at least one item"),
        ('subnet = "all"', "subnet = [1]", "systems.vectors.subnet: got 1, expected a value of type str"),
        ('subnet = "all"', "subnet = 0.5", "systems.vectors.subnet: got 0.5, expected a value of type str"),
        ('subnet = "all"', 'subnet = ["all", "level0"]', "systems.vectors.subnet: got subnet 'all', expected the form"),
        ('subnet = "all"', 'subnet = "small"', "systems.vectors.subnet: got subnet 'small'"),
        ('"vectors"]', '"vectors.tiny"]', "systems.both.of: got 'vectors.tiny', expected one of"),
        ('title = "A suite"', 'baseline = "words.w1-d2"', "baseline: got 'words.w1-d2', expected one of"),
        ("[query-sets.q]", "[query-sets.q]\ntyping_errors = 3", "query-sets.q.typing_errors: got 3, expected 0 to 2"),
        ("[query-sets.q]", "[query-sets.q]\ntyping_errors = -1", "typing_errors: got -1, expected 0 to 2"),
        ("[query-sets.q]", "[query-sets.q]\ntyping_errors = true", "typing_errors: got True, expected a value of type"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, old, new, message):
    assert old in ALL
    with pytest.raises(BadInputError) as raised:
        read_suite(write(tmp_path, ALL.replace(old, new)))
    assert message in str(raised.value)


def test_what_only_the_encoder_can_tell(tmp_path):
    lacks = read_suite(write(tmp_path, GOOD.replace("exact = true", 'subnet = ["w1-d2", "w1-d9", "w1-d8"]')))
    with pytest.raises(BadInputError, match=r"got w1-d9, w1-d8, but the encoder has the sizes w1-d2, w0.5-d2, w1-d1"):
        expanded(lacks)
    fused = read_suite(write(tmp_path, ALL.replace('"vectors"]', '"vectors.w1-d9"]')))
    with pytest.raises(
        BadInputError, match=r"systems.both.of: got 'vectors.w1-d9', but the sizes of vectors are w1-d2"
    ):
        expanded(fused)
    taken = read_suite(write(tmp_path, ALL.replace("[systems.third]", '[systems."vectors.level0"]')))
    with pytest.raises(BadInputError, match=r"systems.vectors.level0: a size of vectors has this name too"):
        expanded(taken)


def test_typing_errors_are_of_the_query_not_of_its_place():
    queries = {"a": "who wrote dune", "b": "where is paris", "c": "who wrote dune"}
    one, two = mistyped(queries, 1), mistyped(queries, 2)
    assert mistyped(queries, 0) == queries
    assert all(len({queries[key], one[key], two[key]}) == 3 for key in "ab")
    assert one["a"] != one["c"]
    assert mistyped({"b": queries["b"]}, 2) == {"b": two["b"]}
    # What other machines and later versions give must be this.
    assert one == {"a": "who wrrote dune", "b": "whee is paris", "c": "who wroe dune"}


SUITE = """
title = "Sizes"
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
def data(tmp_path) -> Path:
    """A BEIR folder of ten passages and as many queries."""
    folder = tmp_path / "data" / "words"
    (folder / "qrels").mkdir(parents=True)
    for name, text in (("corpus", "all about {}"), ("queries", "about {}")):
        records = [{"_id": f"{name[0]}{n}", "title": "", "text": text.format(word)} for n, word in enumerate(WORDS)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\tc{n}\t1" for n in range(len(WORDS)))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return folder.parent


def trained(tiny_model: Path, folder: Path, seed: int) -> Path:
    """Write an elastic encoder of the tiny model, whose sizes a seed decides."""
    model = elastic_from_full(tiny_model, read_settings(tiny_model))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter is not model.tokens:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    provenance = {"name": str(tiny_model), "weights_sha256": find_model(str(tiny_model)).sha256}
    save_elastic(folder, base=tiny_model, model=model, provenance=provenance)
    return folder


def test_a_suite_of_all_sizes_with_typing_errors(tiny_model, data, tmp_path):
    elastic, out = trained(tiny_model, tmp_path / "elastic", 1), tmp_path / "out"
    path = write(tmp_path, SUITE.replace("PLAIN", str(tiny_model)).replace("ELASTIC", str(elastic)))
    options = SuiteOptions(data=data, offline=True, timed_queries=0)
    found = run_suite(read_suite(path), out, options)

    sizes = ["w1-d2", "w0.5-d2", "w1-d1", "w0.25-d2", "w0.5-d1", "w0.25-d1"]
    assert [system.name for system in found.systems] == ["plain", *(f"elastic.{size}" for size in sizes)]
    assert [(system.size_of, system.size) for system in found.systems[1:]] == [("elastic", size) for size in sizes]
    assert found.systems[0].size_of == "" and found.baseline == "elastic.w1-d2"
    assert found.systems[2].title == "of twelve, w0.5-d2"
    # The full encoder's index serves its sizes.
    assert len(list((out / "indexes").iterdir())) == 1

    clean, hasty = found.query_sets
    assert (clean.typing_errors, hasty.typing_errors, clean.origin) == (0, 2, hasty.origin)
    assert hasty.title == "hasty, 2 typing errors a query"
    assert hasty.queries == mistyped(clean.queries, 2) != clean.queries
    assert found.cell("clean", "elastic.w1-d2").mean("RR@5") > found.cell("hasty", "elastic.w1-d2").mean("RR@5")
    assert len({cell.fingerprint for cell in found.cells}) == len({cell.run for cell in found.cells}) == 14
    assert {line["typing_errors"] for line in cell_lines(found)} == {0, 2}
    for report in ("report.md", "report.html"):
        assert "Retention by size: elastic" in (out / report).read_text()

    said: list[str] = []
    again = run_suite(read_suite(path), out, options, progress=lambda what, done, total: said.append(what))
    assert again == found and set(said) == {"significance", "report"}

    # Trained again, all but the full size has other vectors: nothing of what was kept is of use for these.
    trained(tiny_model, elastic, 2)
    after = run_suite(read_suite(path), out, options)
    same = [cell.system for cell in after.cells if cell.fingerprint in {old.fingerprint for old in found.cells}]
    assert same == ["plain", "elastic.w1-d2"] * 2
