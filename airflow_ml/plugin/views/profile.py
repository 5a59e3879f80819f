"""What is in each column of a Parquet file: from its values where they are few enough, else from its footer."""

from __future__ import annotations

import math
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import ArtifactCorrupt
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.tables import SHOWN_COLUMNS, cell, check_size

#: Files with more rows than this tell of themselves by the statistics in their footer alone.
VALUES_ROWS = 200_000
_BINS = 20
_FREQUENT = 10
#: A file never changes: its profile is made once.
_profiles: Lru[dict[str, Any]] = Lru(64)


def profile(store: ArtifactStore, artifact: Artifact) -> dict[str, Any]:
    """Return ``{"from": "values" | "file", "columns": [...]}`` of a table.

    Raises:
        DataTooLarge: the file is larger than what a page reads.
        ArtifactNotFound, ArtifactCorrupt: the store has lost it, or it is no table.
    """
    check_size(artifact)
    return _profiles.get((store.uri, artifact.digest), lambda: _make(store, artifact))


def _make(store: ArtifactStore, artifact: Artifact) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = store.path(artifact)
    try:
        with pq.ParquetFile(path) as file:
            few = file.metadata.num_rows <= VALUES_ROWS
            schema = file.schema_arrow
            positions = range(min(len(schema.names), SHOWN_COLUMNS))
            if not few:
                columns = [_from_footer(file.metadata, schema, position) for position in positions]
            else:
                columns = [
                    _from_values(name, file.read(columns=[name]).column(0)) for name in schema.names[:SHOWN_COLUMNS]
                ]
    except (pa.ArrowException, EOFError) as error:
        raise ArtifactCorrupt("The file is no readable table", str(error)[:200], "Make it again.") from error
    return {"from": "values" if few else "file", "columns": columns}


def _column(name: str, dtype: str, **known: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("nulls", "distinct", "minimum", "maximum", "mean", "histogram", "frequent"))
    return {"name": name, "dtype": dtype, **nothing, **known}


def _from_footer(metadata: Any, schema: Any, position: int) -> dict[str, Any]:
    field = schema.field(position)
    nulls, low, high = 0, None, None
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(position).statistics
        if statistics is None or not statistics.has_null_count:
            return _column(field.name, str(field.type))
        nulls += statistics.null_count
        if statistics.has_min_max:
            low = statistics.min if low is None else min(low, statistics.min)
            high = statistics.max if high is None else max(high, statistics.max)
    return _column(field.name, str(field.type), nulls=nulls, minimum=cell(low), maximum=cell(high))


def _from_values(name: str, column: Any) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_nested(kind):
        return _column(name, str(kind), nulls=column.null_count)
    known = {"nulls": column.null_count, "distinct": pc.count_distinct(column, mode="only_valid").as_py()}
    values = column.drop_null()
    if pa.types.is_floating(kind):
        values = values.filter(pc.is_finite(values))
    if not len(values):
        return _column(name, str(kind), **known)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        extremes = pc.min_max(values)
        low, high = extremes["min"].as_py(), extremes["max"].as_py()
        counts = _histogram(values, float(low), float(high))
        return _column(
            name, str(kind), **known, minimum=cell(low), maximum=cell(high), mean=pc.mean(values).as_py(),
            histogram=None if counts is None else {"counts": counts, "low": float(low), "high": float(high)},
        )  # fmt: skip
    if not pa.types.is_boolean(kind):
        try:
            extremes = pc.min_max(values)
            known |= {"minimum": cell(extremes["min"].as_py()), "maximum": cell(extremes["max"].as_py())}
        except pa.ArrowNotImplementedError:
            pass
    counted = pa.Table.from_struct_array(pc.value_counts(values))
    most = counted.take(pc.select_k_unstable(counted, _FREQUENT, sort_keys=[("counts", "descending")]))
    frequent = [{"value": str(cell(one["values"])), "rows": one["counts"]} for one in most.to_pylist()]
    return _column(name, str(kind), **known, frequent=frequent)


def _histogram(values: Any, low: float, high: float) -> list[int] | None:
    """Count the values in 20 bins of equal width."""
    import pyarrow.compute as pc

    width = (high - low) / _BINS
    if not math.isfinite(width):
        return None
    if width <= 0:
        return [len(values)]
    places = pc.floor(pc.divide(pc.subtract(pc.cast(values, "float64", safe=False), low), width))
    found = {int(one["values"]): one["counts"] for one in pc.value_counts(places).to_pylist()}
    counts = [0] * _BINS
    for place, count in found.items():
        counts[min(max(place, 0), _BINS - 1)] += count
    return counts
