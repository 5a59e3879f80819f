"""How two tables differ: columns, rows, and each column's figures and drift, the most telling first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_ml.core.drift import Categories, Numbers, measure_column
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError
from airflow_ml.runtime.drift import alike, reduce_column


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDifference:
    """One column in two tables."""

    column: str
    #: In words: what is another, ``mean 0.21 > 0.27, nulls 0% > 3%``.
    what: str
    #: Population stability index between the two; None where it has no meaning, as for times.
    psi: float | None = None
    #: Whether that is more than chance and custom allow.
    drifted: bool = False


def table_differences(before: Path, after: Path) -> list[ColumnDifference]:
    """Compare two Parquet files column by column; columns that agree are left out.

    First the columns that one of them lacks or has as another type, then those that drifted, by how far, then those
    whose figures differ.
    """
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(path) for path in (before, after)]
    types = [{field.name: str(field.type) for field in schema} for schema in schemas]
    found: list[ColumnDifference] = []
    counts = [pq.read_metadata(path).num_rows for path in (before, after)]
    if counts[0] != counts[1]:
        found.append(ColumnDifference(column="(rows)", what=f"{counts[0]} > {counts[1]}"))
    for name in sorted({*types[0], *types[1]}):
        left, right = (one.get(name, "absent") for one in types)
        if left != right:
            found.append(ColumnDifference(column=name, what=f"{left} > {right}"))
    ranked: list[ColumnDifference] = []
    for name in [item.name for item in schemas[0] if types[1].get(item.name) == types[0][item.name]]:
        # One column at a time: two wide tables need not fit into memory.
        difference = _compare(name, *(pq.read_table(path, columns=[name]) for path in (before, after)))
        if difference is not None:
            ranked.append(difference)
    ranked.sort(key=lambda item: (not item.drifted, -(item.psi or 0.0)))
    return [*found, *ranked]


def as_json(difference: ColumnDifference) -> dict[str, JSON]:
    """Return a difference for programs."""
    return {
        "column": difference.column,
        "what": difference.what,
        "psi": difference.psi,
        "drifted": difference.drifted,
    }


def _compare(name: str, before: Any, after: Any) -> ColumnDifference | None:
    if before[name].equals(after[name]):
        return None
    try:
        old, new = alike(reduce_column(before, name), reduce_column(after, name))
    except AirflowMLError:  # a time, a list: its range says most
        return _plain_difference(name, before, after)
    changes = [
        f"{label} {_said(left)} > {_said(right)}"
        for label, left, right in _figures(old, new)
        if _said(left) != _said(right)
    ]
    if not old.rows or not new.rows:
        return ColumnDifference(column=name, what=", ".join(changes) or "no rows on one side")
    measured = measure_column(name, old, new)
    if not changes and old.rows != new.rows:
        return None  # the same values, and only more or fewer of them
    return ColumnDifference(
        column=name,
        what=", ".join(changes) or "other order or single values",
        psi=round(measured.value, 4),
        drifted=measured.drifted,
    )


def _figures(old: Numbers | Categories, new: Numbers | Categories) -> list[tuple[str, Any, Any]]:
    nulls = [f"{one.nulls / max(1, one.rows):.2%}" for one in (old, new)]
    if isinstance(old, Numbers) and isinstance(new, Numbers):
        rows: list[tuple[str, Any, Any]] = [("mean", _mean(old), _mean(new))]
        for label, share in (("min", 0.0), ("median", 0.5), ("max", 1.0)):
            rows.append((label, _quantile(old, share), _quantile(new, share)))
        return [*rows, ("nulls", nulls[0], nulls[1])]
    if isinstance(old, Categories) and isinstance(new, Categories):
        shares = _largest_shift(old, new)
        return [("values", len(old.counts), len(new.counts)), *shares, ("nulls", nulls[0], nulls[1])]
    return [("kind", type(old).__name__, type(new).__name__)]


def _largest_shift(old: Categories, new: Categories) -> list[tuple[str, Any, Any]]:
    """Return the value whose share changed most, with its shares."""
    totals = [max(1, sum(one.counts.values())) for one in (old, new)]

    def shares(value: str) -> list[float]:
        return [one.counts.get(value, 0) / total for one, total in zip((old, new), totals, strict=True)]

    values = sorted({*old.counts, *new.counts})
    if not values:
        return []
    most = max(values, key=lambda value: abs(shares(value)[1] - shares(value)[0]))
    left, right = shares(most)
    return [(f"share of {most!r}", f"{left:.2%}", f"{right:.2%}")]


def _plain_difference(name: str, before: Any, after: Any) -> ColumnDifference:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        ranges = [pc.min_max(table[name]).as_py() for table in (before, after)]
        changes = [
            f"{label} {ranges[0][label]} > {ranges[1][label]}"
            for label in ("min", "max")
            if ranges[0][label] != ranges[1][label]
        ]
    except pa.ArrowNotImplementedError:  # lists, structs and the like have no order
        changes = []
    return ColumnDifference(column=name, what=", ".join(changes) or "other values")


def _mean(column: Numbers) -> float | None:
    return sum(column.values) / len(column.values) if column.values else None


def _quantile(column: Numbers, share: float) -> float | None:
    return column.values[min(len(column.values) - 1, int(share * len(column.values)))] if column.values else None


def _said(value: Any) -> str:
    return "nothing" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
