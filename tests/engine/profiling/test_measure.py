"""Measured profiles: every level, batch size and query length; given quality or agreement; the `profile` command."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from elasticdenser import PassageEncoder, PassageIndex, Retriever
from elasticdenser.cli import app
from elasticdenser.engine.profiling.agreement import agreement
from elasticdenser.engine.profiling.measure import MeasureSettings, measure_profile
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.query_sample import sample_queries
from elasticdenser.engine.profiling.search_effort import RETENTION_LOST_WITH_RECALL
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
    profile = measure_profile(retriever, ["dune", "who likes rain", "cats"], SETTINGS, quality={"level0": 0.5})
    names = {level.name for level in profile.levels}
    assert names == {str(subnet) for subnet in retriever.encoder.subnets}
    by_name = {level.name: level for level in profile.levels}
    assert all(set(level.measured_s) == {1, 4} for level in profile.levels)
    # A given quality is used; the others are measured by agreement, which is 1 for the full encoder.
    assert by_name["level0"].quality == 0.5 and by_name[str(retriever.encoder.full_subnet)].quality == 1.0
    assert set(profile.measured["quality_by_agreement"]) == names - {"level0"}
    assert {level: set(times) for level, times in profile.measured["alone_by_tokens_s"].items()} == {
        name: {"4", "9"} for name in names
    }
    assert (profile.measured["n_passages"], profile.measured["k"]) == (40, 3)


class _TwoEfforts:
    """A retriever whose index has two search efforts; the greater one takes much longer than any encoding."""

    def __init__(self, retriever):
        efforts = (Effort(rescored=16, recall_at_10=0.9), Effort(rescored=64, recall_at_10=1.0))
        structure = SimpleNamespace(efforts=efforts, factory="two efforts")
        self.encoder, self.index, self._inner = retriever.encoder, self, retriever
        self.manifest, self.searched = SimpleNamespace(structure=structure), set()
        self.passage_index = retriever.index

    def __len__(self):
        return len(self.passage_index)

    def search(self, queries, k, *, recall=None, **options):
        time.sleep(0.0 if recall == 0.9 else 0.02)
        if "subnet" not in options:  # of the index
            return self.passage_index.search(queries, k)
        self.searched.add((str(options["subnet"]), recall))
        return self._inner.search(queries, k, **options)


def test_fast_subnets_are_searched_with_less_effort(retriever):
    searched, names = _TwoEfforts(retriever), [str(subnet) for subnet in retriever.encoder.subnets]
    quality = {name: 1.0 - 0.02 * rank for rank, name in enumerate(names)}
    profile = measure_profile(searched, ["dune", "cats"], SETTINGS, quality=quality)
    best, *others = profile.levels
    assert (best.name, best.quality, best.recall) == (names[0], 1.0, None)
    assert {level.recall for level in others} == {0.9}
    for level in others:
        assert level.quality == pytest.approx(quality[level.name] * (1 - RETENTION_LOST_WITH_RECALL * 0.1))
    assert searched.searched == {(level.name, level.recall) for level in profile.levels}


def test_the_cache_is_not_used(retriever, index_path, tiny_elastic):
    cached = Retriever.open(index_path, encoder=str(tiny_elastic), device="cpu", download=False, cache=100)
    cache = cached.encoder.cache
    measure_profile(cached, ["dune", "cats"], SETTINGS)
    assert cached.encoder.cache is cache
    assert (cache.hits, cache.misses) == (0, 0)


def test_agreement_is_the_share_of_common_hits(retriever):
    queries = ["dune", "spice and rain"]
    subnet = retriever.encoder.subnets[-1]
    shares = agreement(retriever, queries, [str(subnet)], k=3)
    full_hits, hits = (
        {(hit.query_id, hit.doc_id) for hit in retriever.search(queries, 3, subnet=searched)}
        for searched in (None, subnet)
    )
    assert shares == {str(subnet): pytest.approx(max(len(full_hits & hits) / 6, 1e-6))}
    assert agreement(retriever, queries, [], k=3) == {}


def test_queries_made_from_passages(retriever):
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
def test_settings_out_of_range(changes, message):
    with pytest.raises(QueryError, match=message):
        MeasureSettings(**changes)


def test_queries_and_levels_must_exist(retriever):
    with pytest.raises(QueryError, match="got no queries"):
        measure_profile(retriever, [], SETTINGS)
    with pytest.raises(QueryError, match="got subnet w1-d9"):
        measure_profile(retriever, ["dune"], MeasureSettings(levels=("w1-d9",)))


def test_the_command(index_path, tiny_elastic, tmp_path):
    output = tmp_path / "profile.json"
    common = ["profile", str(index_path), "--encoder", str(tiny_elastic), "--offline", "--rounds", "1"]
    result = CliRunner().invoke(app, [*common, "-o", str(output), "--batch-sizes", "1,2"])
    assert result.exit_code == 0, result.output
    profile = Profile.load(output)
    assert all(level.name in result.output for level in profile.levels)
    assert "<svg" in output.with_suffix(".svg").read_text()
    for wrong, message in (
        (["-o", str(tmp_path / "p.txt")], "ends in .json"),
        (["-o", str(output), "--batch-sizes", "1,x"], "numbers with commas"),
        (["-o", str(output), "--subnets", "w9"], "w9"),
    ):
        failed = CliRunner().invoke(app, [*common, *wrong])
        assert failed.exit_code != 0 and message in failed.output.replace("\n", " ")
