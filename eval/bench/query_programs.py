"""Small programs that `query_processes.py` starts and measures, each importing no more than it needs.

python query_programs.py sentence-transformers MODEL-FOLDER FLAT-INDEX IDS QUERY
python query_programs.py onnx ONNX-FILE TOKENIZER-FOLDER FLAT-INDEX IDS QUERY
python query_programs.py index INDEX VECTORS.npy
python query_programs.py all-subnets INDEX QUERIES.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_K = 10


def sentence_transformers(folder: str, flat: str, ids: str, query: str) -> None:
    """Answer one query with sentence-transformers and FAISS Flat, as in its documentation."""
    import faiss
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    _print_hits(faiss.read_index(flat), ids, model.encode([query], show_progress_bar=False))


def onnx(file: str, folder: str, flat: str, ids: str, query: str) -> None:
    """Answer one query with tokenizers, ONNX Runtime and FAISS Flat."""
    import faiss
    from onnx_encoder import OnnxEncoder

    encoder = OnnxEncoder(Path(file), Path(folder))
    _print_hits(faiss.read_index(flat), ids, encoder.encode([query]))


def _print_hits(index: Any, ids: str, vectors: Any) -> None:
    names = Path(ids).read_text(encoding="utf-8").splitlines()
    scores, positions = index.search(vectors, _K)
    for score, position in zip(scores[0], positions[0], strict=True):
        print(f"{score:.4f} {names[position]}")


def index_alone(path: str, vectors: str) -> None:
    """Search an index with vectors, then print the memory in use."""
    import numpy as np

    from elasticdenser import PassageIndex

    index = PassageIndex.open(path)
    for vector in np.load(vectors):
        _, positions = index.search(vector[np.newaxis], _K)
        for position in positions[0].tolist():
            index.doc_ids[position]
    _print_memory()


def all_subnets(path: str, queries: str) -> None:
    """Answer queries at every subnet of the encoder, then print the memory in use."""
    from elasticdenser import Retriever

    retriever = Retriever.open(path)
    for subnet in retriever.encoder.subnets:
        for query in json.loads(Path(queries).read_text(encoding="utf-8")):
            list(retriever.search(query, _K, subnet=subnet))
    _print_memory()


def _print_memory() -> None:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    used = {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon", "VmHWM")}
    print(json.dumps(used))


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {
        "sentence-transformers": sentence_transformers,
        "onnx": onnx,
        "index": index_alone,
        "all-subnets": all_subnets,
    }
    programs[sys.argv[1]](*sys.argv[2:])
