"""Copies of indexes in object stores and other places that fsspec reaches, such as `s3://bucket/mine`.

The manifest is written last, and makes the copy an index, as on disk. Files that are there already are not copied again
after an interruption; what was downloaded is compared with its checksums.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elasticdenser.artifacts import explained_os_errors, flush_folder
from elasticdenser.errors import BuildError
from elasticdenser.index.contents import IndexContents, manifest_content
from elasticdenser.index.integrity import check_integrity, find_damage, mark_verified
from elasticdenser.index.layout import MANIFEST, SEGMENTS, SHARDS, building_folder
from elasticdenser.index.locking import exclusive_lock, resolve_path
from elasticdenser.index.manifest import read_manifest
from elasticdenser.index.publishing import recover
from elasticdenser.index.snapshots import file_names, refuse_build
from elasticdenser.progress import Progress, silent


def is_url(place: str | Path) -> bool:
    """Return whether a place is a URL, not a path."""
    return "://" in str(place)


def upload(index: Path, url: str, progress: Progress = silent) -> IndexContents:
    """Copy the newest generation of an index to a URL, and return its contents.

    Args:
        index: The index.
        url: Where to copy it, such as `s3://bucket/mine`; an unfinished copy of it there is continued.
        progress: Called with (step, files done, files in all).

    Raises:
        IndexFormatError: There is no such index, or it is damaged.
        BuildError: An index is there, the place cannot be written to, or the index changed meanwhile.
    """
    source = resolve_path(index)
    manifest = manifest_content(source)
    contents = IndexContents.read(source)
    check_integrity(source, contents.manifest)
    *names, last = file_names(contents)
    with _place(url) as (store, root):
        if store.exists(f"{root}/{last}"):
            raise BuildError(f"{url} holds an index: choose another place")
        for number, name in enumerate(names, 1):
            path, remote = source / name, f"{root}/{name}"
            if not store.exists(remote) or store.size(remote) != path.stat().st_size or path.name == MANIFEST:
                store.makedirs(os.path.dirname(remote), exist_ok=True)
                store.put_file(str(path), remote)
            progress("copying", number, len(names))
        if manifest is None or manifest_content(source) != manifest:
            raise BuildError(f"{index} was changed while it was copied: run the same command again")
        store.pipe_file(f"{root}/{last}", manifest)
    return contents


def download(url: str, path: Path, progress: Progress = silent) -> IndexContents:
    """Copy an index from a URL to a new folder, and return its contents.

    Args:
        url: The index.
        path: The folder to create; an unfinished copy is continued.
        progress: Called with (step, files done, files in all).

    Raises:
        IndexFormatError: It is no index, or is damaged.
        BuildError: Something exists at `path`, the URL cannot be read, or the disk refuses.
    """
    path = resolve_path(path)
    work = building_folder(path)
    with exclusive_lock(path), explained_os_errors(path), _place(url) as (store, root):
        recover(path)
        if path.exists():
            raise BuildError(f"{path} exists: choose another place")
        refuse_build(work)
        _fetch(store, root, work, MANIFEST)
        for name in _part_manifests(work):
            _fetch(store, root, work, name)
        contents = IndexContents.read(work)
        files = contents.manifest.files
        for number, (name, entry) in enumerate(files.items(), 1):
            if not (work / name).exists() or (work / name).stat().st_size != entry.bytes:
                _fetch(store, root, work, name)
            progress("copying", number, len(files))
        for name in find_damage(work, contents.manifest, "all"):
            (work / name).unlink(missing_ok=True)  # so that the same command fetches it again
        check_integrity(work, contents.manifest, "sizes")
        flush_folder(work)
        os.rename(work, path)
        flush_folder(path.parent)
        mark_verified(path, files)
    return IndexContents.read(path)


def _part_manifests(work: Path) -> list[str]:
    """Return the manifests of the segments or shards that the manifest in `work` names."""
    value = read_manifest(work)
    return [f"{kind}/{part['name']}/{MANIFEST}" for kind in (SEGMENTS, SHARDS) for part in value.get(kind, ())]


def _fetch(store: Any, root: str, work: Path, name: str) -> None:
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    store.get_file(f"{root}/{name}", str(work / name))


@contextmanager
def _place(url: str) -> Iterator[tuple[Any, str]]:
    """Yield the file system of a URL, and the path there.

    Raises:
        BuildError: There is no such file system, its package is not installed, or it fails.
    """
    from fsspec.core import url_to_fs  # imported here because a search does not need it

    try:
        store, root = url_to_fs(url)
        yield store, root.rstrip("/")
    except (ImportError, ValueError) as error:
        raise BuildError(f"cannot use {url} ({error}): give a URL of a file system that fsspec knows") from None
    except FileNotFoundError as error:
        raise BuildError(f"{url} holds no such index ({error} is missing): check the URL") from None
