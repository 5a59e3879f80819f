"""What every upsert by key checks before it touches a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_ml.errors import ColumnMissing, ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa


def check_key(parquet: Path, key: Sequence[str]) -> tuple[pa.Schema, int]:
    """Return schema and number of rows of a Parquet file whose key is a key.

    Raises:
        ConfigurationError: no key, a null in it, or two rows with the same one: writing such rows again could not leave
            the table as it was.
        ColumnMissing: the file has no such column.
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(parquet)
    missing = [name for name in key if name not in schema.names]
    if missing:
        raise ColumnMissing("The rows lack key columns", missing, f"They have {', '.join(schema.names)}.")
    if not key:
        raise ConfigurationError("An upsert without a key", "", "Name the columns that identify a row.")
    keys = pq.read_table(parquet, columns=list(key))
    nulls = sum(column.null_count for column in keys.columns)
    distinct = keys.group_by(list(key)).aggregate([]).num_rows
    if nulls or distinct != keys.num_rows:
        raise ConfigurationError(
            f"{', '.join(key)} is not a key of the rows to write",
            f"{nulls} nulls, {keys.num_rows - distinct} duplicates in {keys.num_rows} rows",
            "Remove them, or name more columns.",
        )
    return schema, keys.num_rows
