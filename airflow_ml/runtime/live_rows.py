"""Features, scores and outcomes of the same rows, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def join_live(
    features: Path, scores: Path, outcomes: Path | None, *, key: str, predict_at: str, label: str, into: Path
) -> int:
    """Write features with their score and, where known, their outcome; return the number of rows.

    Args:
        features: Parquet with key and moment of prediction, which together name a row. Where there are outcomes its own
            label column is dropped.
        scores: Parquet with the same two columns and ``score``; a row without a score is left out.
        outcomes: Parquet with the key, each once, and the label; None where no outcome is known.
        key: Name of the key.
        predict_at: Name of the moment of prediction.
        label: Name of the outcome.
        into: Where to write.

    Raises:
        ColumnMissing: the outcomes lack the key or the label.
        ConfigurationError: the outcomes name a key twice: which of them counts?
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from airflow_ml.errors import ColumnMissing, ConfigurationError

    rows = pq.read_table(features)
    if outcomes is not None and label in rows.column_names:
        rows = rows.drop_columns([label])
    scored = pq.read_table(scores, columns=[key, predict_at, "score"])
    joined = rows.join(_keyed_as(scored, rows, key), keys=[key, predict_at], join_type="inner")
    if outcomes is not None:
        known = pq.read_table(outcomes)
        missing = [name for name in (key, label) if name not in known.column_names]
        if missing:
            raise ColumnMissing(
                "The outcomes lack a column",
                ", ".join(missing),
                f"Select {key} and {label}; there is {known.column_names}.",
            )
        again = known.num_rows - pc.count_distinct(known[key], mode="all").as_py()
        if again:
            raise ConfigurationError(
                "The outcomes name a key twice",
                f"{again} of {known.num_rows} rows",
                f"Select each {key} once, with its last outcome.",
            )
        joined = joined.join(_keyed_as(known.select([key, label]), joined, key), keys=key, join_type="left outer")
    pq.write_table(joined, into, compression="zstd")
    count: int = joined.num_rows
    return count


def _keyed_as(table: pa.Table, like: pa.Table, key: str) -> pa.Table:
    """Return a table with its key in another table's type: 32 and 64 bit integers do not join."""
    position = table.column_names.index(key)
    return table.set_column(position, key, table[key].cast(like.schema.field(key).type))
