"""Elastic transformers on disk: what is written is read back, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_elastic import at_all_sizes, random_model
from test_elastic_start import TEXTS, padded, random_sequences
from test_model_families import make_transformer, to_old_layout
from tiny import one_thread, write_sentence_encoder

from elasticdenser.errors import BuildError, ModelError
from elasticdenser.models import elastic_files
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_files import is_elastic, load_elastic, save_elastic
from elasticdenser.models.elastic_start import elastic_from_full
from elasticdenser.models.settings import EncoderSettings, read_settings, transformer_folder
from elasticdenser.models.tokenizer import load_tokenizer
from elasticdenser.subnet import Subnet

MADE_BY = {"name": "some/encoder", "weights_sha256": "ab" * 32, "steps": 300}


@pytest.fixture(scope="module")
def elastic(tiny_model) -> ElasticBert:
    """The tiny encoder, every size with an exit and norms of its own."""
    one_thread()
    model = elastic_from_full(tiny_model, read_settings(tiny_model))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (model.exits, model.exit_bias, model.norm, model.blocks[0].norms):
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def saved(tiny_model, elastic, tmp_path) -> Path:
    folder = tmp_path / "saved"
    save_elastic(elastic, read_settings(tiny_model), tiny_model, folder, made_by=MADE_BY)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_is_written_is_read(tiny_model, elastic, saved):
    loaded = load_elastic(saved)
    assert (loaded.settings, loaded.made_by) == (read_settings(tiny_model), MADE_BY)
    assert (loaded.model.shape, loaded.model.training) == (elastic.shape, False)
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())
    for name, parameter in loaded.model.state_dict().items():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, elastic.state_dict()[name].half().float())
    batch = padded(random_sequences())
    expected = at_all_sizes(elastic, *batch)
    for subnet, vectors in at_all_sizes(loaded.model, *batch).items():
        assert (vectors * expected[subnet]).sum(dim=-1).min() > 0.9999
    assert is_elastic(saved)
    assert not is_elastic(tiny_model)
    assert not is_elastic(saved / "absent")


def test_folder_looks_like_any_model(saved):
    assert {str(path.relative_to(saved)) for path in saved.rglob("*")} == {
        "1_Pooling",
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    }
    config = json.loads((saved / "config.json").read_text())
    assert (config["model_type"], config["format"], config["made_by"]) == ("elastic-bert", 1, MADE_BY)
    assert config["shape"]["widths"] == [1.0, 0.5, 0.25]
    assert all(tensor.dtype == torch.float16 for tensor in load_file(saved / "model.safetensors").values())
    assert os.listdir(saved.parent) == ["saved"]
    assert saved.stat().st_mode & 0o777 == (saved / "1_Pooling").stat().st_mode & 0o777


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_types_of_numbers(tiny_model, elastic, tmp_path, dtype):
    save_elastic(elastic, read_settings(tiny_model), tiny_model, tmp_path / "m", dtype=dtype, made_by=MADE_BY)
    for name, parameter in load_elastic(tmp_path / "m").model.state_dict().items():
        expected = elastic.state_dict()[name].to(getattr(torch, dtype)).float()
        assert torch.equal(parameter, expected)


@pytest.mark.parametrize(
    "settings",
    [
        EncoderSettings(pooling="cls", normalize=False, max_length=7, dim=16),
        EncoderSettings(
            pooling="mean", normalize=True, max_length=24, query_prompt="query: ", passage_prompt="päss: ", dim=16
        ),
        EncoderSettings(pooling="mean", normalize=True, max_length=3, query_prompt=" q", dim=16),
    ],
)
def test_settings_are_kept(tiny_model, tmp_path, settings):
    model = random_model(pooling=settings.pooling, vocabulary=200, widths=(1.0, 0.75), depths=(2, 5))
    save_elastic(model, settings, tiny_model, tmp_path / "m", dtype="float32", made_by=MADE_BY)
    loaded = load_elastic(tmp_path / "m")
    assert loaded.settings == settings == read_settings(tmp_path / "m")
    assert loaded.model.shape == model.shape
    batch = padded(random_sequences((3, 5)))
    for subnet, vectors in at_all_sizes(model, *batch).items():
        assert torch.equal(at_all_sizes(loaded.model, *batch)[subnet], vectors)


@pytest.mark.parametrize(("kind", "inside"), [("bert", "0_Transformer"), ("roberta", "")])
def test_tokenizers(tmp_path, kind, inside):
    plain = tmp_path / "plain"
    plain.mkdir()
    make_transformer(kind, plain)
    if kind == "roberta":
        tokenizer = (plain / "tokenizer.json").read_bytes()
        write_sentence_encoder(plain)
        (plain / "tokenizer.json").write_bytes(tokenizer)
        (plain / "vocab.txt").unlink()
    else:
        write_sentence_encoder(plain)
        change(plain / "1_Pooling" / "config.json", embedding_dimension=32, pooling_mode="mean")
        to_old_layout(plain, inside=inside)
    change(plain / inside / "sentence_bert_config.json", do_lower_case=True)
    settings = read_settings(plain)
    save_elastic(elastic_from_full(plain, settings), settings, plain, tmp_path / "m", made_by=MADE_BY)
    mine, its = (load_tokenizer(transformer_folder(at), settings.max_length) for at in (tmp_path / "m", plain))
    for text in ["who wrote DUNE", "Crème brûlée", "long " * 99]:
        assert mine.encode(text).ids == its.encode(text).ids
    assert mine.encode("DUNE").ids == mine.encode("dune").ids


def test_real_encoder(query_encoder, tmp_path):
    found, settings = query_encoder.found, query_encoder.settings
    model = elastic_from_full(found.path, settings)
    made_by = {"name": found.name, "weights_sha256": found.sha256}
    save_elastic(model, settings, found.path, tmp_path / "m", made_by=made_by)
    loaded = load_elastic(tmp_path / "m")
    assert (loaded.settings, loaded.made_by) == (settings, made_by)
    batch = padded(query_encoder._tokenize(TEXTS, ""))
    with torch.no_grad():
        for spelling in ("w1-d6", "w1-d2", "w0.25-d6"):
            found = [one(*batch, Subnet.parse(spelling)) for one in (model, loaded.model)]
            assert torch.cosine_similarity(*found).min() > 0.99999
    assert (tmp_path / "m" / "model.safetensors").stat().st_size < 50e6


def test_replacing(tiny_model, elastic, saved):
    (saved / "README.md").write_text("of the old one")
    model = random_model(vocabulary=200)
    settings = replace(read_settings(tiny_model), max_length=9, dim=16)
    save_elastic(model, settings, tiny_model, saved, made_by={**MADE_BY, "name": "new"})
    loaded = load_elastic(saved)
    assert (loaded.settings, loaded.model.shape, loaded.made_by["name"]) == (settings, model.shape, "new")
    assert not (saved / "README.md").exists()
    assert os.listdir(saved.parent) == ["saved"]


def test_an_empty_folder_and_links(tiny_model, elastic, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    save_elastic(elastic, read_settings(tiny_model), tiny_model, tmp_path / "link", made_by=MADE_BY)
    assert (tmp_path / "link").is_symlink()
    assert is_elastic(tmp_path / "empty")
    save_elastic(elastic, read_settings(tiny_model), tiny_model, tmp_path / "new" / "inner", made_by=MADE_BY)
    assert is_elastic(tmp_path / "new" / "inner")


def test_other_things_are_left_alone(tiny_model, elastic, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    before = contents(tmp_path)
    for name in ("model", "file", "folder"):
        with pytest.raises(BuildError, match="is no elastic model, and is left alone; choose another folder"):
            save_elastic(elastic, read_settings(tiny_model), tiny_model, tmp_path / name, made_by=MADE_BY)
    assert contents(tmp_path) == before


def fail_at(monkeypatch, where: str, error: Exception) -> None:
    """Let a step of saving fail; `rename 2` is the second rename."""
    if where.startswith("rename"):
        real, calls = os.rename, []

        def rename(source, target):
            calls.append(source)
            if len(calls) == int(where[-1]):
                raise error
            real(source, target)

        monkeypatch.setattr(os, "rename", rename)
        return

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(elastic_files, where, fail)


@pytest.mark.parametrize("where", ["save", "_copy_tokenizer", "_write_settings", "flush_to_disk", "rename1", "rename2"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left on device"), BuildError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_save_that_fails_leaves_the_old_one(tiny_model, elastic, saved, monkeypatch, where, error, expected):
    before = contents(saved)
    with monkeypatch.context() as patched:
        fail_at(patched, where, error)
        with pytest.raises(expected, match="disk is full" if expected is BuildError else None):
            save_elastic(random_model(vocabulary=200, dim=32), settings_of(saved), tiny_model, saved, made_by=MADE_BY)
    assert contents(saved) == before
    assert os.listdir(saved.parent) == ["saved"]


def settings_of(folder: Path) -> EncoderSettings:
    return replace(read_settings(folder), max_length=20)


def test_old_one_is_whole_until_the_new_one_is(tiny_model, elastic, saved, monkeypatch):
    before, seen = contents(saved), []
    real = os.rename

    def rename(source, target):
        if Path(target) == saved:
            seen.append(contents(Path(source)))
        else:
            assert contents(saved) == before
            work = next(path for path in saved.parent.iterdir() if path.name.endswith(".tmp"))
            assert load_elastic(work).made_by["name"] == "new"
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    save_elastic(elastic, read_settings(tiny_model), tiny_model, saved, made_by={**MADE_BY, "name": "new"})
    assert [contents(saved)] == seen


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dtype": "int8"}, "got dtype 'int8'; expected one of float16, bfloat16, float32"),
        ({"made_by": {"name": "some/encoder"}}, "expected the full encoder's name and weights_sha256"),
        ({"made_by": {**MADE_BY, "name": ""}}, "expected the full encoder's name and weights_sha256"),
        ({"settings": {"dim": 31}}, "got settings with mean pooling to 31 dimensions; expected those of the encoder"),
        ({"settings": {"pooling": "cls"}}, "got settings with cls pooling to 32 dimensions"),
        ({"settings": {"max_length": 65}}, "expected settings that fit the model"),
        ({"weight": 1e5}, "tokens goes up to 100000; expected finite numbers up to 65504"),
        ({"weight": torch.nan}, "tokens goes up to nan"),
        ({"vocabulary": 50}, "got a tokenizer of"),
        ({"tokenizer_from": "absent"}, "modules.json is missing"),
    ],
)
def test_what_cannot_be_saved(tiny_model, elastic, tmp_path, wrong, said):
    model = random_model(vocabulary=50, dim=32) if "vocabulary" in wrong else elastic
    if "weight" in wrong:
        model = elastic_from_full(tiny_model, read_settings(tiny_model))
        with torch.no_grad():
            model.tokens[3, 3] = wrong["weight"]
    options = {"made_by": MADE_BY, **{key: wrong[key] for key in ("dtype", "made_by") if key in wrong}}
    max_length = min(64, model.shape.n_positions)
    settings = replace(read_settings(tiny_model), **{"max_length": max_length, **wrong.get("settings", {})})
    source = tmp_path / wrong["tokenizer_from"] if "tokenizer_from" in wrong else tiny_model
    with pytest.raises(ModelError) as caught:
        save_elastic(model, settings, source, tmp_path / "m", **options)
    assert said in str(caught.value)
    assert os.listdir(tmp_path) == []


def change_shape(folder: Path, **values) -> None:
    shape = json.loads((folder / "config.json").read_text())["shape"]
    change(folder / "config.json", shape={key: each for key, each in {**shape, **values}.items() if each is not None})


def change_weights(folder: Path, **values) -> None:
    weights = load_file(folder / "model.safetensors")
    changed = {name: tensor for name, tensor in {**weights, **values}.items() if tensor is not None}
    save_file(changed, folder / "model.safetensors")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


FAULTS = {
    "another type": (
        lambda at: change(at / "config.json", model_type="bert"),
        ["'bert'", "'elastic-bert'", "give the"],
    ),
    "a list": (lambda at: (at / "config.json").write_text("[]"), ["type None", "'elastic-bert'"]),
    "another format": (lambda at: change(at / "config.json", format=2), ["format 2", "reads format 1", "version"]),
    "no config.json": (lambda at: (at / "config.json").unlink(), ["config.json is missing"]),
    "no JSON": (lambda at: (at / "config.json").write_text("{"), ["is not JSON"]),
    "no made_by": (lambda at: change(at / "config.json", made_by=None), ["made_by = None", "weights_sha256"]),
    "no shape": (lambda at: change(at / "config.json", shape=None), ["shape", "missing", "hidden", "fetch the model"]),
    "unknown key": (lambda at: change_shape(at, colour=1), ["unknown colour", "fetch the model again, or save it"]),
    "missing key": (lambda at: change_shape(at, n_neurons=None), ["missing n_neurons"]),
    "text for a number": (lambda at: change_shape(at, n_layers="2"), ["n_layers = '2'", "expected int above 0"]),
    "true for a number": (lambda at: change_shape(at, n_layers=True), ["n_layers = True", "expected int"]),
    "no heads": (lambda at: change_shape(at, n_heads=0), ["n_heads = 0", "expected int above 0"]),
    "number for text": (lambda at: change_shape(at, pooling=1), ["pooling = 1", "expected str:"]),
    "number for widths": (lambda at: change_shape(at, widths=1.0), ["widths = 1.0", "expected tuple[float, ...]"]),
    "half a layer": (lambda at: change_shape(at, depths=[0.5]), ["depths = [0.5]", "expected tuple[int, ...]"]),
    "no such depth": (lambda at: change_shape(at, depths=[3]), ["depth 3 of 2 layers", "fetch the model again"]),
    "other pooling": (lambda at: change_shape(at, pooling="cls"), ["got mean pooling", "expected cls"]),
    "other dim": (lambda at: change_shape(at, dim=31), ["to 32 dimensions", "to 31", "is damaged"]),
    "longer texts": (lambda at: change_shape(at, n_positions=63), ["up to 64 tokens", "up to 63"]),
    "no weights": (lambda at: (at / "model.safetensors").unlink(), ["model.safetensors is missing"]),
    "cut weights": (lambda at: cut(at / "model.safetensors"), ["model.safetensors cannot be read", "fetch"]),
    "no such weight": (lambda at: change_weights(at, tokens=None), ["weights", "missing tokens", "fetch the model"]),
    "other weight": (lambda at: change_weights(at, pooler=torch.zeros(2)), ["unknown pooler"]),
    "one layer less": (lambda at: change_shape(at, n_layers=1, depths=[1]), ["unknown blocks.1.", "and 4 more"]),
    "misshapen": (
        lambda at: change_weights(at, tokens=torch.zeros(3, 32)),
        ["got tokens of float32 (3, 32)", "expected floating-point numbers (", ", 32)"],
    ),
    "whole numbers": (lambda at: change_weights(at, norm=torch.zeros(3, 2, 32, dtype=torch.int8)), ["norm of int8"]),
    "no modules.json": (lambda at: (at / "modules.json").unlink(), ["modules.json is missing"]),
    "no pooling": (lambda at: (at / "1_Pooling" / "config.json").unlink(), ["config.json is missing"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_loaded(saved, fault):
    make_fault, said = FAULTS[fault]
    make_fault(saved)
    with pytest.raises(ModelError) as caught:
        load_elastic(saved)
    for part in said:
        assert part in str(caught.value)
