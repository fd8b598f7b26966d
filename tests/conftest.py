"""Fixtures that several tests share: the data, the real encoder, and a tiny one of random weights."""

from __future__ import annotations

import gc
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub: no test may ask the network
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each of pytest's workers has one CPU

import pytest
from tiny import VOCABULARY, one_thread, real_encoder, write_sentence_encoder

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption(
        "--kernel-path",
        help="compute as on a processor whose fastest path of the kernel is this one: avx512-vnni, avx2 or portable",
    )


def pytest_configure(config):
    """Take away the kernel's paths that are faster than --kernel-path; processes that tests start have all of them."""
    path = config.getoption("--kernel-path")
    if path is not None:
        from elasticdenser.kernel import paths

        available = paths.kernel_paths()
        if path not in available:
            raise pytest.UsageError(f"got --kernel-path {path}, expected one of {', '.join(available)}")
        paths._available = available[available.index(path) :]


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """Exempt existing objects from garbage collection: those of torch and the like are most of its work."""
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
        hidden_size=32,
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

    from elasticdenser.models.elastic_files import save_elastic
    from elasticdenser.models.elastic_init import elastic_from_full
    from elasticdenser.models.locate import find_model
    from elasticdenser.models.settings import read_settings

    settings = read_settings(tiny_model)
    table = torch.randn(len(VOCABULARY), settings.dim, generator=torch.Generator().manual_seed(4))
    model = elastic_from_full(tiny_model, settings, table=table)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter is not model.tokens:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    folder = tmp_path_factory.mktemp("elastic") / "tiny"
    provenance = {"name": str(tiny_model), "weights_sha256": find_model(str(tiny_model)).sha256}
    save_elastic(folder, base=tiny_model, model=model, provenance=provenance)
    return folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Let `-n auto` start a worker for each usable CPU, but no more than fit into the memory of a small machine."""
    from elasticdenser.cpus import cpu_count

    return min(4, cpu_count())


# Tests here have deadlines of real time, which other tests beside them would make late.
SERIAL = (
    *("engine/test_", "engine/processes/", "engine/profiling/"),
    *("loadtest/", "serving/", "examples/", "cli/test_loadtest_command.py"),
)
# Fixtures with the real model or real data, which take seconds to load and more to use.
SLOW_FIXTURES = {"data", "minilm", "query_encoder"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that must run alone, and those on the real model or on real data as slow."""
    for item in items:
        if item.path.as_posix().removeprefix(f"{(ROOT / 'tests').as_posix()}/").startswith(SERIAL):
            item.add_marker(pytest.mark.serial)
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
