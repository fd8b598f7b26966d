"""Checks around the functions of ir_datasets that delete and download, active only in calls by this package.

If its version file is missing, ir_datasets takes a user's `collection.tsv` for an outdated copy of its own and deletes
it; and it downloads gigabytes at the first access. Unless it may download, its log lines are kept from stderr, too.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from elasticdenser.errors import BadInputError, DataMissingError, ElasticDenserError

logger = logging.getLogger(__name__)

_PROGRESS_DELAY_S = 3.0

_current = threading.local()


class Guard:
    """Context in which the checks are active in this thread, and errors of ir_datasets become ours.

    Args:
        dataset_id: Id of the data set that is read, for messages.
        download: Whether missing files may be downloaded.

    Attributes:
        expected_files: Files that ir_datasets is looking for.
    """

    def __init__(self, dataset_id: str, download: bool) -> None:
        self.dataset_id = dataset_id
        self.download = download
        self.expected_files: list[Path] = []

    def __enter__(self) -> None:
        self._outer = _current_guard()
        _current.guard = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.guard = self._outer
        if isinstance(error, Exception) and not isinstance(error, ElasticDenserError):
            make_error = self.missing if isinstance(error, FileNotFoundError) else self.error
            raise make_error(f"{type(error).__name__}: {error}") from error

    def error(self, reason: str) -> BadInputError:
        """Return the error for a data set that cannot be used."""
        return BadInputError(self._message(reason))

    def missing(self, reason: str) -> DataMissingError:
        """Return the error for a data set that is not on this machine."""
        return DataMissingError(self._message(reason))

    def refuse_download(self, places: list[Path], source: str) -> DataMissingError:
        """Return the error for a missing file: where it belongs, and how to download it."""
        files = " or ".join(str(place) for place in dict.fromkeys([*self.expected_files, *places])) or "a local copy"
        return self.missing(
            f"{files} is missing. Put it there, or allow its download (--download, download=True) from {source}"
        )

    def _message(self, reason: str) -> str:
        return f"ir_datasets cannot read {self.dataset_id}: {reason}"


def _current_guard() -> Guard | None:
    return getattr(_current, "guard", None)


def install_checks(ir_datasets: Any) -> None:
    """Wrap the functions that delete and download; outside of a `Guard` the wrappers change nothing.

    Raises:
        AttributeError: This version of ir_datasets lacks one of these functions.
    """
    util = ir_datasets.util
    local = util.LocalDownload
    _replace(util.Migrator, "_migrate", _without_deletion)
    _replace(util.Cache, "verify", _recording_expected_file)
    _replace(util.Download, "path", functools.partial(_only_local, local))
    _replace(util.Download, "stream", functools.partial(_only_local, local))
    _replace(local, "path", _naming_missing_file)
    _replace(ir_datasets.log.Logger, "logger", _as_our_logger)
    _replace(ir_datasets.log.Logger, "pbar", _later)
    _replace(ir_datasets.log.Logger, "pbar_raw", _later)
    # All other accesses to the network go through these two.
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
            guard = _current_guard()
            if guard is None:
                return migrating(*args, **kwargs)
            _check_version_file(self, guard)
            return migrating(*args, **kwargs) if guard.download else function(*args, **kwargs)

        return call

    return migrate


def _check_version_file(migrator: Any, guard: Guard) -> None:
    file, version = Path(migrator._version_file), migrator._version
    content = file.read_text(encoding="utf-8", errors="replace") if file.exists() else None
    endangered = [str(path) for path in migrator._affected_files if Path(path).exists()]
    if content == version or not endangered:
        return
    state = "is missing" if content is None else f"holds {content[:20]!r}"
    raise guard.error(
        f"{file} {state}, so ir_datasets would delete {', '.join(endangered)}. If the data is of version"
        f" {version!r}, write exactly that into the file: printf {version} > {file}"
    )


def _recording_expected_file(original: Callable[..., Any]) -> Callable[..., Any]:
    def verify(self: Any) -> Any:
        with _expected_file(self._path):
            return original(self)

    return verify


@contextmanager
def _expected_file(path: Path) -> Iterator[None]:
    guard = _current_guard()
    if guard is None:
        yield
        return
    guard.expected_files.append(path)
    try:
        yield
    finally:
        guard.expected_files.pop()


def _only_local(local: type[Any], original: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        guard = _current_guard()
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


def _naming_missing_file(original: Callable[..., Any]) -> Callable[..., Any]:
    def path(self: Any, force: bool = True) -> Any:
        guard = _current_guard()
        if guard is not None and force and not self._path.exists():
            raise guard.missing(f"{self._path} is missing. {self._message or 'Put it there'}".replace("\n", " "))
        return original(self, force)

    return path


def _offline(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        guard = _current_guard()
        if guard is not None and not guard.download:
            raise guard.refuse_download([], "the network")
        return original(*args, **kwargs)

    return call


def _as_our_logger(original: Callable[..., Any]) -> Callable[..., Any]:
    """Log the start and end of each step as this package does, not to stderr, where they would precede an error."""

    def call(self: Any) -> Any:
        guard = _current_guard()
        return original(self) if guard is None or guard.download else logger

    return call


def _later(original: Callable[..., Any]) -> Callable[..., Any]:
    """Show a progress bar only once it has taken some seconds, such as that of a large document store."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        guard = _current_guard()
        if guard is not None and not guard.download:
            kwargs = {"delay": _PROGRESS_DELAY_S, **kwargs}
        return original(self, *args, **kwargs)

    return call
