"""A small feature set with every kind of column, in a store: for tests of what trains, scores and serves."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import digest_json

if TYPE_CHECKING:
    import pandas as pd

    from airflow_ml.core.ports import ArtifactStore

START_AT = datetime(2013, 1, 1, tzinfo=UTC)
FEATURES = ("carrier", "distance", "stops", "weekend")
#: Share of rows per origin; ``XNA`` is seen in the test split only.
ORIGINS = ("EWR", "EWR", "EWR", "JFK", "JFK", "LGA")


def flights(rows: int = 600, *, seed: int = 0) -> pd.DataFrame:
    """Return made-up flights: 70 % train, 15 % validate, 15 % test by time; late more often when far and at EWR."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(seed)
    position = np.arange(rows)
    split = np.where(position < rows * 0.7, "train", np.where(position < rows * 0.85, "validate", "test"))
    origin = rng.choice(ORIGINS, rows).astype(object)
    origin[(split == "test") & (position % 17 == 0)] = "XNA"
    distance = rng.normal(size=rows)
    chance = 1 / (1 + np.exp(-(1.5 * distance + 0.8 * (origin == "EWR") - 0.6)))
    frame = pd.DataFrame(
        {
            "flight_id": [f"f{i:05d}" for i in range(rows)],
            "predict_at": [START_AT + timedelta(hours=2 * i) for i in range(rows)],
            "late": rng.random(rows) < chance,
            "split": split,
            "tailnum": [f"N{i % 40}" for i in range(rows)],
            "origin": origin,
            "carrier": rng.choice(np.array([None, *["AA", "B6", "UA"] * 6], dtype=object), rows),
            "distance": np.where(rng.random(rows) < 0.05, np.nan, distance),
            "stops": rng.integers(0, 3, rows),
            "weekend": rng.random(rows) < 0.3,
        }
    )
    return frame.astype({"split": "str"})


def store_feature_set(store: ArtifactStore, frame: pd.DataFrame | None = None, **changes: Any) -> FeatureSet:
    """Store flights as the feature-building stage leaves them and return the record, with overridable fields."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from airflow_ml.runtime.codec_table import columns_of

    flown = flights() if frame is None else frame
    schema = pa.schema(
        {
            "flight_id": pa.string(),
            "predict_at": pa.timestamp("us", tz="UTC"),
            "late": pa.bool_(),
            "split": pa.string(),
            "tailnum": pa.string(),
            "origin": pa.string(),
            "carrier": pa.string(),
            "distance": pa.float64(),
            "stops": pa.int64(),
            "weekend": pa.bool_(),
        }
    )
    present = pa.schema([field for field in schema if field.name in flown.columns])
    table = pa.Table.from_pandas(flown, schema=present, preserve_index=False).replace_schema_metadata()
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as folder:
        path = Path(folder) / "features.parquet"
        pq.write_table(table, path)
        artifact = store.put_file(path, format="parquet", rows=table.num_rows, columns=columns_of(table.schema))
    definition: Artifact = store.put_bytes(b"{}", format="json")
    fields: dict[str, Any] = {
        "view": "flight_delays",
        "view_digest": digest_json(["flight_delays"]),
        "definition": definition,
        "artifact": artifact,
        "as_of": START_AT + timedelta(days=365),
        "key": "flight_id",
        "predict_at": "predict_at",
        "label": "late",
        "features": FEATURES,
        "carried": ("tailnum", "origin"),
        "split_rows": {str(name): int(count) for name, count in flown["split"].value_counts().items()},
        "spine": artifact,
        "engine": "duckdb",
        **changes,
    }
    return FeatureSet(**fields)
