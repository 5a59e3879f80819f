"""Begin a sweep with what an earlier one found."""

from __future__ import annotations

import json

from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.sweep import Leaderboard
from airflow_ml.core.trials import SUCCEEDED
from airflow_ml.runtime.leaderboard import read_rows

#: Parameters of each group that a warm start takes over.
WARM_START_TRIALS = 3


def best_params(
    board: Leaderboard, store: ArtifactStore, *, per_group: int = WARM_START_TRIALS
) -> dict[str, list[dict[str, JSON]]]:
    """Return the best parameters per group of a leaderboard, best first.

    Args:
        board: The leaderboard.
        store: Where its file is.
        per_group: At most so many for each group.
    """
    best: dict[str, list[dict[str, JSON]]] = {}
    for row in read_rows(store.path(board.artifact)):  # best first within each group
        found = best.setdefault(str(row["group"]), [])
        params = json.loads(row["params"])
        if row["status"] == SUCCEEDED and len(found) < per_group and params not in found:
            found.append(params)
    return {group: found for group, found in best.items() if found}


def newest_best_params(
    store: ArtifactStore, ref: str, *, per_group: int = WARM_START_TRIALS
) -> dict[str, list[dict[str, JSON]]]:
    """Return `best_params` of the newest `Leaderboard` under a ref; nothing where there is none."""
    latest = store.latest(ref)
    return {} if latest is None else best_params(parse_as(Leaderboard, latest.value), store, per_group=per_group)
