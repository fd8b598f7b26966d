"""Elastic encoders on disk are read as they were written, and are complete or absent."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from elastic_models import TEXTS, at_all_subnets, padded, random_model, random_sequences
from safetensors.torch import load_file, save_file
from test_architectures import make_transformer, to_old_layout
from tiny import VOCABULARY, one_thread, write_sentence_encoder

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.errors import BuildError, ModelError
from elasticdenser.models import elastic_files, folders
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_files import load_elastic, save_elastic
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.models.locate import find_model
from elasticdenser.models.manifest import is_elastic, retention_by_length_of
from elasticdenser.models.model_files import transformer_folder
from elasticdenser.models.settings import read_settings
from elasticdenser.models.tokenizer import load_tokenizer

PROVENANCE = {"name": "some/encoder", "weights_sha256": "ab" * 32, "steps": 300}


@pytest.fixture(scope="module")
def elastic(tiny_model) -> ElasticBert:
    """The tiny encoder, every subnet with an exit and norms of its own."""
    one_thread()
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(len(VOCABULARY), 32, generator=generator)
    model = elastic_from_full(tiny_model, read_settings(tiny_model), table=table)
    with torch.no_grad():
        for parameter in (
            model.exits,
            model.exit_bias,
            model.shortcuts,
            model.norm,
            model.blocks[0].norms,
            model.blocks[1].up,
        ):
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def saved(tiny_model, elastic, tmp_path) -> Path:
    folder = tmp_path / "saved"
    save_elastic(folder, base=tiny_model, model=elastic, provenance=PROVENANCE)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def assert_within_a_step(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Rows of 8 bits are off by half a step of their scale at most."""
    assert ((got - expected).abs() <= expected.abs().amax(-1, keepdim=True) / 127 * 0.501 + 1e-9).all()


def test_an_encoder_is_read_as_it_was_written(tiny_model, elastic, saved):
    loaded = load_elastic(saved)
    assert loaded.provenance == PROVENANCE
    assert (loaded.model.shape, loaded.model.training) == (elastic.shape, False)
    expected = elastic.state_dict()
    for name, parameter in loaded.model.state_dict().items():
        assert parameter.dtype == torch.float32
        if name == "table" or (name.startswith("blocks") and "norm" not in name and "bias" not in name):
            assert_within_a_step(parameter, expected[name])
        else:
            assert torch.equal(parameter, expected[name].half().float()), name
    batch = padded(random_sequences())
    vectors = at_all_subnets(elastic, *batch)
    for subnet, loaded_vectors in at_all_subnets(loaded.model, *batch).items():
        assert F.cosine_similarity(loaded_vectors, vectors[subnet]).min() > 0.999
    assert read_settings(saved) == read_settings(tiny_model)


def test_the_folder_holds_the_full_encoder_and_two_files(tiny_model, saved):
    assert set(contents(saved)) == {*contents(tiny_model), "elastic.json", "elastic.safetensors"}
    manifest = json.loads((saved / "elastic.json").read_text())
    assert (manifest["format"], manifest["shape"]["level0"], manifest["made_by"]) == (1, True, PROVENANCE)
    assert manifest["shape"]["widths"] == [1.0, 0.5, 0.25]
    full, trained = (load_file(saved / name) for name in ("model.safetensors", "elastic.safetensors"))
    assert {tensor.dtype for tensor in full.values()} == {torch.float16}
    assert "tokens" not in trained  # they are the full encoder's
    assert trained["blocks.0.up"].dtype == trained["table"].dtype == torch.int8
    assert os.listdir(saved.parent) == ["saved"]
    assert (is_elastic(saved), is_elastic(tiny_model), is_elastic(saved / "absent")) == (True, False, False)


def test_the_folder_is_read_as_the_full_encoder(tiny_model, tiny_encoder, saved):
    assert find_model(str(saved)).sha256 == PROVENANCE["weights_sha256"]
    passages = PassageEncoder.from_pretrained(str(saved), dtype="float32", device="cpu")
    assert passages.fingerprint.weights_sha256 == PROVENANCE["weights_sha256"]
    for got, expected in zip(passages.encode(TEXTS), tiny_encoder.encode(TEXTS), strict=True):
        assert float(got @ expected) > 0.99999


def test_tuned_tokens_are_kept(tiny_model, elastic, tmp_path):
    model = elastic_from_full(tiny_model, read_settings(tiny_model))
    with torch.no_grad():
        model.tokens += 1
    save_elastic(tmp_path / "m", base=tiny_model, model=model, provenance=PROVENANCE)
    loaded = load_elastic(tmp_path / "m")
    assert_within_a_step(loaded.model.tokens, model.tokens)
    assert not loaded.model.shape.level0
    encoder = ElasticQueryEncoder.from_pretrained(str(tmp_path / "m"), dtype="float32", device="cpu")
    full = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu")
    assert F.cosine_similarity(*(torch.tensor(each.encode(TEXTS)) for each in (encoder, full))).min() > 0.9999


