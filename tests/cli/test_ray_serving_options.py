"""Options of serving shards on Ray, without Ray."""

from __future__ import annotations

import pytest
import typer

from elasticdenser.cli.ray_options import RayServingOptions
from elasticdenser.errors import IndexFormatError, QueryError


@pytest.mark.parametrize("replicas", ["x", "0-", "1-2-3", "-1"])
def test_a_number_of_replicas_that_cannot_be_read_is_refused(replicas):
    with (
        pytest.raises(typer.BadParameter, match="expected a number such as 2, or 1-4"),
        RayServingOptions(ray="local", replicas=replicas).retriever_options(1.0),
    ):
        pass


@pytest.mark.parametrize("replicas", ["0", "3-2"])
def test_a_number_of_replicas_out_of_range_is_refused(replicas):
    with (
        pytest.raises(QueryError, match="expected at least 1 of each"),
        RayServingOptions(ray="local", replicas=replicas).retriever_options(1.0),
    ):
        pass


def test_without_ray_nothing_changes():
    with RayServingOptions().retriever_options(1.0) as options:
        assert options == {}
    assert RayServingOptions().n_workers(None) == RayServingOptions().n_workers(0)
    assert RayServingOptions(ray="local").n_workers(None) == 2 * RayServingOptions().n_workers(None)
    assert RayServingOptions(ray="local").n_workers(3) == 3


def test_an_index_that_is_not_sharded_is_refused_before_ray_is_started(tmp_path):
    pytest.importorskip("grpc_reflection", reason="needs the extra ray")
    from hashing import HashingEncoder, make_corpus

    from elasticdenser.index import PassageIndex

    PassageIndex.build(make_corpus(3), tmp_path / "index", HashingEncoder(), factory="Flat")
    with (
        pytest.raises(IndexFormatError, match="not sharded: build it with"),
        RayServingOptions(ray="local").retriever_options(1.0) as options,
    ):
        options["open_index"](tmp_path / "index")
