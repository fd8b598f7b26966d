"""Fixtures that several tests share: the data, the real encoder, and a tiny encoder with random weights."""

from __future__ import annotations

import gc
import os
import secrets
from collections import Counter
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub: no test may use the network
# Ray reads these once in a process: all clusters that are started in it have the same token.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each of pytest's workers has one CPU
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait leave it to the other workers

import pytest
from tiny import VOCABULARY, one_thread, real_encoder, write_sentence_encoder

ROOT = Path(__file__).parents[1]
HIDDEN = 32
"""Hidden size of the tiny encoder, and dimension of its vectors."""


def pytest_addoption(parser):
    parser.addoption(
        "--kernel-path",
        help="compute as on a processor whose fastest path of the kernel is this one: avx512-vnni, avx2, neon-dotprod "
        "or portable",
    )
    parser.addoption(
        "--histories",
        type=int,
        default=10,
        help="number of random histories of an index that are tried (tests/index/test_living_index_killed.py)",
    )


def pytest_configure(config):
    """Remove the paths of the kernel that are faster than --kernel-path, except in processes that tests start."""
    path = config.getoption("--kernel-path")
    if path is not None:
        from elasticdenser.kernel import paths

        available = paths.kernel_paths()
        if path not in available:
            raise pytest.UsageError(f"got --kernel-path {path}, expected one of {', '.join(available)}")
        paths._available = available[available.index(path) :]


@pytest.fixture(scope="module", autouse=True)
def exempt_from_collection() -> None:
    """Exempt existing objects from garbage collection: checking those of torch would take most of its time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def data() -> Path:
    """The real data sets, which are not part of the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "nq" / "corpus.jsonl.gz").is_file():
        pytest.skip(f"needs the data sets in {folder}")
    return folder


@pytest.fixture(scope="session")
def minilm():
    """PassageEncoder of all-MiniLM-L6-v2."""
    from elasticdenser import PassageEncoder

    return real_encoder(PassageEncoder)


@pytest.fixture(scope="session")
def query_encoder():
    """ElasticQueryEncoder of all-MiniLM-L6-v2."""
    from elasticdenser import ElasticQueryEncoder

    return real_encoder(ElasticQueryEncoder, dtype="float32")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Folder of a BERT sentence encoder of random weights: 2 layers, hidden size 32, mean pooling, normalised."""
    import torch
    from transformers import BertConfig, BertModel

    one_thread()
    folder = tmp_path_factory.mktemp("tiny-model")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    write_sentence_encoder(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tiny_model):
    """PassageEncoder of `tiny_model`, float32."""
    from elasticdenser import PassageEncoder

    return PassageEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def tiny_query_encoder(tiny_model):
    """ElasticQueryEncoder of `tiny_model`, float32."""
    from elasticdenser import ElasticQueryEncoder

    return ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def tiny_elastic(tiny_model, tmp_path_factory) -> Path:
    """Folder of an elastic encoder made of `tiny_model`, with a level 0; its subnets give different vectors."""
    import torch
    from elastic_models import write_elastic_encoder

    table = torch.randn(len(VOCABULARY), HIDDEN, generator=torch.Generator().manual_seed(4))
    return write_elastic_encoder(tmp_path_factory.mktemp("elastic") / "tiny", tiny_model, seed=3, table=table)


@pytest.fixture(scope="session")
def tiny_ranker(tiny_model, tmp_path_factory) -> Path:
    """Folder of an elastic ranker made of `tiny_model`; its subnets, w0.25-d1 to w1-d2, give different scores."""
    from elastic_models import write_ranker

    return write_ranker(tmp_path_factory.mktemp("rankers") / "tiny", tiny_model)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Let `-n auto` start a worker for each usable CPU, but no more than fit into the memory of a small machine."""
    from elasticdenser.cpus import cpu_count

    return min(4, cpu_count())


SERIAL = (
    *("engine/test_", "engine/profiling/"),
    *("loadtest/", "cli/test_loadtest_command.py", "serving/test_ray_serving.py", "serving/test_ray_nodes.py"),
)
"""Places of tests with deadlines in real time, which would be missed if other tests ran at the same time."""

SLOW_FIXTURES = {
    *("data", "minilm", "query_encoder"),  # the real data or model
    *("trained", "recycled", "report"),  # a whole training, a whole report
    *("changed", "retrievers", "written"),  # indexes that were changed
}
"""Fixtures that take a second or more to make, wherever they are."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files that `-m serial` selects nothing of: importing all of them takes half a minute."""
    if not config.option.markexpr.startswith("serial") or not collection_path.match("test_*.py"):
        return None
    return not (_is_serial(collection_path) or "mark.serial" in collection_path.read_text(encoding="utf-8")) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that must run alone, and those with slow fixtures as slow; begin with slow files.

    Parallel runs are handed the files in this order: a slow file at the end would leave the other workers idle.
    """
    for item in items:
        if _is_serial(item.path):
            item.add_marker(pytest.mark.serial)
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: n_slow[item.path] == 0)


def _is_serial(path: Path) -> bool:
    return path.relative_to(ROOT / "tests").as_posix().startswith(SERIAL)
