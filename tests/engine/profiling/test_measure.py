"""Measured profiles: every level, batch size and length; quality by judgements or agreement; `profile` on the shell."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from elasticdenser import PassageEncoder, PassageIndex, Retriever
from elasticdenser.cli import app
from elasticdenser.engine.profiling.budget import LOST_WITH_RECALL
from elasticdenser.engine.profiling.measure import MeasureSettings, agreement, measure, sample_queries
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.errors import QueryError
from elasticdenser.index.efforts import Effort

TEXTS = [f"passage {number} is about {topic}" for number, topic in enumerate(("dune", "spice", "cats", "rain") * 10)]
SETTINGS = MeasureSettings(batch_sizes=(1, 4), tokens=(4, 9), k=3, rounds=2)


@pytest.fixture(scope="module")
def index_path(tiny_elastic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("measure")
    lines = (json.dumps({"_id": str(number), "text": text}) for number, text in enumerate(TEXTS))
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    return PassageIndex.build(folder / "corpus.jsonl", folder / "index", encoder, workers=1).path


@pytest.fixture(scope="module")
def retriever(index_path, tiny_elastic):
    return Retriever.open(index_path, encoder=str(tiny_elastic), device="cpu", download=False)


def test_every_level_is_timed_and_judged(retriever):
    made = measure(retriever, ["dune", "who likes rain", "cats"], SETTINGS, quality={"level0": 0.5})
    names = {level.name for level in made.levels}
    assert names == {str(size) for size in retriever.encoder.subnets}
    by_name = {level.name: level for level in made.levels}
    assert all(set(level.measured_s) == {1, 4} for level in made.levels)
    # What is given stands; the rest is judged by agreement, of which the full size has all.
    assert by_name["level0"].quality == 0.5 and by_name[str(retriever.encoder.full_subnet)].quality == 1.0
    assert set(made.measured["quality_by_agreement"]) == names - {"level0"}
    assert {level: set(its) for level, its in made.measured["alone_by_tokens_s"].items()} == {
        name: {"4", "9"} for name in names
    }
    assert (made.measured["n_passages"], made.measured["k"]) == (40, 3)


class _Searched:
    """A retriever with an index of two efforts, of which the greater takes far longer than any encoding."""

    def __init__(self, retriever):
        efforts = (Effort(rescored=16, recall_at_10=0.9), Effort(rescored=64, recall_at_10=1.0))
        structure = SimpleNamespace(efforts=efforts, factory="two efforts")
        self.encoder, self.index, self._inner = retriever.encoder, self, retriever
        self.manifest, self.asked = SimpleNamespace(structure=structure), set()
        self.passage_index = retriever.index

    def __len__(self):
        return len(self.passage_index)

    def search(self, queries, k, *, recall=None, **options):
        time.sleep(0.0 if recall == 0.9 else 0.02)
        if "subnet" not in options:  # of the index
            return self.passage_index.search(queries, k)
        self.asked.add((str(options["subnet"]), recall))
        return self._inner.search(queries, k, **options)


def test_small_sizes_are_searched_with_less_effort(retriever):
    searched, sizes = _Searched(retriever), [str(size) for size in retriever.encoder.subnets]
    quality = {name: 1.0 - 0.02 * place for place, name in enumerate(sizes)}
    made = measure(searched, ["dune", "cats"], SETTINGS, quality=quality)
    best, *others = made.levels
    assert (best.name, best.quality, best.recall) == (sizes[0], 1.0, None)
    assert {level.recall for level in others} == {0.9}
    for level in others:
        assert level.quality == pytest.approx(quality[level.name] * (1 - LOST_WITH_RECALL * 0.1))
    assert searched.asked == {(level.name, level.recall) for level in made.levels}


def test_a_cache_is_not_what_is_measured(retriever, index_path, tiny_elastic):
    cached = Retriever.open(index_path, encoder=str(tiny_elastic), device="cpu", download=False, cache=100)
    cache = cached.encoder.cache
    measure(cached, ["dune", "cats"], SETTINGS)
    assert cached.encoder.cache is cache
    assert (cache.hits, cache.misses) == (0, 0)


def test_agreement_is_the_share_of_common_hits(retriever):
    queries = ["dune", "spice and rain"]
    size = retriever.encoder.subnets[-1]
    found = agreement(retriever, queries, [str(size)], SETTINGS)
    best, small = (
        {(hit.query_id, hit.doc_id) for hit in retriever.search(queries, 3, subnet=one)} for one in (None, size)
    )
    assert found == {str(size): pytest.approx(max(len(best & small) / 6, 1e-6))}
    assert agreement(retriever, queries, [], SETTINGS) == {}


def test_queries_of_the_index_itself(retriever):
    assert sample_queries(retriever, 5) == sample_queries(retriever, 5)
    assert len(sample_queries(retriever, 5)) == 5 and all(text in TEXTS for text in sample_queries(retriever))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_sizes": (2, 4)}, "expected them to rise from 1"),
        ({"batch_sizes": (1, 4, 2)}, "expected them to rise from 1"),
        ({"rounds": 0}, "0 rounds"),
        ({"tokens": (0,)}, "expected 1 or more"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(QueryError, match=message):
        MeasureSettings(**changes)


def test_nothing_to_measure_with(retriever):
    with pytest.raises(QueryError, match="got no queries"):
        measure(retriever, [], SETTINGS)
    with pytest.raises(QueryError, match="got subnet w1-d9"):
        measure(retriever, ["dune"], MeasureSettings(levels=("w1-d9",)))


def test_on_the_shell(index_path, tiny_elastic, tmp_path):
    output = tmp_path / "profile.json"
    common = ["profile", str(index_path), "--encoder", str(tiny_elastic), "--offline", "--rounds", "1"]
    told = CliRunner().invoke(app, [*common, "-o", str(output), "--batch-sizes", "1,2"])
    assert told.exit_code == 0, told.output
    made = Profile.load(output)
    assert all(level.name in told.output for level in made.levels)
    assert "<svg" in output.with_suffix(".svg").read_text()
    for wrong, message in (
        (["-o", str(tmp_path / "p.txt")], "ends in .json"),
        (["-o", str(output), "--batch-sizes", "1,x"], "numbers with commas"),
        (["-o", str(output), "--subnets", "w9"], "w9"),
    ):
        failed = CliRunner().invoke(app, [*common, *wrong])
        assert failed.exit_code != 0 and message in failed.output.replace("\n", " ")
