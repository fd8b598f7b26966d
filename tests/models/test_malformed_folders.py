"""Model folders with values that make no sense: each is refused with a ModelError, or used as it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from transformer_models import save_sentence_encoder

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.errors import ElasticDenserError, ModelError, QueryError
from elasticdenser.models.manifest import retention_by_length_of, retention_of
from elasticdenser.models.settings import read_settings

ODD_VALUES = [
    *(None, True, False, [], {}, [1], [[]], {"a": 1}, "", "x", "x" * 300, "\ud800", "a\0b", "../..", "/etc", "mean"),
    *(0, 1, 2, 3, -1, -5, 0.5, 10**9, 10**30, 1e30, 1e300, float("inf"), float("nan"), "6"),
]
JSON_FILES = [
    *("modules.json", "config.json", "1_Pooling/config.json", "config_sentence_transformers.json"),
    *("sentence_bert_config.json", "tokenizer_config.json", "tokenizer.json", "elastic.json"),
]
N_CASES = 25
"""Mutations of each file; seeds beside the fixed one were tried with more."""


@pytest.fixture(scope="module")
def folder(tiny_elastic, tmp_path_factory) -> Path:
    """An elastic encoder whose files may be changed, with a value for every key that is read."""
    folder = tmp_path_factory.mktemp("malformed") / "model"
    shutil.copytree(tiny_elastic, folder)
    change(folder / "config_sentence_transformers.json", prompts={"query": "q: ", "document": "d: "})
    change(folder / "config_sentence_transformers.json", similarity_fn_name="cosine", truncate_dim=16)
    change(folder / "tokenizer_config.json", model_max_length=40, strip_accents=None, tokenize_chinese_chars=True)
    change(folder / "1_Pooling/config.json", include_prompt=True)
    change(folder / "sentence_bert_config.json", max_seq_length=None)  # so that the tokenizer's is read
    return folder


def change(path: Path, **values: Any) -> None:
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**before, **values}))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the container and the key of every value inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


def mutated(random: Random, content: Any) -> Any:
    """Return parsed JSON with one or two odd values, without a value, or replaced as a whole."""
    if random.random() < 0.1:
        return random.choice(ODD_VALUES)
    for _ in range(random.choice((1, 1, 2))):
        container, key = random.choice(list(places(content)))
        if isinstance(container, dict) and random.random() < 0.2:
            del container[key]
        else:
            container[key] = random.choice(ODD_VALUES)
    return content


def use(folder: Path, dtype: str) -> None:
    """Read everything in the folder, and encode."""
    retention_of(folder)
    retention_by_length_of(folder)
    passages = PassageEncoder.from_pretrained(str(folder), dtype=dtype, device="cpu")
    queries = ElasticQueryEncoder.from_pretrained(str(folder), dtype=dtype, device="cpu")
    for encoder in (passages, queries):
        vectors = encoder.encode(["dune", "who wrote dune?"])
        assert vectors.shape == (2, encoder.dim) and np.isfinite(vectors).all()
    assert np.isfinite(queries.encode(["dune"], queries.subnets[-1])).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON_FILES)
def test_a_malformed_file_is_refused_or_used(folder, name):
    path = folder / name
    before, refused = path.read_text(), 0
    try:
        for number in range(N_CASES):
            random = Random(f"{name} {number}")
            content = mutated(random, json.loads(before))
            path.write_text(json.dumps(content))
            try:
                use(folder, ("int8", "float32")[number % 2])
            except (ModelError, QueryError):
                refused += 1
            except ElasticDenserError as error:
                pytest.fail(f"{name} {number}: {error!r}")
            except BaseException as error:
                raise AssertionError(f"{name} {number}: {json.dumps(content)[:300]}") from error
    finally:
        path.write_text(before)
    assert refused
    use(folder, "float32")


@pytest.fixture(scope="module")
def deberta(tmp_path_factory) -> Path:
    """An encoder that transformers computes, with a head."""
    pytest.importorskip("transformers")
    folder = save_sentence_encoder("deberta-v2", tmp_path_factory.mktemp("deberta"), "mean", ["Dense", "LayerNorm"])
    change(folder / "config_sentence_transformers.json", prompts={"query": "q: "}, truncate_dim=8)
    return folder


# The values of config.json are transformers' own business.
@pytest.mark.slow
@pytest.mark.parametrize("name", [*JSON_FILES[2:5], "modules.json", "2_Dense/config.json", "3_LayerNorm/config.json"])
def test_a_malformed_file_beside_a_transformer_is_refused_or_used(deberta, name):
    path = deberta / name
    before, refused = path.read_text(), 0
    try:
        for number in range(12):
            with suppress(IndexError):  # the last value was removed, and there is no other to change
                path.write_text(json.dumps(mutated(Random(f"{name} {number}"), json.loads(before))))
            try:
                encoder = PassageEncoder.from_pretrained(str(deberta), dtype="float32", device="cpu")
                assert np.isfinite(encoder.encode(["dune", ""])).all()
            except ModelError:
                refused += 1
    finally:
        path.write_text(before)
    assert refused


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "elastic.safetensors"])
def test_a_damaged_header_of_weights_is_refused_or_read(folder, name):
    path = folder / name
    before, random = path.read_bytes(), Random(name)
    end = 8 + int.from_bytes(before[:8], "little")
    try:
        for number in range(N_CASES):
            damaged = bytearray(before)
            for _ in range(random.choice((1, 3))):
                damaged[random.randrange(end)] = random.randrange(256)
            path.write_bytes(damaged)
            with suppress(ModelError):
                use(folder, ("int8", "float32")[number % 2])
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", [], r"config.json: got a list, expected a JSON object"),
        ("config.json", {"hidden_size": "x"}, r"has hidden_size = 'x', expected a whole number above 0"),
        ("config.json", {"hidden_size": 10**12}, r"word_embeddings.weight of .*, expected .*1000000000000"),
        ("config.json", {"num_attention_heads": 5}, r"5 heads of a hidden size of 32; expected heads of equal size"),
        ("config.json", {"max_position_embeddings": 100}, r"position_embeddings.weight of .*64, .*100, 32"),
        ("config.json", {"max_position_embeddings": 2}, r"positions for 2 tokens, expected at least 3"),
        ("config.json", {"layer_norm_eps": -1}, r"layer_norm_eps: got -1, expected more than 0"),
        ("config.json", {"model_type": ["bert"]}, r"got a model of type \['bert'\]"),
        ("config.json", {"hidden_act": {}, "activation": []}, r"got the activation \[\]"),
        ("config.json", {"model_type": "roberta", "pad_token_id": "x"}, r"pad_token_id: got 'x'"),
        ("config.json", {"model_type": "roberta", "pad_token_id": 63}, r"has positions for 0 tokens"),
        ("sentence_bert_config.json", {"max_seq_length": -5}, r"max_seq_length: got -5, expected more than 0"),
        ("sentence_bert_config.json", {"max_seq_length": 2}, r"got max_seq_length = 2, expected .* at least 3"),
        ("sentence_bert_config.json", {"max_seq_length": 9.5}, r"got max_seq_length = 9.5"),
        ("sentence_bert_config.json", {"do_lower_case": "no"}, r"do_lower_case: got 'no', expected .* bool"),
        ("config_sentence_transformers.json", {"prompts": [1]}, r"prompts"),
        ("config_sentence_transformers.json", {"prompts": {"query": 1}}, r"prompts.query: got 1"),
        ("config_sentence_transformers.json", {"prompts": {"query": "\ud800"}}, r"prompts.query: .* not Unicode"),
        ("config_sentence_transformers.json", {"truncate_dim": 0}, r"truncate_dim: got 0, expected at least 1"),
        ("config_sentence_transformers.json", {"similarity_fn_name": 1}, r"similarity_fn_name: got 1"),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": "false"}, r"pooling_mode_mean_tokens: got 'false'"),
        ("1_Pooling/config.json", {"pooling_mode": [[]]}, r"got pooling \[\]"),
        ("elastic.json", {"made_by": 3}, r"elastic.json does not say which encoder"),
    ],
)
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_faults_are_named(tmp_path, tiny_elastic, name, content, message, dtype):
    shutil.copytree(tiny_elastic, tmp_path / "model")
    path = tmp_path / "model" / name
    if isinstance(content, dict):
        change(path, **content)
    else:
        path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=message):
        use(tmp_path / "model", dtype)


@pytest.mark.parametrize("inner", ["/etc", "..", "a/../..", "../model/1_Pooling", "..\\x", "C:\\x", "a\0b", 7, None])
def test_a_module_outside_of_the_folder_is_refused(tmp_path, tiny_model, inner):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = inner
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"modules.json.* path"):
        read_settings(folder)


@pytest.mark.parametrize(
    "types",
    [
        ["Transformer", "Pooling", "Pooling"],
        ["Transformer", "Normalize", "Pooling"],
        ["Transformer", "Transformer", "Pooling"],
        ["Pooling"],
        [],
    ],
)
def test_modules_in_another_order_are_refused(tmp_path, tiny_model, types):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    modules = [{"path": "", "type": f"sentence_transformers.models.{kind}"} for kind in types]
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"got the modules .*, expected Transformer, Pooling and any of Dense"):
        read_settings(folder)


def test_a_module_with_code_of_its_own_is_refused(tmp_path, tiny_model):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom_code.Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"got the modules custom_code.Transformer, Pooling"):
        read_settings(folder)


def test_a_tokenizer_limit_of_1e30_is_no_limit(tmp_path, tiny_model):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "sentence_bert_config.json").unlink()
    change(folder / "tokenizer_config.json", model_max_length=int(1e30))
    assert read_settings(folder).max_length == 64
    change(folder / "tokenizer_config.json", model_max_length=20)
    assert read_settings(folder).max_length == 20


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_tokens_and_weights_that_do_not_belong_together_are_refused(tmp_path, tiny_model, dtype):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["d"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises((ModelError, QueryError), match=r"token"):
        PassageEncoder.from_pretrained(str(folder), dtype=dtype, device="cpu").encode(["dune"])


def test_weights_that_are_not_finite_are_refused(tmp_path, tiny_model):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"][3] = float("nan")
    save_file(weights, folder / "model.safetensors")
    for dtype in ("int8", "float32"):
        with pytest.raises(ModelError, match="not finite"):
            PassageEncoder.from_pretrained(str(folder), dtype=dtype, device="cpu").encode(["dune"])
