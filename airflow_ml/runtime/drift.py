"""Read reference and live rows from Parquet and measure drift column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_ml.core.drift import (
    Categories,
    Numbers,
    by_excess,
    decide_drift,
    error_by_week,
    histograms,
    measure_column,
)
from airflow_ml.core.features import TRAIN
from airflow_ml.core.monitoring import DriftMeasure
from airflow_ml.core.record import JSON
from airflow_ml.errors import ArtifactCorrupt, ColumnMissing, ConfigurationError, EmptyDataset


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftFindings:
    """What was measured. ``report`` holds all of it as JSON, with the histograms behind each index."""

    #: The one that exceeds its threshold most first.
    measures: tuple[DriftMeasure, ...]
    drifted: bool
    reason: str
    #: ISO week (UTC) to the mean squared error of the score (Brier) over the rows whose outcome is known.
    error_by_week: Mapping[str, float]
    #: Live rows, and those with an outcome.
    rows: int
    outcomes: int
    report: dict[str, JSON]


def measure_drift(
    reference: Path,
    live: Path,
    *,
    features: Sequence[str],
    score: str,
    label: str | None,
    time: str,
    reference_split: str | None = TRAIN,
) -> DriftFindings:
    """Measure the drift of features and score, and the error by week.

    Every feature is measured by PSI, and the score by PSI and KS where the reference has a column of that name; the
    report says so where it has not.

    Args:
        reference: Parquet of what the model learned.
        live: Parquet of scored rows.
        features: Columns of both: numbers, booleans or strings.
        score: The prediction's column in ``live``.
        label: The outcome's column in ``live``, 0 or 1 or boolean, null where unknown; None if there is none yet.
        time: The column of ``live``, a timestamp or date, that puts a row into its week.
        reference_split: Rows of the reference to take, if it has a column ``split``; None for all.

    Raises:
        ColumnMissing: if a column is absent, naming the file.
        ConfigurationError: for a column of another type than these, or one whose kind differs between the files.
        EmptyDataset: if either side has no rows.
        ArtifactCorrupt: if a file cannot be read.
    """
    if not features:
        raise ConfigurationError("No features to measure", "[]", "Name the columns of the model's view.")
    before = _read(reference, [*features], "the reference", optional=(score, "split"))
    if reference_split is not None and "split" in before.column_names:
        import pyarrow.compute as pc

        before = before.filter(pc.equal(before["split"], reference_split))
    now = _read(live, [*features, score, time, *([label] if label else [])], "the live rows")
    for table, what in ((before, "the reference"), (now, "the live rows")):
        if not table.num_rows:
            raise EmptyDataset(f"There are no rows in {what}", "0", "Drift needs rows on both sides.")
    measures: list[DriftMeasure] = []
    bins: dict[str, JSON] = {}
    for name in [*features, score] if score in before.column_names else features:
        old, new = alike(reduce_column(before, name), reduce_column(now, name))
        measures.append(measure_column(name, old, new))
        if name == score and isinstance(old, Numbers) and isinstance(new, Numbers) and old.values and new.values:
            measures.append(measure_column(name, old, new, statistic="ks"))
        counts = histograms(name, old, new)
        bins[name] = {"reference": [*counts[0]], "live": [*counts[1]]}
    weeks, outcomes = _errors(now, score, label, time) if label else ({}, 0)
    drifted, reason = decide_drift(measures)
    ordered = by_excess(measures)
    report: dict[str, JSON] = {
        "drifted": drifted,
        "reason": reason,
        "rows": {"reference": before.num_rows, "live": now.num_rows, "outcomes": outcomes},
        "score_measured": score in before.column_names,
        "measures": [
            {"column": one.column, "statistic": one.statistic, "value": one.value, "threshold": one.threshold,
             "drifted": one.drifted}
            for one in ordered
        ],
        "histograms": bins,
        "error_by_week": {**weeks},
    }  # fmt: skip
    return DriftFindings(
        measures=tuple(ordered),
        drifted=drifted,
        reason=reason,
        error_by_week=weeks,
        rows=now.num_rows,
        outcomes=outcomes,
        report=report,
    )


def _read(path: Path, columns: Sequence[str], what: str, optional: Sequence[str] = ()) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            there = file.schema_arrow.names
            absent = [name for name in columns if name not in there]
            if absent:
                raise ColumnMissing(
                    f"A column is not in {what}", ", ".join(absent), f"It has {', '.join(sorted(there)[:30])}."
                )
            wanted = [*columns, *(name for name in optional if name in there)]
            return file.read(columns=list(dict.fromkeys(wanted)))
    except (OSError, pa.ArrowException) as error:
        raise ArtifactCorrupt(f"Cannot read {what}", f"{path.name}: {error}"[:300], "Make the file again.") from error


def reduce_column(table: Any, name: str) -> Numbers | Categories | int:
    """Reduce a column to what the measures need; a column of type null only has its number of rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table[name].combine_chunks()
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_null(kind):
        return len(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = column.cast(pa.float64(), safe=False).drop_null().to_numpy(zero_copy_only=False)
        values = np.sort(values[~np.isnan(values)])
        return Numbers(values.tolist(), len(column) - len(values))
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        counted = pc.value_counts(column.drop_null().cast(pa.string())).to_pylist()
        return Categories({entry["values"]: entry["counts"] for entry in counted}, column.null_count)
    raise ConfigurationError(
        f"Cannot measure the drift of {name}", str(kind), "Features are numbers, booleans or strings."
    )


def alike(
    old: Numbers | Categories | int, new: Numbers | Categories | int
) -> tuple[Numbers | Categories, Numbers | Categories]:
    """Give a column that is nothing but nulls, and so has no type, the kind of the other side."""
    if isinstance(old, int):
        old = Numbers([], old) if isinstance(new, int | Numbers) else Categories({}, old)
    if isinstance(new, int):
        new = Numbers([], new) if isinstance(old, Numbers) else Categories({}, new)
    return old, new


def _errors(table: Any, score: str, label: str, time: str) -> tuple[dict[str, float], int]:
    """Return the Brier score by week and the number of rows with a score and an outcome."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = table[time].type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise ConfigurationError(f"{time} is not a time", str(kind), "Name a timestamp or date column.")
    try:
        predicted, truth = table[score].cast(pa.float64()), table[label].cast(pa.float64())
    except (
        pa.ArrowInvalid,
        pa.ArrowNotImplementedError,
    ) as error:  # text, or a type that is never a number
        raise ConfigurationError(
            "Score and outcome must be numbers", str(error)[:200], "Check the columns' types."
        ) from None
    squared = pc.power(pc.subtract(predicted, truth), 2)
    # Casting an aware timestamp to a date keeps UTC, which is what a week is cut by here.
    days = pa.table(
        {"day": table[time].cast(pa.timestamp("us"), safe=False).cast(pa.date32(), safe=False), "error": squared}
    )
    known = days.filter(pc.and_kleene(pc.is_finite(squared), days["day"].is_valid()))
    sums = known.group_by("day").aggregate([("error", "sum"), ("error", "count")]).to_pylist()
    weeks = error_by_week((row["day"], row["error_sum"], row["error_count"]) for row in sums)
    return weeks, known.num_rows
