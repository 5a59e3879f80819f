"""Stage 8, batch scoring during a rollout: which variant scores which rows, and the exposures that its metric needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.errors import ColumnMissing

if TYPE_CHECKING:
    from airflow_ml.core.artifact import Column


@dataclass(frozen=True, slots=True)
class VariantRows:
    """The rows that one variant scores."""

    variant: str
    spine: Path
    rows: int
    columns: Sequence[Column]


def split_spine(whole: VariantRows, folder: Path, arms: Sequence[str] = (CHALLENGER,)) -> list[VariantRows]:
    """Write the rows of each arm to a file of its own; the champion comes first, arms without rows are left out."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from airflow_ml.core.variant_sql import VARIANT
    from airflow_ml.runtime.codec_table import columns_of

    table = pq.read_table(whole.spine)
    found = []
    for variant in (CHAMPION, *arms):
        mine = table.filter(pc.equal(table[VARIANT], variant)).drop_columns([VARIANT])
        if mine.num_rows:
            path = folder / f"spine-{variant}.parquet"
            pq.write_table(mine, path)
            found.append(VariantRows(variant=variant, spine=path, rows=mine.num_rows, columns=columns_of(mine.schema)))
    return found


def write_exposures(
    part: VariantRows,
    scores: Path,
    into: Path,
    *,
    model: str,
    epoch: int,
    weight_percent: float,
    version: str,
    key: str,
    predict_at: str,
    unit: str,
    step: str = "",
) -> None:
    """Write which version scored which unit: ``model, epoch, key, unit, data_day, step, assigned, version, score``.

    Args:
        part: The variant's rows.
        scores: Their scores, with ``key``, ``predict_at`` and ``score``.
        into: The Parquet file to write.
        model: The served name.
        epoch: The router's.
        weight_percent: In effect for the whole batch.
        version: The version that scored.
        key: The view's key column.
        predict_at: The view's column of the moment of prediction; its day in UTC is the data day.
        unit: The column of the randomization unit in the spine.
        step: Its name in strata, if it is not the weight's.

    Raises:
        ColumnMissing: the spine has no such unit.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    spine = pq.read_table(part.spine)
    column = next((name for name in spine.column_names if name.lower() == unit.lower()), None)
    if column is None:
        raise ColumnMissing(
            "The spine lacks the randomization unit", unit, f"It has {', '.join(spine.column_names)}: select the unit."
        )
    scored = pq.read_table(scores, columns=[key, predict_at, "score"])
    units = spine.select([key]).append_column("unit", pc.cast(spine[column], pa.string()))
    joined = scored.join(units, keys=key, join_type="left outer")
    rows = joined.num_rows
    day = pc.strftime(pc.cast(joined[predict_at], pa.timestamp("us", tz="UTC")), format="%Y-%m-%d")
    constants = {
        "model": model,
        "epoch": epoch,
        "step": step or format(weight_percent, ".10g"),
        "assigned": part.variant,
        "version": version,
    }
    table = pa.table(
        {
            "model": pa.repeat(constants["model"], rows),
            "epoch": pa.repeat(pa.scalar(epoch, pa.int64()), rows),
            "key": pc.cast(joined[key], pa.string()),
            "unit": pc.coalesce(joined["unit"], pa.scalar("")),
            "data_day": day,
            **{name: pa.repeat(str(constants[name]), rows) for name in ("step", "assigned", "version")},
            "score": joined["score"],
        }
    )
    pq.write_table(table, into)


def write_shadow_scores(scores: Path, into: Path, *, model: str, epoch: int, arm: str, version: str, key: str) -> None:
    """Write the shadow scores of a challenger: ``model, epoch, key, arm, version, score``.

    Args:
        scores: With ``key`` and ``score``.
        into: The Parquet file to write.
        model: The served name.
        epoch: The router's.
        arm: The challenger's.
        version: The version that scored.
        key: The view's key column.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    scored = pq.read_table(scores, columns=[key, "score"])
    rows = scored.num_rows
    table = pa.table(
        {
            "model": pa.repeat(model, rows),
            "epoch": pa.repeat(pa.scalar(epoch, pa.int64()), rows),
            "key": pc.cast(scored[key], pa.string()),
            "arm": pa.repeat(arm, rows),
            "version": pa.repeat(version, rows),
            "score": scored["score"],
        }
    )
    pq.write_table(table, into)
