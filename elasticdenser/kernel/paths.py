"""Paths of the kernel: variants of its code for different processors, and which of them this machine can run."""

from __future__ import annotations

PORTABLE = "portable"
"""The path without vector instructions of its own: it runs on every processor, and is slower than torch in float32."""

_PATHS: tuple[str, ...] = ()  # in the order of the kernel, which knows a path by its position
_IMPORT_ERROR = ""
try:
    from elasticdenser.kernel import _kernel

    _PATHS = _kernel.paths()
except ImportError as error:  # the kernel is optional: see setup.py
    _IMPORT_ERROR = str(error)

# A name of its own beside `_PATHS`, so that tests can take the fastest paths away and compute as on a slower processor.
_available = _PATHS


def kernel_paths() -> tuple[str, ...]:
    """Return the names of the paths that this machine can run, fastest first; none where the kernel is not built."""
    return _available


def has_fast_path() -> bool:
    """Return whether the kernel was built here and has a path that is faster than torch (not measured on ARM)."""
    return any(path != PORTABLE for path in kernel_paths())


def kernel_obstacle() -> str:
    """Return why there is no fast path here; empty if there is one."""
    if not kernel_paths():
        return f"it was not built here: {kernel_import_error()}"
    return "" if has_fast_path() else "it has no fast path for this processor"


def path_number(path: str | None = None) -> int:
    """Return the number by which the kernel knows a path; None is the fastest one.

    Raises:
        ValueError: This machine has no such path.
    """
    return _PATHS.index(next(iter(kernel_paths()), "") if path is None else path)


def packed_columns() -> int:
    """Return how many outputs the fastest path here computes together, whose weights are therefore packed together."""
    return _kernel.columns(path_number())


def kernel_import_error() -> str:
    """Return the message of the error that importing the kernel raised; empty if there was none."""
    return _IMPORT_ERROR
