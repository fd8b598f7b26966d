"""Encoder by ONNX Runtime, as in fastembed. It imports nothing else, as cold starts are timed with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

_MAX_LENGTH = 256


def open_session(model: Path) -> Any:
    """Open an ONNX graph with all optimisations, on one thread."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


class OnnxEncoder:
    """Texts to vectors by `tokenizers`, ONNX Runtime, and the mean in numpy.

    Args:
        model: The ONNX graph, from token ids to hidden states.
        folder: The folder with `tokenizer.json`.
    """

    def __init__(self, model: Path, folder: Path) -> None:
        self._session = open_session(model)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_LENGTH)
        self._tokenizer.enable_padding()  # to the longest of the batch

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32, (n_texts, dim), L2-normalised."""
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = np.array([encoding.ids for encoding in encodings], np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(None, inputs)[0]
        # As in fastembed: without padding, in float64.
        means = np.sum(hidden, axis=1, where=mask[:, :, np.newaxis].astype(bool), dtype=np.float64)
        means /= np.maximum(mask.sum(axis=1, keepdims=True), 1)
        vectors: NDArray[np.float32] = (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)
        return vectors
