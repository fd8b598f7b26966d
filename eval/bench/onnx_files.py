"""ONNX graphs of all-MiniLM-L6-v2, exported once: in float32, and with weights in 8 bits in two ways."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any

from elasticdenser.models.locate import find_model

FLOAT32, NBITS8, DYNAMIC8 = "float32", "nbits8", "dynamic8"

_OPSET = 18
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def onnx_file(kind: str, cache: Path) -> Path:
    """Return the graph of that kind, from token ids to hidden states; it is exported if it is not in `cache`.

    Args:
        kind: `FLOAT32`; `NBITS8`, weights in 8 bits in blocks of 32 (MatMulNBits); or `DYNAMIC8`, weights in 8 bits, a
            scale a column, and activations in 8 bits, a scale a tensor.
        cache: The folder.
    """
    path = cache / f"all-MiniLM-L6-v2-{kind}.onnx"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        if kind == FLOAT32:
            _export(unfinished)
        else:
            source = onnx_file(FLOAT32, cache)
            logging.disable(logging.WARNING)  # it warns about every product
            _quantize(kind, source, unfinished)
            logging.disable(logging.NOTSET)
        os.replace(unfinished, path)
    return path


def _export(path: Path) -> None:
    import torch
    from transformers import AutoModel

    class Hidden(torch.nn.Module):
        """Transformer that returns a bare tensor."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            """Return float32, (n_texts, length, dim)."""
            inputs = dict(zip(_INPUTS, (input_ids, attention_mask, token_type_ids), strict=True))
            return self.model(**inputs).last_hidden_state

    # Eager attention and the tracing exporter, as for the files on the hub; no other way is faster.
    model = AutoModel.from_pretrained(str(find_model().path), attn_implementation="eager").eval()
    ids = torch.tensor([[101, 2040, 2626, 102], [101, 2040, 102, 0]])
    names = (*_INPUTS, "last_hidden_state")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Hidden(model),
            (ids, (ids > 0).long(), torch.zeros_like(ids)),
            str(path),
            input_names=_INPUTS,
            output_names=names[-1:],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in names},
            opset_version=_OPSET,
            dynamo=False,
        )


def _quantize(kind: str, source: Path, path: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    if kind == DYNAMIC8:
        quantize_dynamic(source, path, weight_type=QuantType.QInt8, per_channel=True)
        return
    # Accuracy level 4 multiplies in 8 bits; the default multiplies in float32, which is far slower.
    quantizer = MatMulNBitsQuantizer(onnx.load(str(source)), bits=8, block_size=32, is_symmetric=True, accuracy_level=4)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path))