@pytest.mark.parametrize(("kind", "inside"), [("bert", "0_Transformer"), ("roberta", "")])
def test_tokenizers_are_copied(tmp_path, kind, inside):
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
    save_elastic(tmp_path / "m", base=plain, model=elastic_from_full(plain, settings), provenance=PROVENANCE)
    assert read_settings(tmp_path / "m") == settings
    saved, original = (
        load_tokenizer(transformer_folder(folder), settings.max_length) for folder in (tmp_path / "m", plain)
    )
    for text in ["who wrote DUNE", "Crème brûlée", "long " * 99]:
        assert saved.encode(text).ids == original.encode(text).ids
    assert saved.encode("DUNE").ids == saved.encode("dune").ids


def test_an_elastic_encoder_is_replaced(tiny_model, elastic, saved):
    (saved / "README.md").write_text("of the old one")
    model = elastic_from_full(tiny_model, read_settings(tiny_model), widths=(1.0, 0.75), depths=(2,))
    save_elastic(saved, base=tiny_model, model=model, provenance={**PROVENANCE, "name": "new"})
    loaded = load_elastic(saved)
    assert (loaded.model.shape, loaded.provenance["name"]) == (model.shape, "new")
    assert not (saved / "README.md").exists()
    assert os.listdir(saved.parent) == ["saved"]


def test_an_empty_folder_a_link_and_a_new_folder_are_written(tiny_model, elastic, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    save_elastic(tmp_path / "link", base=tiny_model, model=elastic, provenance=PROVENANCE)
    assert (tmp_path / "link").is_symlink()
    assert is_elastic(tmp_path / "empty")
    save_elastic(tmp_path / "new" / "inner", base=tiny_model, model=elastic, provenance=PROVENANCE)
    assert is_elastic(tmp_path / "new" / "inner")


def test_folders_of_something_else_are_not_overwritten(tiny_model, elastic, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("mine")
    before = contents(tmp_path)
    for name in ("model", "file", "folder"):
        with pytest.raises(BuildError, match="it holds something other than an elastic encoder: choose another folder"):
            save_elastic(tmp_path / name, base=tiny_model, model=elastic, provenance=PROVENANCE)
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

    monkeypatch.setattr(folders if where == "flush_to_disk" else elastic_files, where, fail)


@pytest.mark.parametrize("where", ["save", "_copy_settings", "flush_to_disk", "rename1", "rename2"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left on device"), BuildError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_a_save_that_fails_leaves_the_old_one(tiny_model, elastic, saved, monkeypatch, where, error, expected):
    before = contents(saved)
    with monkeypatch.context() as patched:
        fail_at(patched, where, error)
        with pytest.raises(expected, match="disk is full" if expected is BuildError else None):
            save_elastic(saved, base=tiny_model, model=elastic, provenance={**PROVENANCE, "name": "new"})
    assert contents(saved) == before
    assert os.listdir(saved.parent) == ["saved"]


def test_old_one_is_whole_until_the_new_one_is(tiny_model, elastic, saved, monkeypatch):
    before, seen = contents(saved), []
    real = os.rename

    def rename(source, target):
        if Path(target) == saved:
            seen.append(contents(Path(source)))
        else:
            assert contents(saved) == before
            work = next(path for path in saved.parent.iterdir() if path.name.endswith(".tmp"))
            assert load_elastic(work).provenance["name"] == "new"
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    save_elastic(saved, base=tiny_model, model=elastic, provenance={**PROVENANCE, "name": "new"})
    assert [contents(saved)] == seen


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"provenance": {"name": "some/encoder"}}, "expected name and weights_sha256 of the full encoder"),
        ({"provenance": {**PROVENANCE, "name": ""}}, "expected name and weights_sha256 of the full encoder"),
        ({"exit": 1e5}, "got numbers of up to 100000 in exits, expected finite numbers up to 65504"),
        ({"exit": torch.nan}, "got numbers of up to nan in exits"),
        ({"up": torch.inf}, "blocks.0.up holds numbers that are not finite"),
        ({"vocabulary": 50}, "expected the encoder that the model was made of"),
        ({"base": "absent"}, "modules.json is missing"),
    ],
)
def test_models_that_cannot_be_saved_are_refused(tiny_model, tmp_path, wrong, message):
    model = elastic_from_full(tiny_model, read_settings(tiny_model))
    if "vocabulary" in wrong:
        model = random_model(vocabulary=50, dim=32)
    with torch.no_grad():
        model.exits[0, 0, 0, 0] = wrong.get("exit", 0)
        model.blocks[0].up[0, 0] = wrong.get("up", 0)
    base = tmp_path / wrong["base"] if "base" in wrong else tiny_model
    with pytest.raises(ModelError) as caught:
        save_elastic(tmp_path / "m", base=base, model=model, provenance=wrong.get("provenance", PROVENANCE))
    assert message in str(caught.value)
    assert os.listdir(tmp_path) == []


def change_shape(folder: Path, **values) -> None:
    shape = json.loads((folder / "elastic.json").read_text())["shape"]
    change(
        folder / "elastic.json", shape={key: value for key, value in {**shape, **values}.items() if value is not None}
    )


