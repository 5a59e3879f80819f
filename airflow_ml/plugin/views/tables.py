"""Rows of a Parquet file as plain JSON, a bounded part of it."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import ArtifactCorrupt, DataTooLarge

#: A page reads no larger file: the API server has other things to do, and on S3 a copy is made.
LARGEST_BYTES = 256 * 1024 * 1024
SHOWN_COLUMNS = 100
_CELL_CHARACTERS = 500


def first_rows(store: ArtifactStore, artifact: Artifact, rows: int) -> dict[str, Any]:
    """Return the first rows of a table.

    Raises:
        DataTooLarge: the file is larger than what a page reads.
        ArtifactNotFound, ArtifactCorrupt: the store has lost it, or it is no table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_size(artifact)
    try:
        with pq.ParquetFile(store.path(artifact)) as file:
            schema = file.schema_arrow
            names = schema.names[:SHOWN_COLUMNS]
            # By position: a file may have two columns of one name.
            batch = next(file.iter_batches(batch_size=max(rows, 1), columns=names), None)
            total = file.metadata.num_rows
    except (pa.ArrowException, OSError, EOFError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ArtifactCorrupt("The file is no readable table", str(error)[:200], "Make it again.") from error
    columns = [] if batch is None else [batch.column(index).slice(0, rows).to_pylist() for index in range(len(names))]
    return {
        "columns": [{"name": name, "dtype": str(schema.field(index).type)} for index, name in enumerate(names)],
        "rows": [[cell(value) for value in row] for row in zip(*columns, strict=True)] if columns else [],
        "total_rows": total,
        "total_columns": len(schema.names),
    }


def check_size(artifact: Artifact) -> None:
    """Refuse what is too large for a page.

    Raises:
        DataTooLarge: it is.
    """
    if artifact.size_bytes > LARGEST_BYTES:
        raise DataTooLarge(
            "The file is too large for a page",
            f"{artifact.size_bytes:,} bytes of at most {LARGEST_BYTES:,}",
            "Read it with airflow_ml.load in a notebook.",
        )


def cell(value: Any) -> str | int | float | bool | None:
    """Return one value as JSON; long text is cut, what JSON does not have becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)  # a browser's numbers are doubles
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _CELL_CHARACTERS else f"{text[: _CELL_CHARACTERS - 1]}…"
