"""Parquet files, read through the optional package pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from elasticdenser.datasets.metadata.selection import NESTED
from elasticdenser.datasets.records import BadLine, Record
from elasticdenser.datasets.schema import Schema, check_columns, column_names
from elasticdenser.errors import BadInputError

_ROWS_AT_ONCE = 256


class Parquet:
    """Rows of a Parquet file; a `RecordFormat`. Only the columns that are needed are read."""

    name: ClassVar[str] = "parquet"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    has_fields: ClassVar[bool] = True
    is_document: ClassVar[bool] = False

    @staticmethod
    def records(path: str, prefix: str, schema: Schema) -> Iterator[tuple[int, Record | BadLine]]:
        """Stream the rows of a file, with their numbers."""
        pyarrow = import_pyarrow(path)
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                columns: list[str] = file.schema_arrow.names
                names = column_names(columns, schema)
                check_columns(names, schema, path)
                used = {"answers", *(name for role in schema.roles for name in role.names)}
                needed = {*used, *schema.metadata.names_among(names, used)}
                if schema.metadata:
                    needed.add(NESTED)
                read = [column for column, name in zip(columns, names, strict=True) if name in needed]
                # The names of the other columns are shown to the user; their values are not needed.
                others = {
                    name: 0 if pyarrow.types.is_primitive(field.type) else "not read"
                    for name, field in zip(names, file.schema_arrow, strict=True)
                    if name not in needed and not name.startswith("__index_")
                }
                number = 0
                for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=read):
                    batch_names = column_names(batch.schema.names, schema)
                    values = [column.to_pylist() for column in batch.columns]
                    for row in range(batch.num_rows):
                        number += 1
                        record = {name: column[row] for name, column in zip(batch_names, values, strict=True)}
                        yield number, others | record
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BadInputError(f"cannot be read as Parquet ({reason}): make or fetch it again", path) from error


def import_pyarrow(path: str) -> Any:
    """Return pyarrow with its module for Parquet.

    Raises:
        BadInputError: It is not installed; the message names the file that needs it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        message = "reading Parquet needs pyarrow: pip install 'elasticdenser[parquet]' (or pip install pyarrow)"
        raise BadInputError(message, path) from error
    return pyarrow
