"""The scored holdout, from its Parquet file to what model checks read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from airflow_ml.core.scored_holdout import ScoredHoldout


def read_holdout(path: Path, *, slices: Sequence[str]) -> ScoredHoldout:
    """Read the columns ``label, candidate, champion, baseline, day`` and the slices of a scored holdout.

    Args:
        path: Parquet; ``champion`` is absent or all null where there is none.
        slices: Columns to slice by; null becomes the slice ``"null"``.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    champion = table["champion"] if "champion" in table.column_names else None
    return ScoredHoldout(
        label=[float(value) for value in table["label"].to_pylist()],
        candidate=table["candidate"].to_pylist(),
        champion=None if champion is None or champion.null_count == len(champion) else champion.to_pylist(),
        baseline=table["baseline"].to_pylist(),
        cluster=[str(value) for value in table["day"].to_pylist()],
        slices={
            name: ["null" if value is None else str(value) for value in table[name].to_pylist()] for name in slices
        },
    )
