"""Errors that a user can cause and resolve.

Every message says what was got, what was expected and the way out. The command line prints the message of an
`ElasticDenserError` in one line and exits with 1; any other error is a bug and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path


class ElasticDenserError(Exception):
    """Base class of all errors whose message tells the user what to do."""


class BadInputError(ElasticDenserError):
    """Fault in a corpus, query set, qrels, run file or other input.

    Args:
        message: Description of the fault.
        path: The file, if there is one.
        line: Line number in the file, from 1.
    """

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)
        self.path = path
        self.line = line


class DataMissingError(BadInputError):
    """Data set that is not on this machine; the message says where it belongs or how to get it."""


class ModelError(ElasticDenserError):
    """Encoder that cannot be found, or whose files cannot be used."""


class IndexFormatError(ElasticDenserError):
    """Index that is missing, damaged, or of a format that this version cannot read."""


class EncoderMismatchError(ElasticDenserError):
    """Index that was made by another encoder than the given one."""


class BuildError(ElasticDenserError):
    """Build that cannot start or continue; what was on disk before is unchanged."""


class QueryError(ElasticDenserError):
    """Request that cannot be answered: a query, k, subnet or another parameter is not valid."""


class MissingExtraError(ElasticDenserError):
    """Optional dependency that is not installed.

    Args:
        what: The feature that needs it.
        extra: The extra of this package that installs it.
        instead: Another way out, such as `use int8`; may be empty.
    """

    def __init__(self, what: str, extra: str, *, instead: str = "") -> None:
        from elasticdenser.requirements import pip_install  # takes time, and is seldom needed

        way_out = "; or ".join(filter(None, [pip_install(extra), instead]))
        super().__init__(f"{what} needs packages that are not installed (extra {extra!r}): {way_out}")
