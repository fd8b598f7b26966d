"""Tiny random models of every supported architecture: our vectors equal those of sentence-transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import LETTERS, VOCABULARY, write_sentence_encoder

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.errors import ModelError
from elasticdenser.models.settings import read_settings

TEXTS = [
    "who wrote dune",
    "a",
    "",
    "Frank HERBERT, 1965; 'Dune' (novel) - the first of six!",
    "Crème brûlée \u4e2d\u6587 \U0001f600",
    "word " * 100,
    "  leading and trailing  ",
]
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
WIDE = {"initializer_range": 0.2}


@pytest.fixture(scope="module")
def st():
    return pytest.importorskip("sentence_transformers")


def _byte_level():
    """A RoBERTa-like tokenizer: byte-level BPE without merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer, len(vocabulary)


def make_transformer(kind: str, folder: Path) -> Path:
    """Save a tiny model of random weights with its tokenizer."""
    import torch
    import transformers as tf

    torch.manual_seed(1)
    if kind in ("bert", "distilbert"):
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
        tokenizer = tf.BertTokenizer(vocab=str(folder / "vocab.txt"))
        if kind == "bert":
            model = tf.BertModel(tf.BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=64, **SHAPE, **WIDE))
        else:
            model = tf.DistilBertModel(
                tf.DistilBertConfig(
                    vocab_size=len(VOCABULARY), dim=32, n_layers=2, n_heads=4, hidden_dim=64,
                    max_position_embeddings=64, **WIDE,
                )
            )  # fmt: skip
    else:
        inner, vocabulary_size = _byte_level()
        special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        tokenizer = tf.PreTrainedTokenizerFast(tokenizer_object=inner, cls_token="<s>", sep_token="</s>", **special)
        config, model_class = {
            "roberta": (tf.RobertaConfig, tf.RobertaModel),
            "xlm-roberta": (tf.XLMRobertaConfig, tf.XLMRobertaModel),
            "camembert": (tf.CamembertConfig, tf.CamembertModel),
        }[kind]
        model = model_class(
            config(vocab_size=vocabulary_size, max_position_embeddings=66, type_vocab_size=1, **SHAPE, **WIDE)
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_encoder(
    st, kind: str, folder: Path, *, pooling: str = "mean", normalize: bool = True, max_length: int = 48, **options
) -> Path:
    """Save a tiny sentence encoder, as sentence-transformers does."""
    from sentence_transformers.sentence_transformer import modules

    (folder / "plain").mkdir()
    transformer = modules.Transformer(str(make_transformer(kind, folder / "plain")), max_seq_length=max_length)
    parts = [transformer, modules.Pooling(32, pooling), *([modules.Normalize()] if normalize else [])]
    st.SentenceTransformer(modules=parts, device="cpu", **options).save(str(folder / "saved"))
    return folder / "saved"


def to_old_layout(folder: Path, *, max_length: int = 48, inside: str = "") -> None:
    """Rewrite a saved encoder as versions before 5 wrote it; `inside` is where the oldest put the transformer."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        module["type"] = "sentence_transformers.models." + module["type"].rsplit(".", 1)[-1]
    modules[0]["path"] = inside
    (folder / "modules.json").write_text(json.dumps(modules))
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    old = {"word_embedding_dimension": pooling["embedding_dimension"]}
    for key, mode in (("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max")):
        old[f"pooling_mode_{key}"] = pooling["pooling_mode"] == mode
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": max_length, "do_lower_case": False})
    )
    if inside:
        (folder / inside).mkdir()
        for path in list(folder.iterdir()):
            if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json", "README.md"):
                path.rename(folder / inside / path.name)


def assert_equals_reference(st, folder: Path, texts=TEXTS) -> None:
    """Compare vectors, which are normalised if they are compared by cosine, and the scores of their inner products."""
    reference = st.SentenceTransformer(str(folder), device="cpu")
    normalize = reference.similarity_fn_name == "cosine"
    passages = PassageEncoder.from_pretrained(str(folder), dtype="float32", device="cpu").encode(texts)
    expected = reference.encode_document(texts, normalize_embeddings=normalize)
    np.testing.assert_allclose(passages, expected, atol=1e-5)
    query_texts = [text for text in texts if text.strip()]
    query_encoder = ElasticQueryEncoder.from_pretrained(str(folder), dtype="float32", device="cpu")
    queries = query_encoder.encode(query_texts)
    np.testing.assert_allclose(queries, reference.encode_query(query_texts, normalize_embeddings=normalize), atol=1e-5)
    scores = reference.similarity(reference.encode_query(query_texts), reference.encode_document(texts))
    np.testing.assert_allclose(queries @ passages.T, scores.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pooling", "normalize"),
    [
        ("bert", "mean", True),
        ("bert", "mean", False),
        ("bert", "cls", True),
        ("bert", "cls", False),
        ("roberta", "mean", False),
        ("roberta", "mean", True),
        ("xlm-roberta", "mean", True),
        ("camembert", "cls", True),
        ("distilbert", "mean", False),
    ],
)
def test_equals_sentence_transformers(st, tmp_path, kind, pooling, normalize):
    folder = make_encoder(st, kind, tmp_path, pooling=pooling, normalize=normalize)
    assert_equals_reference(st, folder)
    to_old_layout(folder)
    assert_equals_reference(st, folder)


@pytest.mark.slow
def test_a_transformer_in_an_inner_folder_equals_sentence_transformers(st, tmp_path):
    folder = make_encoder(st, "bert", tmp_path)
    to_old_layout(folder, inside="0_Transformer")
    assert_equals_reference(st, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompts", "default"),
    [
        ({"query": "query: ", "document": "doc: "}, None),
        ({"query": "query: "}, None),
        ({"query": "query: "}, "query"),
        ({"other": "other: "}, "other"),
        ({"document": "doc: ", "passage": "psg: "}, None),
    ],
)
def test_prompts_equal_sentence_transformers(st, tmp_path, prompts, default):
    folder = make_encoder(st, "bert", tmp_path, prompts=prompts, default_prompt_name=default)
    assert_equals_reference(st, folder)


@pytest.mark.slow
def test_a_prompt_named_passage_is_used_for_passages(st, tmp_path):
    folder = make_encoder(st, "bert", tmp_path, prompts={"passage": "psg: "})
    reference = st.SentenceTransformer(str(folder), device="cpu")
    ours = PassageEncoder.from_pretrained(str(folder), dtype="float32", device="cpu")
    assert ours.settings.passage_prompt == "psg: "
    np.testing.assert_allclose(ours.encode(TEXTS), reference.encode(TEXTS, prompt_name="passage"), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [3, 7, 64])
def test_the_maximum_length_equals_sentence_transformers(st, tmp_path, max_length):
    folder = make_encoder(st, "bert", tmp_path, max_length=max_length)
    assert PassageEncoder.from_pretrained(str(folder)).settings.max_length == max_length
    assert_equals_reference(st, folder)


@pytest.mark.slow
def test_lower_casing_equals_sentence_transformers(st, tmp_path):
    folder = make_encoder(st, "roberta", tmp_path)
    to_old_layout(folder)
    plain = PassageEncoder.from_pretrained(str(folder), dtype="float32").encode(["ABC"])
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48, "do_lower_case": True}))
    assert_equals_reference(st, folder)
    assert not np.allclose(plain, PassageEncoder.from_pretrained(str(folder), dtype="float32").encode(["ABC"]))


@pytest.mark.slow
@pytest.mark.parametrize("similarity", [None, "cosine", "dot"])
@pytest.mark.parametrize("truncate_dim", [None, 8, 32, 100])
@pytest.mark.parametrize("normalize", [True, False])
def test_similarity_and_dimensions_equal_sentence_transformers(
    st, tmp_path, tiny_model, similarity, truncate_dim, normalize
):
    folder = copy(tiny_model, tmp_path)
    write_sentence_encoder(folder, normalize=normalize)
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"similarity_fn_name": similarity, "truncate_dim": truncate_dim})
    )
    if normalize and similarity == "dot" and truncate_dim == 8:
        with pytest.raises(ModelError, match=r"got dim = 8 of 32 .* expected cosine: .* use --similarity cosine"):
            read_settings(folder)
        return
    assert read_settings(folder).dim == min(truncate_dim or 32, 32)
    assert_equals_reference(st, folder)


@pytest.mark.parametrize("similarity", ["euclidean", "manhattan", "maxsim", ""])
def test_other_similarities_are_refused(tmp_path, tiny_model, similarity):
    folder = copy(tiny_model, tmp_path)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"similarity_fn_name": similarity}))
    with pytest.raises(
        ModelError, match=f"got similarity_fn_name = {similarity!r}, expected 'cosine' or 'dot': .*--simil"
    ):
        PassageEncoder.from_pretrained(str(folder))
    assert read_settings(folder, similarity="dot").normalize  # by its module


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_activations_equal_sentence_transformers(st, tmp_path, activation):
    folder = make_encoder(st, "bert", tmp_path)
    change(folder / "config.json", hidden_act=activation)
    assert_equals_reference(st, folder)


def test_a_tokenizer_with_only_a_vocabulary_is_read(st, tmp_path, tiny_model):
    folder = copy(tiny_model, tmp_path)
    assert_equals_reference(st, folder)
    expected = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32").encode(TEXTS)
    (folder / "tokenizer.json").unlink()
    ours = PassageEncoder.from_pretrained(str(folder), dtype="float32").encode(TEXTS)
    np.testing.assert_array_equal(ours, expected)
    change(folder / "tokenizer_config.json", do_lower_case=False)
    cased = PassageEncoder.from_pretrained(str(folder), dtype="float32")
    assert not np.allclose(cased.encode(["DUNE"]), cased.encode(["dune"]))


@pytest.mark.parametrize("prefix", ["", "bert.", "model.bert."])
@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_prefixes_and_file_formats_of_weights_are_read(tmp_path, tiny_model, prefix, form):
    import torch
    from safetensors.torch import load_file, save_file

    folder = copy(tiny_model, tmp_path)
    weights = {
        prefix + name.replace("LayerNorm.weight", "LayerNorm.gamma" if prefix else "LayerNorm.weight"): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    weights["cls.predictions.bias"] = torch.zeros(3)
    (folder / "model.safetensors").unlink()
    if form == "bin":
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors")
    expected = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32").encode(TEXTS)
    np.testing.assert_array_equal(PassageEncoder.from_pretrained(str(folder), dtype="float32").encode(TEXTS), expected)


def copy(model: Path, tmp_path: Path) -> Path:
    shutil.copytree(model, tmp_path / "model")
    return tmp_path / "model"


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def add_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_LSTM", "type": "sentence_transformers.models.LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def drop_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors")


FAULTS = {
    "LSTM": (add_module, ["modules.json", "LSTM", "expected Transformer, Pooling and any of Dense"]),
    "code of its own": (
        lambda folder: change(folder / "config.json", auto_map={"AutoModel": "modeling.Model"}),
        ["'bert'", "auto_map", "--trust-remote-code"],
    ),
    "relative positions": (
        lambda folder: change(folder / "config.json", position_embedding_type="relative_key"),
        ["relative position", "absolute"],
    ),
    "unknown pooling": (
        lambda folder: change(
            folder / "1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_median_tokens=True
        ),
        ["pooling 'median'", "mean, cls, max"],
    ),
    "two poolings": (
        lambda folder: change(folder / "1_Pooling/config.json", pooling_mode_cls_token=True),
        ["cls", "mean"],
    ),
    "prompt left out of pooling": (
        lambda folder: change(folder / "1_Pooling/config.json", include_prompt=False),
        ["include_prompt=False"],
    ),
    "activation": (lambda folder: change(folder / "config.json", hidden_act="swoosh"), ["cannot load", "swoosh"]),
    "no modules.json": (
        lambda folder: (folder / "modules.json").unlink(),
        ["modules.json is missing", "layout of sentence-transformers"],
    ),
    "modules.json is no JSON": (lambda folder: (folder / "modules.json").write_text("{"), ["modules.json is not JSON"]),
    "modules.json is no list": (
        lambda folder: (folder / "modules.json").write_text('{"a": 1}'),
        ["modules.json", "list"],
    ),
    "no config.json": (lambda folder: (folder / "config.json").unlink(), ["config.json is missing"]),
    "nothing but weights": (
        lambda folder: [(folder / name).unlink() for name in ("modules.json", "config.json")],
        ["modules.json is missing", "sentence-transformers"],
    ),
    "no layers": (lambda folder: change(folder / "config.json", num_hidden_layers=None), ["num_hidden_layers"]),
    "cut weights": (
        lambda folder: cut(folder / "model.safetensors"),
        ["model.safetensors cannot be read", "fetch the model"],
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), ["model.safetensors or pytorch_model.bin"]),
    "a weight is missing": (drop_a_weight, ["lack encoder.layer.1.output.dense.weight", "fetch the model again"]),
    "cut tokenizer": (lambda folder: cut(folder / "tokenizer.json"), ["tokenizer.json cannot be read"]),
    "no tokenizer": (
        lambda folder: [(folder / name).unlink() for name in ("tokenizer.json", "vocab.txt")],
        ["neither tokenizer.json nor vocab.txt", "save_pretrained"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_unusable_encoders_are_refused(tmp_path, tiny_model, fault):
    folder = copy(tiny_model, tmp_path)
    make_fault, expected = FAULTS[fault]
    make_fault(folder)
    with pytest.raises(ModelError) as caught:
        PassageEncoder.from_pretrained(str(folder))
    for part in expected:
        assert part in str(caught.value)


def test_overrides_replace_settings_of_the_encoder(tiny_model):
    name = str(tiny_model)
    encoder = PassageEncoder.from_pretrained(name, max_length=5, passage_prompt="x ", query_prompt=None)
    assert (encoder.settings.max_length, encoder.settings.passage_prompt, encoder.settings.query_prompt) == (
        5,
        "x ",
        "",
    )
    np.testing.assert_array_equal(encoder.encode(["abcdefg"]), encoder.encode(["abcdefghi"]))
    for length in (2, 65):
        with pytest.raises(ModelError, match="expected 3 to 64 tokens"):
            PassageEncoder.from_pretrained(name, max_length=length)
    with pytest.raises(ModelError, match="got the unknown encoder settings colour"):
        PassageEncoder.from_pretrained(name, colour="red")


def test_fixture_writes_what_it_says(tmp_path):
    write_sentence_encoder(tmp_path, pooling="cls", normalize=False)
    assert len(json.loads((tmp_path / "modules.json").read_text())) == 2
    assert len(VOCABULARY) == 5 + 2 * len(LETTERS)
