"""Indexes whose derived files are made again, opened."""

from __future__ import annotations

from pathlib import Path

from elasticdenser.index.contents import IndexContents
from elasticdenser.index.lexical import DEFAULT_STEMMER
from elasticdenser.index.lexical.info import KEEP
from elasticdenser.index.locking import resolve_path
from elasticdenser.index.passage_index import PassageIndex
from elasticdenser.index.structures.registry import AUTO
from elasticdenser.progress import Progress, silent


def rebuild(
    path: str | Path,
    factory: str | None = None,
    progress: Progress = silent,
    *,
    hybrid: bool | None = None,
    stemmer: str = DEFAULT_STEMMER,
) -> PassageIndex:
    """Derive the search structure of an index again, or the postings for search by words, and open the index.

    The segments of an index that was changed become one.

    Args:
        path: The index; the files that are derived again may be damaged.
        factory: Factory string of the new structure, or `auto`; None is `auto`, but the old structure if only the
            postings change, that is, if `hybrid` is given.
        progress: Called with (step, done, in all).
        hybrid: Whether the index will have postings, which are built again; None keeps what there is.
        stemmer: As for `PassageIndex.build`.

    Raises:
        IndexFormatError: More than these files is damaged, or there are no texts to make postings of.
        BuildError: A factory string or stemmer is not known, or the disk refuses.
    """
    # Imported here because a search does not need them.
    from elasticdenser.index.compaction import rewrite
    from elasticdenser.index.rebuilding import rebuild_derived

    folder = resolve_path(Path(path))
    if factory is None and hybrid is None:
        factory = AUTO
    new_stemmer = KEEP if hybrid is None else stemmer if hybrid else None
    contents = IndexContents.read(folder)
    contents.check_unsharded()
    if contents.generation is not None:
        rewrite(folder, factory or AUTO, progress, stemmer=new_stemmer)
    else:
        rebuild_derived(folder, factory, progress, stemmer=new_stemmer)
    return PassageIndex.open(folder)
