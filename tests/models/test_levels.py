"""Every size of an encoder, as queries meet it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_elastic_init import TEXTS, padded

from elasticdenser import ElasticQueryEncoder
from elasticdenser.errors import QueryError
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.token_table import TokenTable
from elasticdenser.subnet import LEVEL_0, Subnet


@pytest.fixture
def encoder(tiny_elastic) -> ElasticQueryEncoder:
    return ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")


def test_sizes(encoder, tiny_query_encoder):
    assert " ".join(map(str, encoder.subnets)) == "w1-d2 w0.5-d2 w1-d1 w0.25-d2 w0.5-d1 w0.25-d1 level0"
    assert tiny_query_encoder.subnets == [tiny_query_encoder.full_subnet] == [Subnet(1.0, 2)]
    with pytest.raises(QueryError, match=r"got subnet w0.5-d3; this encoder has the sizes: w1-d2, .*, level0"):
        encoder.encode(["a"], "w0.5-d3")
    with pytest.raises(QueryError, match=r"this encoder has the sizes: w1-d2 .its folder holds no trained ones"):
        tiny_query_encoder.encode(["a"], LEVEL_0)


def test_each_size_computes_what_was_trained(encoder, tiny_elastic):
    trained = load_elastic(tiny_elastic)
    batch = padded(encoder._tokenize(TEXTS, ""))
    with torch.no_grad():
        for size in encoder.subnets[1:-1]:
            expected = F.normalize(trained.model(*batch, size), dim=-1)
            np.testing.assert_allclose(encoder.encode(TEXTS, size), expected.numpy(), atol=2e-6)
    table = TokenTable(trained.model.table)
    expected = F.normalize(table.encode(encoder._tokenize(TEXTS, "")), dim=-1)
    np.testing.assert_allclose(encoder.encode(TEXTS, "level0"), expected.numpy(), atol=1e-6)


def test_the_largest_size_is_the_full_encoder(encoder, tiny_query_encoder):
    expected = tiny_query_encoder.encode(TEXTS)
    cosines = (encoder.encode(TEXTS) * expected).sum(axis=1)
    assert cosines.min() > 0.9999
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS, "w1-d2"))
    assert not encoder.fingerprint.differences(tiny_query_encoder.fingerprint)


def test_sizes_at_once_from_several_threads(encoder, tiny_elastic):
    expected = {size: encoder.encode(TEXTS, size) for size in encoder.subnets}
    fresh = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    wanted = [size for _ in range(6) for size in fresh.subnets]
    with ThreadPoolExecutor(8) as pool:
        for size, vectors in zip(wanted, pool.map(lambda size: fresh.encode(TEXTS, size), wanted), strict=True):
            assert np.array_equal(vectors, expected[size]), size


def test_a_vector_does_not_depend_on_its_company(encoder):
    for size in encoder.subnets:
        together = encoder.encode(TEXTS, size)
        for text, vector in zip(TEXTS, together, strict=True):
            assert np.array_equal(encoder.encode([text], size)[0], vector), (size, text)


def test_sizes_share_the_weights_of_their_width(encoder):
    levels = encoder._sizes.levels
    for size in encoder.subnets:
        encoder.encode(["a"], size)
    assert len(levels._layers) == 5  # of the full width only layer 0: w1-d2 is the full encoder
    assert len({levels._at(size).body.tokens.data_ptr() for size in encoder.subnets[1:-1]}) == 1
