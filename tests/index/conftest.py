import pytest
from hashing import GivenVectors, HashingEncoder, make_corpus

from elasticdenser.index import PassageIndex, build


@pytest.fixture
def hashing():
    return HashingEncoder()


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(build, "WINDOW", 10)


@pytest.fixture
def small_index(tmp_path, hashing, small_windows):
    """Finished index of 60 passages; the count of the encoder is reset."""
    PassageIndex.build(make_corpus(60), tmp_path / "index", hashing)
    hashing.n_encoded = 0
    return tmp_path / "index"


@pytest.fixture
def index_of(tmp_path):
    """Return a function that makes an index of given vectors."""

    def make(vectors, factory="Flat", name="given"):
        return PassageIndex.build(
            make_corpus(len(vectors)), tmp_path / name, GivenVectors(vectors), factory=factory, texts=False
        )

    return make
