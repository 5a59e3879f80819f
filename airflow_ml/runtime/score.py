"""Batch prediction: a model over a feature set, written in batches that fit any memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.errors import EmptyDataset
from airflow_ml.runtime.codec_table import columns_of
from airflow_ml.runtime.context import current
from airflow_ml.runtime.grouped_model import GroupedModel
from airflow_ml.runtime.part import open_dataset

#: About 100 MB of 50 features.
BATCH_ROWS = 250_000


def score(
    features: Mapping[str, Any],
    model: Mapping[str, Any],
    name: str,
    version: str,
    variant: str | None = None,
) -> dict[str, JSON]:
    """Score every row of a feature set.

    Args:
        features: The `FeatureSet` in wire form; all its splits are scored.
        model: The manifest of the models, or its `Artifact` in wire form.
        name: Of the registered model, written into every row.
        version: Likewise.
        variant: Likewise, for example ``champion``; None leaves the column null.

    Returns:
        ``{"scores": Artifact in wire form, "start_at": first predict_at, "end_at": last}``. The artifact is Parquet
        with the key, ``predict_at`` (under its own name), ``score`` (float64), ``model``, ``version``, ``variant``.

    Raises:
        EmptyDataset: there are no rows.
        ColumnMissing: a feature of the model is not a column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    call = current()
    record = parse_as(FeatureSet, features)
    models = GroupedModel.of(model, call.store)
    dataset = open_dataset(call.store.path(record.artifact))
    kept = [record.key, record.predict_at]
    wanted = [column for column in dict.fromkeys([*kept, *models.columns]) if column in dataset.schema.names]
    text = pa.string()
    schema = pa.schema(
        [*(dataset.schema.field(column) for column in kept), ("score", pa.float64())]
        + [(column, text) for column in ("model", "version", "variant")]
    ).remove_metadata()
    rows, first, last = 0, None, None
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as scratch:
        path = Path(scratch) / "scores.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in dataset.to_batches(columns=wanted, batch_size=BATCH_ROWS, use_threads=False):
                if not batch.num_rows:
                    continue
                scores = models.predict(batch.to_pandas())
                constants = [pa.repeat(pa.scalar(value, text), batch.num_rows) for value in (name, version, variant)]
                columns = [*(batch.column(column) for column in kept), pa.array(scores, pa.float64()), *constants]
                writer.write_batch(pa.record_batch(columns, schema=schema))
                rows += batch.num_rows
                ends = pc.min_max(batch.column(record.predict_at)).as_py()
                first = ends["min"] if first is None else min(first, ends["min"])
                last = ends["max"] if last is None else max(last, ends["max"])
        if first is None or last is None:
            raise EmptyDataset("There are no rows to score", record.view, "Check the spine's query.")
        artifact = call.store.put_file(path, format="parquet", rows=rows, columns=columns_of(schema))
    call.log(f"{rows:,} rows scored with {name} version {version}")
    return {"scores": artifact.to_dict(), "start_at": format_time(first), "end_at": format_time(last)}
