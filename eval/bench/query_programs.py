"""Small programs that `query_processes.py` starts and measures, each importing no more than it needs.

python query_programs.py sentence-transformers MODEL-FOLDER FLAT-INDEX IDS QUERY
python query_programs.py onnx ONNX-FILE TOKENIZER-FOLDER FLAT-INDEX IDS QUERY
python query_programs.py index INDEX VECTORS.npy
python query_programs.py all-sizes INDEX QUERIES.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_K = 10


def sentence_transformers(folder: str, flat: str, ids: str, query: str) -> None:
    """Answer one query with sentence-transformers and FAISS Flat, in few lines, as its documentation has it."""
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
    scores, found = index.search(vectors, _K)
    for score, position in zip(scores[0], found[0], strict=True):
        print(f"{score:.4f} {names[position]}")


def index_alone(path: str, vectors: str) -> None:
    """Search an index with ready vectors, then print the memory held."""
    import numpy as np

    from elasticdenser import PassageIndex

    index = PassageIndex.open(path)
    for vector in np.load(vectors):
        _, found = index.search(vector[np.newaxis], _K)
        for position in found[0].tolist():
            index.doc_ids[position]
    _print_memory()


def all_sizes(path: str, queries: str) -> None:
    """Answer queries at every size of the encoder, then print the memory held."""
    from elasticdenser import Retriever

    retriever = Retriever.open(path)
    for size in retriever.encoder.subnets:
        for query in json.loads(Path(queries).read_text(encoding="utf-8")):
            list(retriever.search(query, _K, subnet=size))
    _print_memory()


def _print_memory() -> None:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    held = {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon", "VmHWM")}
    print(json.dumps(held))


if __name__ == "__main__":
    programs: dict[str, Callable[..., None]] = {
        "sentence-transformers": sentence_transformers,
        "onnx": onnx,
        "index": index_alone,
        "all-sizes": all_sizes,
    }
    programs[sys.argv[1]](*sys.argv[2:])
