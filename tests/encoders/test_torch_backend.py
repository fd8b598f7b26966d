"""TorchBackend: every subnet of an encoder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from elastic_models import TEXTS, padded

from elasticdenser import ElasticQueryEncoder
from elasticdenser.encoders import resolve_dtype
from elasticdenser.errors import QueryError
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.token_table import TokenTable
from elasticdenser.subnet import LEVEL_0, Subnet


@pytest.fixture
def encoder(tiny_elastic) -> ElasticQueryEncoder:
    return ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")


def test_subnets(encoder, tiny_query_encoder):
    assert " ".join(map(str, encoder.subnets)) == "w1-d2 w0.5-d2 w1-d1 w0.25-d2 w0.5-d1 w0.25-d1 level0"
    assert tiny_query_encoder.subnets == [tiny_query_encoder.full_subnet] == [Subnet(1.0, 2)]
    with pytest.raises(QueryError, match=r"got subnet w0.5-d3, expected one of this encoder.s: w1-d2, .*, level0"):
        encoder.encode(["a"], "w0.5-d3")
    with pytest.raises(QueryError, match=r"expected one of this encoder.s: w1-d2 .its folder holds no trained subnets"):
        tiny_query_encoder.encode(["a"], LEVEL_0)


def test_each_subnet_computes_what_was_trained(encoder, tiny_elastic):
    trained = load_elastic(tiny_elastic)
    batch = padded(encoder._tokenize(TEXTS, ""))
    with torch.no_grad():
        for subnet in encoder.subnets[1:-1]:
            expected = F.normalize(trained.model(*batch, subnet), dim=-1)
            np.testing.assert_allclose(encoder.encode(TEXTS, subnet), expected.numpy(), atol=2e-6)
    table = TokenTable(trained.model.table)
    expected = F.normalize(table.mean_vectors(encoder._tokenize(TEXTS, "")), dim=-1)
    np.testing.assert_allclose(encoder.encode(TEXTS, "level0"), expected.numpy(), atol=1e-6)


def test_the_largest_subnet_is_the_full_encoder(encoder, tiny_query_encoder):
    expected = tiny_query_encoder.encode(TEXTS)
    cosines = (encoder.encode(TEXTS) * expected).sum(axis=1)
    assert cosines.min() > 0.9999
    assert np.array_equal(encoder.encode(TEXTS), encoder.encode(TEXTS, "w1-d2"))
    assert not encoder.fingerprint.differences(tiny_query_encoder.fingerprint)


@pytest.mark.slow
def test_subnets_at_once_from_several_threads(encoder, tiny_elastic):
    expected = {subnet: encoder.encode(TEXTS, subnet) for subnet in encoder.subnets}
    fresh = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    wanted = [subnet for _ in range(6) for subnet in fresh.subnets]
    with ThreadPoolExecutor(8) as pool:
        for subnet, vectors in zip(wanted, pool.map(lambda subnet: fresh.encode(TEXTS, subnet), wanted), strict=True):
            assert np.array_equal(vectors, expected[subnet]), subnet


def test_a_vector_does_not_depend_on_its_company(encoder):
    for subnet in encoder.subnets:
        together = encoder.encode(TEXTS, subnet)
        for text, vector in zip(TEXTS, together, strict=True):
            assert np.array_equal(encoder.encode([text], subnet)[0], vector), (subnet, text)


def test_subnets_share_the_weights_of_their_width(encoder):
    backend = encoder._backend
    for subnet in encoder.subnets:
        encoder.encode(["a"], subnet)
    assert len(backend._slicer._layers) == 5  # of the full width only layer 0: w1-d2 is the full encoder
    assert len({sliced.body.tokens.data_ptr() for sliced in backend._sliced.values()}) == 1


def test_bfloat16_without_support_by_onednn(tiny_model, tiny_query_encoder, monkeypatch):
    """As on processors without AVX-512, where oneDNN raises an error."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="bfloat16", device="cpu")
    cosines = (encoder.encode(TEXTS) * tiny_query_encoder.encode(TEXTS)).sum(axis=1)
    assert encoder.dtype == "bfloat16" and cosines.min() > 0.999
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
