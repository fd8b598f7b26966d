"""BEIR folders: files of the corpus and the queries, and the qrels of each split."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.datasets.files import bare_name, natural_order, text_suffix, without_copies
from elasticdenser.errors import BadInputError

_DEFAULT_SPLITS = ("test", "dev")
_QRELS_SUFFIXES = (".tsv", ".txt", ".qrels", ".trec")


def beir_files(folder: Path, stem: str) -> list[Path]:
    """Return the files `<stem>*.jsonl`, plain or compressed, in natural order."""
    files = [
        path
        for path in folder.iterdir()
        if path.is_file() and path.name.startswith(stem) and text_suffix(path) == ".jsonl"
    ]
    return without_copies(sorted(files, key=natural_order))


def queries_file(folder: Path) -> Path:
    """Return the folder's `queries.jsonl`, plain or compressed.

    Raises:
        BadInputError: There is none.
    """
    for path in beir_files(folder, "queries"):
        if Path(bare_name(path)).name == "queries":
            return path
    raise BadInputError("the folder has no queries.jsonl, plain, .gz or .zst: add it, or name a file", folder)


def qrels_file(folder: Path, split: str | None) -> Path | None:
    """Return the qrels of a split, or None if the folder has no qrels and no split was requested.

    Args:
        folder: A BEIR folder.
        split: Name of the split; by default `test`, else `dev`, else the only one.

    Raises:
        BadInputError: There is no such split, or several and no default among them.
    """
    splits = _splits(folder / "qrels")
    if split is None:
        if not splits:
            return None
        split = next((name for name in _DEFAULT_SPLITS if name in splits), None)
        if split is None and len(splits) > 1:
            raise BadInputError(f"several splits and no default: choose one of {', '.join(splits)}", folder)
        return splits[split] if split is not None else next(iter(splits.values()))
    if split not in splits:
        way_out = f"choose one of {', '.join(splits)}" if splits else "the folder has no qrels/*.tsv"
        raise BadInputError(f"no split {split!r}: {way_out}", folder)
    return splits[split]


def refuse_split(dataset: str | Path, split: str | None) -> None:
    """Refuse a split for something that has no splits.

    Raises:
        BadInputError: A split was requested.
    """
    if split is not None:
        message = (
            f"the split {split!r} was requested, but {dataset} is no BEIR folder: leave the split out, or name"
            f" it in the ir_datasets id (msmarco-passage/dev)"
        )
        raise BadInputError(message)


def _splits(folder: Path) -> dict[str, Path]:
    """Return the file of each split by name; of a plain and a compressed file, the first in natural order."""
    if not folder.is_dir():
        return {}
    splits: dict[str, Path] = {}
    for path in sorted((path for path in folder.iterdir() if path.is_file()), key=natural_order):
        if text_suffix(path) in _QRELS_SUFFIXES and not path.name.startswith("."):
            splits.setdefault(Path(bare_name(path)).name, path)
    return splits
