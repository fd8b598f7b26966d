"""Tiny transformers of random weights of many architectures, and sentence encoders made of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

TEXTS = [
    "who wrote dune",
    "a",
    "",
    "Frank HERBERT, 1965; 'Dune' (novel) - the first of six!",
    "Crème brûlée \u4e2d\u6587 \U0001f600",
    "word " * 100,
    "  leading and trailing  ",
]
MAX_LENGTH = 48
_SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_WIDE = {"initializer_range": 0.2}
_BYTES = {"vocab_size": 261, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def byte_level_tokenizer(**options):
    """Return a tokenizer of bytes, without merges: `<s>`, the bytes of the text, `</s>`."""
    import transformers as tf
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", **special, **options
    )


def _models(tf) -> dict:
    """Return kind -> function that makes a model."""
    table = {"max_position_embeddings": 66}
    grouped = {"num_key_value_heads": 2, "head_dim": 8, **table}
    return {
        "bert": lambda: tf.BertModel(tf.BertConfig(**_SHAPE, **_WIDE, **_BYTES, **table)),
        "xlm-roberta": lambda: tf.XLMRobertaModel(tf.XLMRobertaConfig(**_SHAPE, **_WIDE, **_BYTES, **table)),
        "mpnet": lambda: tf.MPNetModel(tf.MPNetConfig(**_SHAPE, **_WIDE, **_BYTES, **table)),
        "modernbert": lambda: tf.ModernBertModel(
            tf.ModernBertConfig(
                **{**_SHAPE, "num_hidden_layers": 3}, **_WIDE, **_BYTES, **table,
                cls_token_id=0, sep_token_id=2, local_attention=8,
            )
        ),
        "deberta-v2": lambda: tf.DebertaV2Model(
            tf.DebertaV2Config(
                **_SHAPE, **_WIDE, **_BYTES, **table, relative_attention=True, position_buckets=16,
                pos_att_type=["p2c", "c2p"], norm_rel_ebd="layer_norm", share_att_key=True, type_vocab_size=0,
            )
        ),
        "qwen3": lambda: tf.Qwen3Model(tf.Qwen3Config(**_SHAPE, **_WIDE, **_BYTES, **grouped)),
        "gemma3_text": lambda: tf.Gemma3TextModel(
            tf.Gemma3TextConfig(
                **_SHAPE, **_WIDE, **_BYTES, **grouped, use_bidirectional_attention=True, sliding_window=8,
                query_pre_attn_scalar=8,
            )
        ),
        "t5": lambda: tf.T5EncoderModel(
            tf.T5Config(
                vocab_size=261, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=1, eos_token_id=2,
                initializer_factor=3.0,
            )
        ),
        "gpt2": lambda: tf.GPT2Model(
            tf.GPT2Config(**_BYTES, **_WIDE, n_embd=32, n_layer=2, n_head=4, n_positions=64)
        ),
    }  # fmt: skip


def save_transformer(kind: str, folder: Path, *, padding_side: str = "right", **options) -> Path:
    """Save a plain transformer of random weights with its tokenizer; return its folder."""
    import torch
    import transformers as tf

    torch.manual_seed(1)
    _models(tf)[kind]().save_pretrained(folder, **options)
    byte_level_tokenizer(padding_side=padding_side).save_pretrained(folder)
    return folder


def save_dense(
    folder: Path, n_inputs: int, n_outputs: int, *, activation: str = "Tanh", residual: bool = False
) -> None:
    """Save a Dense module of random weights."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(n_inputs)
    weights = {
        "linear.weight": torch.randn(n_outputs, n_inputs, generator=generator),
        "linear.bias": torch.randn(n_outputs, generator=generator),
    }
    if residual and n_inputs != n_outputs:
        weights["residual.weight"] = torch.randn(n_outputs, n_inputs, generator=generator)
    save_file(weights, folder / "model.safetensors")
    place = "linear" if activation == "Identity" else "activation"
    config = {
        "in_features": n_inputs,
        "out_features": n_outputs,
        "bias": True,
        "activation_function": f"torch.nn.modules.{place}.{activation}",
        "use_residual": residual,
    }
    (folder / "config.json").write_text(json.dumps(config))


def save_layer_norm(folder: Path, dim: int) -> None:
    """Save a LayerNorm module of random weights."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(dim)
    weights = {f"norm.{name}": torch.randn(dim, generator=generator) for name in ("weight", "bias")}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"dimension": dim}))


def write_modules(folder: Path, pooling: str = "mean", head: Sequence[str] = (), *, dim: int = 32) -> Path:
    """Write beside a plain transformer what makes it a sentence encoder; the head's modules are in their folders."""
    kinds = ["Transformer", "Pooling", *head]
    paths = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds[1:], 1))]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": MAX_LENGTH, "do_lower_case": False})
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    flags = {
        "cls": "cls_token",
        "mean": "mean_tokens",
        "max": "max_tokens",
        "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "weightedmean": "weightedmean_tokens",
        "lasttoken": "lasttoken",
    }
    config = {"word_embedding_dimension": dim} | {
        f"pooling_mode_{flag}": mode == pooling for mode, flag in flags.items()
    }
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return folder


def save_sentence_encoder(kind: str, folder: Path, pooling: str = "mean", head: Sequence[str] = ("Normalize",)) -> Path:
    """Save a tiny sentence encoder; the Dense modules of its head have 24 dimensions, the last of them 16."""
    save_transformer(kind, folder, padding_side="left" if kind in ("qwen3", "gpt2") else "right")
    dim = 32
    last_dense = max((number for number, module in enumerate(head) if module == "Dense"), default=None)
    for number, module in enumerate(head):
        path = folder / f"{number + 2}_{module}"
        if module == "Dense":
            n_outputs = 16 if number == last_dense else 24
            save_dense(path, dim, n_outputs, activation="Identity" if number else "Tanh", residual=number == 1)
            dim = n_outputs
        elif module == "LayerNorm":
            save_layer_norm(path, dim)
        else:
            path.mkdir()
    return write_modules(folder, pooling, head)


_OWN_CODE = """
from pathlib import Path

import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

Path(__file__).with_name("executed").touch()


class OwnConfig(PretrainedConfig):
    model_type = "own"


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.tokens = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self):
        return self.tokens

    def forward(self, input_ids, attention_mask=None, **kwargs):
        return BaseModelOutput(last_hidden_state=self.tokens(input_ids))
"""


def write_own_code(folder: Path):
    """Make a saved transformer a model of code of its own, which leaves a file `executed`; return its token vectors."""
    import torch
    from safetensors.torch import save_file

    table = torch.randn(261, 32, generator=torch.Generator().manual_seed(0))
    save_file({"tokens.weight": table}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "modeling_own.py").write_text(_OWN_CODE)
    auto_map = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    config = {"model_type": "own", "vocab_size": 261, "hidden_size": 32, "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(config))
    return table
