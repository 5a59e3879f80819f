"""What many calls returned, as one table: written where they are collected, read wherever their values are wanted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_ml.core.call import CallResult, CallResults, FunctionRef
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.runtime.call import CallJob

#: Instead of a status: no result came back.
LOST = "lost"


def store_results(
    function: FunctionRef,
    jobs: Sequence[CallJob],
    results: Sequence[CallResult | None],
    store: ArtifactStore,
    *,
    compute: str,
) -> CallResults:
    """Store what calls returned and return the record of it.

    Args:
        function: Of all these calls.
        jobs: The calls.
        results: For each of them its result; None where there is none.
        store: Where the table goes.
        compute: Name of the compute profile.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "number": pa.array(range(len(jobs)), pa.int64()),
        "call": pa.array([job.call.key for job in jobs], pa.string()),
        "status": pa.array([result.status if result else LOST for result in results], pa.string()),
        "value": pa.array([_value(result) for result in results], pa.string()),
        "error": pa.array([result.error or None if result else None for result in results], pa.string()),
        "seconds": pa.array([result.seconds if result else None for result in results], pa.float64()),
    }
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as folder:
        file = Path(folder) / "results.parquet"
        pq.write_table(pa.table(columns), file, compression="zstd")
        artifact = store.put_file(file, format="parquet", rows=len(jobs))
    done = [result for result in results if result is not None]
    return CallResults(
        artifact=artifact,
        function=function,
        calls=len(jobs),
        succeeded=sum(result.status == "succeeded" for result in done),
        compute=compute,
        seconds=round(sum(result.seconds for result in done), 3),
    )


def read_values(record: CallResults, store: ArtifactStore) -> list[JSON]:
    """Return what each call returned, in the order of the inputs: JSON, artifacts in wire form, None where nothing."""
    import pyarrow.parquet as pq

    texts: list[Any] = pq.read_table(store.path(record.artifact), columns=["value"]).column("value").to_pylist()
    return [None if text is None else json.loads(text) for text in texts]


def _value(result: CallResult | None) -> str | None:
    done = result is not None and result.status == "succeeded"
    return canonical_json(result.value).decode() if done and result is not None else None
