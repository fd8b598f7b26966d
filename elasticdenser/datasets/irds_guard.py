"""Checks in front of what ir_datasets deletes and downloads, in force only where this package calls it.

Without a version file that it wrote itself, ir_datasets takes a user's `collection.tsv` for its own outdated copy
and deletes it; and it downloads gigabytes on a first look.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from elasticdenser.errors import BadInputError, DataMissingError, ElasticDenserError

_current = threading.local()


class Guard:
    """While it is entered, ir_datasets in this thread works under our rules, and its errors become ours.

    Args:
        dataset_id: What is being read, for messages.
        download: Whether missing files may be fetched.
    """

    def __init__(self, dataset_id: str, download: bool) -> None:
        self.dataset_id = dataset_id
        self.download = download
        self.wanted: list[Path] = []

    def __enter__(self) -> None:
        self._outer = _guard()
        _current.guard = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.guard = self._outer
        if isinstance(error, Exception) and not isinstance(error, ElasticDenserError):
            make = self.missing if isinstance(error, FileNotFoundError) else self.error
            raise make(f"{type(error).__name__}: {error}") from error

    def error(self, what: str) -> BadInputError:
        """Make the error that says what is wrong with this data set."""
        return BadInputError(self._said(what))

    def missing(self, what: str) -> DataMissingError:
        """Make the error that says what is not there."""
        return DataMissingError(self._said(what))

    def refuse_download(self, places: list[Path], source: str) -> DataMissingError:
        """Make the error that says where the missing file belongs."""
        where = " or ".join(str(place) for place in dict.fromkeys([*self.wanted, *places])) or "a local copy"
        return self.missing(
            f"{where} is missing. Put it there, or allow its download (--download, download=True) from {source}"
        )

    def _said(self, what: str) -> str:
        return f"ir_datasets cannot read {self.dataset_id}: {what}"


def _guard() -> Guard | None:
    return getattr(_current, "guard", None)


def install_checks(ir_datasets: Any) -> None:
    """Wrap what deletes and what downloads; outside of a `Guard` the wrappers change nothing.

    Raises:
        AttributeError: This version of ir_datasets lacks one of the places.
    """
    util = ir_datasets.util
    local = util.LocalDownload
    _replace(util.Migrator, "_migrate", _without_deletion)
    _replace(util.Cache, "verify", _noting_the_place)
    _replace(util.Download, "path", functools.partial(_only_local, local))
    _replace(util.Download, "stream", functools.partial(_only_local, local))
    _replace(local, "path", _naming_the_place)
    # Whatever goes to the network by another way passes here.
    _replace(ir_datasets.lazy_libs, "requests", _offline)
    _replace(util.download.GoogleCloudBucketStream, "stream", _offline)


def _replace(owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrap(original)))


def _without_deletion(original: Callable[..., Any]) -> Callable[..., Any]:
    def migrate(self: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        migrating = original(self, function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            guard = _guard()
            if guard is None:
                return migrating(*args, **kwargs)
            _check_version_file(self, guard)
            return migrating(*args, **kwargs) if guard.download else function(*args, **kwargs)

        return call

    return migrate


def _check_version_file(migrator: Any, guard: Guard) -> None:
    file, version = Path(migrator._version_file), migrator._version
    found = file.read_text(encoding="utf-8", errors="replace") if file.exists() else None
    endangered = [str(path) for path in migrator._affected_files if Path(path).exists()]
    if found == version or not endangered:
        return
    got = "is missing" if found is None else f"holds {found[:20]!r}"
    raise guard.error(
        f"{file} {got}, so ir_datasets would delete {', '.join(endangered)}. If the data is of version"
        f" {version!r}, write exactly that into the file: printf {version} > {file}"
    )


def _noting_the_place(original: Callable[..., Any]) -> Callable[..., Any]:
    def verify(self: Any) -> Any:
        with _wanted(self._path):
            return original(self)

    return verify


@contextmanager
def _wanted(path: Path) -> Iterator[None]:
    guard = _guard()
    if guard is None:
        yield
        return
    guard.wanted.append(path)
    try:
        yield
    finally:
        guard.wanted.pop()


def _only_local(local: type[Any], original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        guard = _guard()
        force = args[0] if args else kwargs.get("force", True)
        cached = self._path or self._cache_path
        if guard is None or guard.download or (cached and (not force or Path(cached).exists())):
            return original(self, *args, **kwargs)
        mirrors = [mirror for mirror in self.mirrors if isinstance(mirror, local)]
        if any(mirror._path.exists() for mirror in mirrors):
            return original(self, *args, **kwargs)
        places = ([Path(cached)] if cached else []) + [mirror._path for mirror in mirrors]
        sources = [str(mirror.url) for mirror in self.mirrors if hasattr(mirror, "url")]
        raise guard.refuse_download(places, sources[0] if sources else "its publisher")

    return call


def _naming_the_place(original: Callable[..., Any]) -> Callable[..., Any]:
    def path(self: Any, force: bool = True) -> Any:
        guard = _guard()
        if guard is not None and force and not self._path.exists():
            raise guard.missing(f"{self._path} is missing. {self._message or 'Put it there'}".replace("\n", " "))
        return original(self, force)

    return path


def _offline(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        guard = _guard()
        if guard is not None and not guard.download:
            raise guard.refuse_download([], "the network")
        return original(*args, **kwargs)

    return call