def change_weights(folder: Path, **values) -> None:
    weights = load_file(folder / "elastic.safetensors")
    changed = {name: tensor for name, tensor in {**weights, **values}.items() if tensor is not None}
    save_file(changed, folder / "elastic.safetensors")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


MANIFEST, TRAINED = "elastic.json", "elastic.safetensors"
FAULTS = {
    "a list": (lambda folder: (folder / MANIFEST).write_text("[]"), ["got format None"]),
    "another format": (lambda folder: change(folder / MANIFEST, format=2), ["got format 2, expected 1", "version"]),
    "not elastic": (lambda folder: (folder / MANIFEST).unlink(), ["elastic.json is missing", "elasticdenser train"]),
    "no JSON": (lambda folder: (folder / MANIFEST).write_text("{"), ["is not JSON"]),
    "no made_by": (lambda folder: change(folder / MANIFEST, made_by=None), ["made_by = None", "weights_sha256"]),
    "no shape": (
        lambda folder: change(folder / MANIFEST, shape=None),
        ["elastic.json: shape: got None, expected a table", "fetch the model"],
    ),
    "unknown key": (
        lambda folder: change_shape(folder, colour=1),
        ["shape: unknown key 'colour'", "fetch the model again, or train it"],
    ),
    "missing key": (lambda folder: change_shape(folder, n_neurons=None), ["shape: 'n_neurons' is missing"]),
    "text for a number": (
        lambda folder: change_shape(folder, n_layers="2"),
        ["shape.n_layers: got '2', expected a value of type int"],
    ),
    "true for a number": (
        lambda folder: change_shape(folder, n_layers=True),
        ["shape.n_layers: got True, expected a value of type int"],
    ),
    "no heads": (lambda folder: change_shape(folder, n_heads=0), ["shape: got n_heads = 0, expected a number above 0"]),
    "number for text": (
        lambda folder: change_shape(folder, pooling=1),
        ["shape.pooling: got 1, expected a value of type str"],
    ),
    "number for widths": (lambda folder: change_shape(folder, widths=1.0), ["shape.widths: got 1.0, expected a list"]),
    "half a layer": (
        lambda folder: change_shape(folder, depths=[0.5]),
        ["shape.depths[0]: got 0.5, expected a value of type int"],
    ),
    "no such depth": (
        lambda folder: change_shape(folder, depths=[3]),
        ["depth 3 of 2 layers", "fetch the model again"],
    ),
    "no full encoder": (lambda folder: (folder / "model.safetensors").unlink(), ["no model.safetensors"]),
    "no weights": (lambda folder: (folder / TRAINED).unlink(), ["elastic.safetensors is missing"]),
    "cut weights": (lambda folder: cut(folder / TRAINED), ["elastic.safetensors cannot be read", "fetch"]),
    "no such weight": (
        lambda folder: change_weights(folder, norm=None),
        ["weights", "missing norm", "fetch the model"],
    ),
    "other weight": (lambda folder: change_weights(folder, pooler=torch.zeros(2)), ["unknown pooler"]),
    "one layer less": (
        lambda folder: change_shape(folder, n_layers=1, depths=[1]),
        ["unknown blocks.1.", "and 4 more"],
    ),
    "no table": (lambda folder: change_shape(folder, level0=False), ["unknown shortcuts, table"]),
    "number for a choice": (
        lambda folder: change_shape(folder, level0=1),
        ["shape.level0: got 1, expected a value of type bool"],
    ),
    "no scale": (lambda folder: change_weights(folder, **{"table.scale": None}), ["table in 8 bits has no scale"]),
    "misshapen": (
        lambda folder: change_weights(folder, norm=torch.zeros(3, 32)),
        ["got norm of float32 (3, 32)", "expected floating-point numbers (", ", 32)"],
    ),
    "no modules.json": (lambda folder: (folder / "modules.json").unlink(), ["modules.json is missing"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_encoders_are_refused(saved, fault):
    make_fault, expected = FAULTS[fault]
    make_fault(saved)
    with pytest.raises(ModelError) as caught:
        load_elastic(saved)
    for part in expected:
        assert part in str(caught.value)


def test_retention_by_length_is_read_where_there_is_any(saved):
    assert retention_by_length_of(saved) == {} == retention_by_length_of(saved.parent)
    manifest = json.loads((saved / "elastic.json").read_text())
    for value, expected in (({"level0": {"8": 0.9, "64": 0.8}}, {"level0": {8: 0.9, 64: 0.8}}), ({}, {})):
        manifest["made_by"]["retention_by_length"] = value
        (saved / "elastic.json").write_text(json.dumps(manifest))
        assert retention_by_length_of(saved) == expected
    for wrong in ([], {"level0": 0.9}, {"level0": {"few": 0.9}}, {"level0": {"8": "good"}}):
        manifest["made_by"]["retention_by_length"] = wrong
        (saved / "elastic.json").write_text(json.dumps(manifest))
        with pytest.raises(ModelError, match=r"elastic\.json: made_by\.retention_by_length"):
            retention_by_length_of(saved)
