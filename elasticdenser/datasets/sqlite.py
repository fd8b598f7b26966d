"""SQLite databases: the rows of a query, or of the only table, as records."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import Schema, check_columns, column_names, listed
from elasticdenser.errors import BadInputError

SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")

_SCHEME, _QUERY = "sqlite:", "?query="
_EXAMPLE = f"{_SCHEME}PATH{_QUERY}SELECT id, title, body AS text FROM docs"
_ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"


def is_sqlite_source(source: str | Path) -> bool:
    """Return whether a source is `sqlite:PATH`, with or without `?query=...`, or a file whose suffix is that of one."""
    return str(source).startswith(_SCHEME) or Path(source).suffix.lower() in SQLITE_SUFFIXES


def split_sqlite_source(source: str) -> tuple[str, str]:
    """Return path and query of a source; the query is empty if it is left out."""
    path, _, query = source.removeprefix(_SCHEME).partition(_QUERY)
    return path, query.strip()


def sqlite_records(path: str, query: str, schema: Schema) -> Iterator[tuple[int, Record | BadLine]]:
    """Stream the rows of a query as records, with their numbers from 1. The database is not written to.

    Args:
        path: The database.
        query: A `SELECT`; if empty, the whole of the only table is read.
        schema: Names of the fields.

    Raises:
        BadInputError: The file is no database, the query is wrong, or has no column that a user named.
    """
    try:
        with closing(_connect(path)) as connection:
            rows = connection.execute(query or f'SELECT * FROM "{_only_table(connection, path)}"')
            if rows.description is None:
                raise BadInputError(f"the query {query!r} returns no rows: expected a SELECT, as in {_EXAMPLE}", path)
            names = column_names((column[0] for column in rows.description), schema)
            _refuse_repeated(names, path)
            check_columns(names, schema, path)
            for number, row in enumerate(rows, start=1):
                undecodable = next((value for value in row if isinstance(value, BadLine)), None)
                yield number, undecodable or dict(zip(names, row, strict=True))
    except sqlite3.Error as error:
        raise BadInputError(_explained(error, query), path) from error


def _connect(path: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False)  # a stream may end in another thread
    connection.text_factory = _decoded
    connection.set_authorizer(_authorised)
    return connection


def _authorised(action: int, *_: Any) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _decoded(raw: bytes) -> str | BadLine:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadLine("not UTF-8", f"a value of this row is not UTF-8 ({error.reason}): correct or leave out the row")


def _only_table(connection: sqlite3.Connection, path: str) -> str:
    tables = [str(name) for (name,) in connection.execute(_TABLES)]
    if len(tables) != 1:
        got = f"{len(tables)} tables ({listed(tables)})" if tables else "no table"
        raise BadInputError(f"the database has {got}, expected one: give a query, as in '{_EXAMPLE}'", path)
    return tables[0].replace('"', '""')


def _refuse_repeated(names: list[str], path: str) -> None:
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise BadInputError(f"two columns are called {repeated[0]!r}: name one of them anew (AS)", path)


def _explained(error: sqlite3.Error, query: str) -> str:
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
        return "this is no SQLite database: check the path"
    if "not authorized" in str(error):
        return f"the query {query!r} does more than read: expected a SELECT, as in {_EXAMPLE}"
    of_query = f" by the query {query!r}" if query else ""
    return f"cannot be read{of_query} ({error}): correct the query or the database, as in {_EXAMPLE}"
