"""Paths of the kernel: variants of its code for different processors, and which of them this machine can run."""

from __future__ import annotations

PORTABLE = "portable"
"""The path without vector instructions of its own: it runs on every processor, and is slower than torch in float32."""

_BUILT: tuple[str, ...] = ()
_IMPORT_ERROR = ""
try:
    from elasticdenser.kernel import _kernel

    _BUILT = _kernel.paths()
except ImportError as error:  # the kernel is optional: see setup.py
    _IMPORT_ERROR = str(error)

# Apart from the built paths, so that tests can take the fastest ones away and compute as on another processor.
_available = _BUILT


def kernel_paths() -> tuple[str, ...]:
    """Return the names of the paths that this machine can run, fastest first; none where the kernel is not built."""
    return _available


def has_fast_path() -> bool:
    """Return whether the kernel was built here and has a path that is faster than torch."""
    return any(path != PORTABLE for path in kernel_paths())


def path_number(path: str | None = None) -> int:
    """Return the number by which the kernel knows a path; None is the fastest one.

    Raises:
        ValueError: This machine has no such path.
    """
    return _BUILT.index(kernel_paths()[0] if path is None else path)


def kernel_import_error() -> str:
    """Return the message of the error that importing the kernel raised; empty if there was none."""
    return _IMPORT_ERROR
