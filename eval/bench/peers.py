"""Peers of the query benchmark: other encoders of all-MiniLM-L6-v2, with FAISS Flat behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from onnx_encoder import OnnxEncoder, open_session
from onnx_files import DYNAMIC8, FLOAT32, NBITS8, onnx_file
from reference import load_sentence_transformer

from elasticdenser import PassageIndex
from elasticdenser.index import layout
from elasticdenser.models.locate import find_model

ST = "sentence-transformers"
ST_ONNX = "sentence-transformers, ONNX (its way)"
ONNX = "ONNX Runtime float32 (fastembed's way)"
ONNX_NBITS = "ONNX Runtime, weights in 8 bits"
ONNX_DYNAMIC = "ONNX Runtime int8, dynamic"

K = 10

Vectors = NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]
Search = Callable[[Sequence[str]], list[list[str]]]


def peer_versions() -> dict[str, str]:
    """Return the versions of the peers' packages."""
    return {name: version(name) for name in ("sentence-transformers", "transformers", "onnxruntime", "tokenizers")}


def peer_encoders(cache: Path) -> dict[str, Encode]:
    """Return the peers' encoders by name, `ST` first.

    Args:
        cache: Folder of the ONNX graphs; missing ones are exported.
    """
    kinds = {ONNX: FLOAT32, ONNX_NBITS: NBITS8, ONNX_DYNAMIC: DYNAMIC8}
    folder = find_model().path
    return {
        ST: _encode_with(load_sentence_transformer()),
        ST_ONNX: _encode_with(_through_onnx(load_sentence_transformer(), onnx_file(FLOAT32, cache))),
        **{name: OnnxEncoder(onnx_file(kind, cache), folder).encode for name, kind in kinds.items()},
    }


def _encode_with(model: Any) -> Encode:
    return lambda texts: model.encode(list(texts), show_progress_bar=False)  # type: ignore[no-any-return]


def _through_onnx(model: Any, file: Path) -> Any:
    """Put ONNX Runtime in place of the transformer, as the ONNX backend does.

    The backend itself needs optimum-onnx, which needs an older transformers than sentence-transformers 6 does. This
    does the same work: tensors to numpy, the session, and back, with pooling in torch.
    """
    session = open_session(file)

    def forward(
        input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor, **_: Any
    ) -> dict[str, torch.Tensor]:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        hidden = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0]
        return {"last_hidden_state": torch.from_numpy(hidden)}

    model[0].model.forward = forward
    return model


class Flat:
    """FAISS's IndexFlatIP over the stored vectors of an index, and the ids, in memory.

    Args:
        index: The index.
    """

    def __init__(self, index: PassageIndex) -> None:
        self.faiss_index = faiss.IndexFlatIP(index.dim)
        self.faiss_index.add(np.ascontiguousarray(index.vectors))
        self._ids = (index.path / layout.IDS).read_text(encoding="utf-8").splitlines()

    def search_with(self, encode: Encode, *, by_matrix: bool = False) -> Search:
        """Return a search from texts to the ids of the `K` best passages of each.

        Args:
            encode: The encoder.
            by_matrix: Multiply a batch of queries as a matrix. By default FAISS scans the vectors for each query of so
                small a batch, which takes several times longer; for a single query the scan is faster.
        """

        def search(texts: Sequence[str]) -> list[list[str]]:
            queries = encode(texts)
            default = faiss.cvar.distance_compute_blas_threshold
            if by_matrix:
                faiss.cvar.distance_compute_blas_threshold = 1
            _, positions = self.faiss_index.search(queries, K)
            faiss.cvar.distance_compute_blas_threshold = default
            return [[self._ids[position] for position in row] for row in positions.tolist()]

        return search
