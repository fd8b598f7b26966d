"""The evaluation part of a BEIR folder: which query file, which qrels, which split."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.datasets.files import bare_name, text_suffix
from elasticdenser.datasets.sources import beir_files, natural_order
from elasticdenser.errors import BadInputError

_DEFAULT_SPLITS = ("test", "dev")
_QRELS_SUFFIXES = (".tsv", ".txt", ".qrels", ".trec")


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
    """Return the qrels of a split, or nothing where the folder has no qrels and no split was asked for.

    Args:
        folder: A BEIR folder.
        split: Its name; by default `test`, else `dev`, else the only one there is.

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
        there = f"choose one of {', '.join(splits)}" if splits else "the folder has no qrels/*.tsv"
        raise BadInputError(f"no split {split!r}: {there}", folder)
    return splits[split]


def refuse_split(dataset: str | Path, split: str | None) -> None:
    """Raise where a split was asked of something that has none.

    Raises:
        BadInputError: There was.
    """
    if split is not None:
        message = (
            f"the split {split!r} was asked for, but {dataset} is no BEIR folder: leave the split out, or name"
            f" it in the ir_datasets id (msmarco-passage/dev)"
        )
        raise BadInputError(message)


def _splits(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    files = sorted((path for path in folder.iterdir() if path.is_file()), key=natural_order)
    found: dict[str, Path] = {}
    for path in files:
        if text_suffix(path) in _QRELS_SUFFIXES and not path.name.startswith("."):
            found.setdefault(Path(bare_name(path)).name, path)
    return found
