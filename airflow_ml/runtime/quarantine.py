"""Divide a Parquet file into the rows that go on and the rows that are set aside."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_ml.errors import ArtifactCorrupt, ConfigurationError

#: Rows in memory at once.
_BATCH_ROWS = 65_536


def split_rows(parquet: Path, bad_rows: Sequence[int], clean_into: Path, bad_into: Path) -> tuple[int, int]:
    """Write the rows of a file into two, in their order and with their schema, a batch at a time.

    Args:
        parquet: The file; it stays as it is.
        bad_rows: Positions (0-based) of the rows to set aside, in any order; repetitions do no harm.
        clean_into: Where the other rows go. Both files are always written, even without rows.
        bad_into: Where the bad rows go.

    Returns:
        The number of clean and of bad rows. Together they are all rows of the file.

    Raises:
        ConfigurationError: if a position is not in the file, or one path is given twice. No output is left then.
        ArtifactCorrupt: if the file cannot be read to its end. No output is left then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len({parquet.absolute(), clean_into.absolute(), bad_into.absolute()}) < 3:
        raise ConfigurationError("A quarantine needs three different files", parquet, "Give each its own path.")
    bad = sorted(set(bad_rows))
    try:
        with pq.ParquetFile(parquet) as source:
            rows = source.metadata.num_rows
            if bad and not 0 <= bad[0] <= bad[-1] < rows:
                raise ConfigurationError(
                    f"A row to be set aside is not among the {rows:,} rows of the file",
                    bad[0] if bad[0] < 0 else bad[-1],
                    "Pass the positions that the validator found in this very file.",
                )
            _write(source, bad, clean_into, bad_into)
    except (OSError, pa.ArrowException) as error:
        _remove(clean_into, bad_into)
        raise ArtifactCorrupt("Cannot divide the file", f"{parquet.name}: {error}"[:300], "Make it again.") from error
    except BaseException:
        _remove(clean_into, bad_into)
        raise
    return rows - len(bad), len(bad)


def _write(source: Any, bad: Sequence[int], clean_into: Path, bad_into: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema = source.schema_arrow
    start = 0
    with pq.ParquetWriter(clean_into, schema) as clean_writer, pq.ParquetWriter(bad_into, schema) as bad_writer:
        for batch in source.iter_batches(_BATCH_ROWS):
            end = start + batch.num_rows
            here = bad[bisect.bisect_left(bad, start) : bisect.bisect_left(bad, end)]
            if here:
                flags = bytearray(batch.num_rows)
                for position in here:
                    flags[position - start] = 1
                is_bad = pc.not_equal(pa.Array.from_buffers(pa.uint8(), len(flags), [None, pa.py_buffer(flags)]), 0)
                bad_writer.write_batch(batch.filter(is_bad))
                batch = batch.filter(pc.invert(is_bad))
            clean_writer.write_batch(batch)
            start = end


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
