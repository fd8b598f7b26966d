"""SQLite file that filters are evaluated by, derived from the lines of metadata.

The table `passages` has a row for each passage: its `position`, and a column `fN` for the field of number N, NULL where
it has no value. The values of lists are in tables `listN` (value, position) instead. The table `fields` names the
fields and their types. Dates are microseconds since 1970 in UTC, booleans 0 and 1. All columns are indexed.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from elasticdenser.artifacts import flush_to_disk, replace_file
from elasticdenser.datasets.metadata import FieldType
from elasticdenser.datasets.metadata.dates import parse_date
from elasticdenser.datasets.metadata.values import Scalar
from elasticdenser.errors import BuildError
from elasticdenser.index.filters.sql import Column

_ROWS_AT_ONCE = 4096


def columns_of(fields: Mapping[str, str]) -> dict[str, Column]:
    """Return the columns of fields, which are numbered in their order by name.

    Args:
        fields: Types as the manifest spells them, by name.
    """
    return {name: Column(FieldType.parse(fields[name]), number) for number, name in enumerate(sorted(fields))}


def write_table(path: Path, lines: Iterable[str], fields: Mapping[str, str]) -> None:
    """Write the file, atomically.

    Args:
        path: The file.
        lines: Metadata of each passage in JSON, in order.
        fields: Types of the fields by name.

    Raises:
        BuildError: The disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with closing(sqlite3.connect(temporary, isolation_level=None)) as database:
            # The file is flushed and renamed when it is complete; nobody needs a part of it.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            _fill(database, lines, columns_of(fields))
        with open(temporary, "rb+") as file:
            flush_to_disk(file)
        replace_file(temporary, path)
    except sqlite3.Error as error:
        raise BuildError(f"cannot write {path} ({error}): free some space, then run the same command again") from error
    finally:
        temporary.unlink(missing_ok=True)


def _fill(database: sqlite3.Connection, lines: Iterable[str], columns: Mapping[str, Column]) -> None:
    scalars = {name: column for name, column in columns.items() if not column.type.is_list}
    lists = {name: column for name, column in columns.items() if column.type.is_list}
    names = [f"f{column.number}" for column in scalars.values()]
    database.execute("BEGIN")
    database.execute("CREATE TABLE fields (number INTEGER PRIMARY KEY, name TEXT, type TEXT)")
    described = [(column.number, name, str(column.type)) for name, column in columns.items()]
    database.executemany("INSERT INTO fields VALUES (?, ?, ?)", described)
    database.execute(f"CREATE TABLE passages ({', '.join(['position INTEGER PRIMARY KEY', *names])})")
    for column in lists.values():
        database.execute(f"CREATE TABLE list{column.number} (value, position INTEGER)")
    for block in _blocks(lines):
        rows = [
            (position, *(_stored(metadata.get(name), column.type) for name, column in scalars.items()))
            for position, metadata in block
        ]
        database.executemany(f"INSERT INTO passages VALUES ({', '.join('?' * (len(names) + 1))})", rows)
        for name, column in lists.items():
            items = [
                (_stored(item, column.type), position)
                for position, metadata in block
                for item in metadata.get(name, ())
            ]
            database.executemany(f"INSERT INTO list{column.number} VALUES (?, ?)", items)
    for name in names:
        database.execute(f"CREATE INDEX index_{name} ON passages ({name})")
    for column in lists.values():
        database.execute(f"CREATE INDEX index_list{column.number} ON list{column.number} (value, position)")
    database.execute("ANALYZE")  # so that SQLite begins with the condition that fewest passages meet
    database.execute("COMMIT")


def _blocks(lines: Iterable[str]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    """Yield positions and metadata of a few thousand passages at a time."""
    block: list[tuple[int, dict[str, Any]]] = []
    for position, line in enumerate(lines):
        block.append((position, msgspec.json.decode(line)))
        if len(block) == _ROWS_AT_ONCE:
            yield block
            block = []
    yield block


def _stored(value: Scalar | None, kind: FieldType) -> Scalar | None:
    if kind.kind != "date" or value is None:
        return value
    span = parse_date(str(value))
    return None if span is None else span.start
