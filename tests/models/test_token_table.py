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
    ids_of_texts = sequences(20)
    expected = np.stack([table.vectors.numpy()[ids].astype(np.float64).mean(axis=0) for ids in ids_of_texts])
    means = table.mean_vectors(ids_of_texts)
    assert (means.dtype, means.shape, table.dim) == (torch.float32, (20, 48), 48)
    np.testing.assert_allclose(means.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch_size", [2, 7, 64, 200])
def test_a_vector_is_the_same_alone_and_in_any_batch(table, batch_size):
    ids_of_texts = sequences(200)
    alone = torch.cat([table.mean_vectors([ids]) for ids in ids_of_texts])
    order = random.Random(batch_size).sample(range(200), 200)
    for start in range(0, 200, batch_size):
        some = order[start : start + batch_size]
        assert torch.equal(table.mean_vectors([ids_of_texts[at] for at in some]), alone[some])


def test_threads_do_not_disturb_each_other(table):
    ids_of_texts = [sequences(10, seed) for seed in range(40)]
    alone = [table.mean_vectors(some) for some in ids_of_texts]
    with ThreadPoolExecutor(4) as threads:
        assert all(map(torch.equal, threads.map(table.mean_vectors, ids_of_texts), alone))


def test_nothing_gives_nothing(table):
    assert table.mean_vectors([]).shape == (0, 48)
    assert torch.equal(table.mean_vectors([[3], []]), torch.stack([table.vectors[3], torch.zeros(48)]))


@pytest.mark.parametrize("vectors", [torch.zeros(3), torch.zeros(0, 4), torch.zeros(3, 4, dtype=torch.float16)])
def test_other_vectors_are_refused(vectors):
    with pytest.raises(ModelError, match=r"expected float32 of \(n_tokens, dim\)"):
        TokenTable(vectors)
