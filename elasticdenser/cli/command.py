"""Decorator of every command, for groups of options and errors in one line; and reactions to Ctrl-C and SIGTERM."""

from __future__ import annotations

import errno
import functools
import gc
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

import typer

from elasticdenser.cli.output import note
from elasticdenser.errors import ElasticDenserError

_OUTPUT_ERRORS = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
"""Errors of a write to stdout that are not a fault of this program."""

_REPEAT_S = 1.0
"""A SIGTERM so soon after another is the same one: `timeout` sends it to the process and then to its group."""

_DISTRIBUTIONS = {
    "backports": "backports-zstd",
    "faiss": "faiss-cpu",
    "ir_datasets": "ir-datasets",
    "ir_measures": "ir-measures",
    "pytrec_eval": "pytrec-eval-terrier",
    "Stemmer": "PyStemmer",
}
"""Module -> package that contains it, where the names differ."""


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function, for Typer.

    A parameter whose type is a dataclass becomes one option for each of its fields, so that options which several
    commands share are written once. Errors that a user can repair end the command with one line and exit code 1.
    """
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if inspect.isclass(hint) and is_dataclass(hint)}
    parameters = [
        option
        for parameter in inspect.signature(function).parameters.values()
        for option in (
            _options_of(groups[parameter.name])
            if parameter.name in groups
            else [_option(parameter.name, hints[parameter.name], parameter.default)]
        )
    ]

    @functools.wraps(function)
    def wrapper(**values: Any) -> None:
        gc.enable()  # `main` disabled it
        with _errors_in_one_line(), _sigterm_interrupts():
            for name, group in groups.items():
                values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
            function(**values)

    # Typer reads the signature and the annotations.
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _options_of(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        _option(field.name, hints[field.name], inspect.Parameter.empty if field.default is MISSING else field.default)
        for field in fields(group)
    ]


def _option(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default)


_sigterms_s: list[float] = []
"""Times of the SIGTERMs of a command; libraries such as Ray replace the exception that a handler raises."""


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM interrupt the block as Ctrl-C does, unless it is ignored or handled already."""
    _sigterms_s.clear()
    is_main = threading.current_thread() is threading.main_thread()  # others cannot set a handler
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def handler(*_: object) -> None:
        _sigterms_s.append(time.monotonic())
        # A repetition would interrupt the removal of temporary files.
        if len(_sigterms_s) == 1 or _sigterms_s[-1] - _sigterms_s[-2] >= _REPEAT_S:
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def resumable() -> Iterator[None]:
    """Tell the user after Ctrl-C or SIGTERM that the same command resumes the work."""
    try:
        yield
    except KeyboardInterrupt:
        raise _interrupted(": what is finished is safe; run the same command again to resume") from None


def _interrupted(advice: str = "") -> typer.Exit:
    """Say that a command was interrupted, and return its end with the exit code."""
    note(("terminated" if _sigterms_s else "interrupted") + advice)
    return typer.Exit(128 + signal.SIGTERM if _sigterms_s else 1)


@contextmanager
def first_ctrl_c() -> Iterator[list[int]]:
    """Record the first Ctrl-C in the yielded list instead of interrupting; a second one interrupts."""
    signals: list[int] = []

    def handler(number: int, _: object) -> None:
        signals.append(number)
        signal.signal(signal.SIGINT, previous)

    previous = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, handler)
    try:
        yield signals
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def writable_output() -> Iterator[None]:
    """Flush stdout in the end; if it takes no more, as on a full disk, exit with one line and code 1."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        # All files are written under `explained_os_errors`, so that an error without a path is one of stdout.
        if error.filename is not None or error.errno not in _OUTPUT_ERRORS:
            raise
        _discard_output()
        if error.errno == errno.EPIPE:
            raise SystemExit(0) from None
        note(f"error: cannot write to standard output: {error.strerror}")
        raise SystemExit(1) from None


def _discard_output() -> None:
    """Send to nowhere what stdout still holds, so that the exit of Python does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Report errors that a user can repair in one line on stderr, and exit with code 1."""
    try:
        yield
    except ElasticDenserError as error:
        note("error: " + " ".join(str(error).splitlines()))
        raise typer.Exit(1) from None
    except BrokenPipeError:  # the reader of the results, such as `| head`, has ended
        _discard_output()
        raise typer.Exit(0) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "elasticdenser"):
            raise
        note(f"error: this needs the package {package}, which is not installed{_way_to_install(package)}")
        raise typer.Exit(1) from None
    except OSError as error:
        if error.filename is None:
            raise
        note(f"error: {error.filename}: {error.strerror}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise _interrupted() from None


def _way_to_install(package: str) -> str:
    from elasticdenser.requirements import extra_of, pip_install

    distribution = _DISTRIBUTIONS.get(package, package)
    extra = extra_of(distribution)
    return f": pip install {distribution}" if extra is None else f" (extra {extra!r}): {pip_install(extra)}"
