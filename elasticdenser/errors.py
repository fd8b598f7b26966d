"""The errors a user can meet.

Every message says what was got, what was expected and the way out. The command line prints the message of
an `ElasticDenserError` as one line and exits with 1; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path


class ElasticDenserError(Exception):
    """Base of all errors that tell a user what to do."""


class BadInputError(ElasticDenserError):
    """A corpus, query set, qrels or run file holds something that cannot be used.

    Args:
        message: What is wrong.
        path: The file, where there is one.
        line: Line number in that file, from 1.
    """

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)
        self.path = path
        self.line = line


class DataMissingError(BadInputError):
    """A data set is not on this machine; the message says where it belongs or how to get it."""


class ModelError(ElasticDenserError):
    """An encoder cannot be found, or its files cannot be used."""


class IndexFormatError(ElasticDenserError):
    """An index on disk is missing, damaged, or of a format this version cannot read."""


class EncoderMismatchError(ElasticDenserError):
    """An index was made by another encoder than the one given."""


class BuildError(ElasticDenserError):
    """A build cannot start or go on; what was on disk before is whole."""


class QueryError(ElasticDenserError):
    """A search was asked for something that cannot be answered."""


class MissingExtraError(ElasticDenserError):
    """An optional dependency is absent.

    Args:
        what: What needed it.
        extra: The extra of this package that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'elasticdenser[{extra}]'")
