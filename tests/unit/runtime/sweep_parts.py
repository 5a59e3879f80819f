"""A small feature set and a plan over it, for tests of the sweep."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.sweep_plan import make_plan


def feature_set(
    store: FolderStore, folder: Path, *, groups: tuple[str, ...] = ("EWR", "JFK"), rows: int = 60
) -> FeatureSet:
    generator = np.random.default_rng(3)
    total = rows * len(groups)
    split = np.where(
        np.arange(total) % rows < rows * 0.6,
        "train",
        np.where(np.arange(total) % rows < rows * 0.8, "validate", "test"),
    )
    x = generator.normal(size=total)
    table = pa.table(
        {
            "id": pa.array(range(total)),
            "at": pa.array([1_700_000_000_000_000 + i for i in range(total)], pa.timestamp("us", tz="UTC")),
            "late": pa.array((x + generator.normal(size=total) > 0).astype(int)),
            "split": pa.array(split.tolist()),
            "origin": pa.array([group for group in groups for _ in range(rows)]),
            "x": pa.array(x),
        }
    )
    path = folder / "features.parquet"
    pq.write_table(table, path)
    artifact = store.put_file(path, format="parquet", rows=total)
    empty = store.put_bytes(b"{}", format="json")
    return FeatureSet(
        view="test", view_digest=empty.digest, definition=empty, artifact=artifact, key="id", predict_at="at",
        label="late", features=("x",), carried=("origin",), split_rows={"train": int((split == "train").sum())},
        spine=artifact, engine="duckdb", as_of=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def function_of(folder: Path, text: str, name: str = "train") -> Callable[..., Any]:
    """Return a function out of a file that is imported as Airflow imports a DAG file."""
    file = folder / "dag_file.py"
    file.write_text(text)
    module = f"unusual_prefix_{abs(hash(str(folder)))}"
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    return getattr(loaded, name)


def plan_of(
    folder: Path, text: str, *, groups: tuple[str, ...] = ("EWR", "JFK"), **options: Any
) -> tuple[SweepPlan, FolderStore]:
    store = FolderStore(folder / "store")
    function = as_function_ref(capture(function_of(folder, text)), store)
    settings: dict[str, Any] = {
        "space": {"n": {"distribution": "int_uniform", "low": 0, "high": 10**6}},
        "by": "origin", "trials_per_group": 4, "metric": "score", "direction": "maximize", "max_shards": 1,
        "timeout_seconds": 30.0, "store": store,
    }  # fmt: skip
    return make_plan(function, feature_set(store, folder, groups=groups), **{**settings, **options}), store
