import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from elasticdenser.errors import ModelError
from elasticdenser.models.token_table import TokenTable


@pytest.fixture
def table():
    return TokenTable(torch.randn(100, 48, generator=torch.Generator().manual_seed(1)))


def sequences(n: int, seed: int = 2) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(100) for _ in range(rng.choice([1, 2, 3, 12, 12, 40]))] for _ in range(n)]


def test_a_vector_is_the_mean_of_its_tokens(table):
    asked = sequences(20)
    expected = np.stack([table.vectors.numpy()[ids].astype(np.float64).mean(axis=0) for ids in asked])
    got = table.encode(asked)
    assert (got.dtype, got.shape, table.dim) == (torch.float32, (20, 48), 48)
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [2, 7, 64, 200])
def test_alone_and_among_others_it_is_the_same_to_the_bit(table, size):
    asked = sequences(200)
    alone = torch.cat([table.encode([ids]) for ids in asked])
    order = random.Random(size).sample(range(200), 200)
    for start in range(0, 200, size):
        some = order[start : start + size]
        assert torch.equal(table.encode([asked[at] for at in some]), alone[some])


def test_threads_do_not_disturb_each_other(table):
    asked = [sequences(10, seed) for seed in range(40)]
    alone = [table.encode(some) for some in asked]
    with ThreadPoolExecutor(4) as threads:
        assert all(map(torch.equal, threads.map(table.encode, asked), alone))


def test_nothing_gives_nothing(table):
    assert table.encode([]).shape == (0, 48)
    assert torch.equal(table.encode([[3], []]), torch.stack([table.vectors[3], torch.zeros(48)]))


@pytest.mark.parametrize("vectors", [torch.zeros(3), torch.zeros(0, 4), torch.zeros(3, 4, dtype=torch.float16)])
def test_other_vectors_are_refused(vectors):
    with pytest.raises(ModelError, match=r"expected float32 of \(n_tokens, dim\)"):
        TokenTable(vectors)
