"""The first page: what runs, what serves, what was decided last, and whether store and reconciler are well."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError
from airflow_ml.plugin.views.aliases import Registered, unasked
from airflow_ml.plugin.views.models import model_rows
from airflow_ml.plugin.views.progress import ShardReader, running_row
from airflow_ml.plugin.views.shelf import NEWEST_RUNS, Head, Shelf
from airflow_ml.plugin.views.summary import RunSummary

_SHOWN = 20
#: A sweep that was planned so long ago and never collected is no longer running.
_ABANDONED = timedelta(days=14)
#: The reconciler runs every minute; the router itself ends a split after 5.
_LATE = timedelta(minutes=10)
_SLOW_MILLISECONDS = 500.0
#: Reading runs may take so long before the page is drawn; it asks again for what is missing.
_BUDGET_SECONDS = 0.25
_TURN_ON = (
    "No run of reconcile_rollouts is among the newest runs of the DAGs that you may read. To turn it on, copy "
    "dags_examples/reconcile.py into the DAGs folder: it runs every minute."
)


def overview(
    shelf: Shelf, shards: ShardReader, may_read: Callable[[str], bool], *, user: str, registered: Registered = unasked
) -> dict[str, Any]:
    """Return the first page, with what was made by DAGs that may be read."""
    store_health, heads = _store_health(shelf, may_read)
    summaries = list(shelf.summaries(heads, seconds=_BUDGET_SECONDS))
    complete = len(summaries) == min(len(heads), NEWEST_RUNS)
    models = model_rows(shelf, summaries, may_read, registered)
    return {
        "now_at": format_time(shelf.now()),
        "namespace": shelf.namespace,
        "user": user,
        "health": {"store": store_health, "reconciler": _reconciler(shelf, summaries, models, complete)},
        "sweeps": _running(shelf, shards, summaries),
        "models": models,
        "gates": _newest(row for summary in summaries for row in summary.gates),
        "drifts": _newest(row for summary in summaries for row in summary.drifts),
        "complete": complete,
        "runs_read": len(summaries),
    }


def _newest(rows: Any) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: str(row["at"]), reverse=True)[:_SHOWN]


def _running(shelf: Shelf, shards: ShardReader, summaries: Sequence[RunSummary]) -> list[dict[str, Any]]:
    now = shelf.now()
    found: list[dict[str, Any]] = []
    for summary in summaries:
        if summary.ended_at is not None and now - summary.ended_at < _ABANDONED:
            found += [running_row(shelf.store, shards, row) for row in summary.open_sweeps[: _SHOWN - len(found)]]
        if len(found) >= _SHOWN:
            break
    return found


def _store_health(shelf: Shelf, may_read: Callable[[str], bool]) -> tuple[dict[str, JSON], list[Head]]:
    """Return how the store answers, timed by what the page needs anyway."""
    began = time.monotonic()
    heads: list[Head] = []
    state, reason = "ok", ""
    try:
        heads = shelf.all_heads(may_read)
    except (AirflowMLError, OSError) as error:
        state, reason = "failed", f"{type(error).__name__}: {error}"[:300]
    spent = round((time.monotonic() - began) * 1000, 1)
    if state == "ok" and spent > _SLOW_MILLISECONDS:
        state, reason = "slow", f"Reading the list of runs took {spent:.0f} ms"
    health: dict[str, JSON] = {
        "state": state,
        "address": shelf.store.uri,
        "reason": reason,
        "read_milliseconds": spent,
    }
    return health, heads


def _reconciler(
    shelf: Shelf, summaries: Sequence[RunSummary], models: Sequence[Mapping[str, Any]], complete: bool
) -> dict[str, Any]:
    runs = [summary for summary in summaries if summary.reconciled_at is not None]
    newest = max(runs, key=lambda one: (one.reconciled_at is not None, one.reconciled_at), default=None)
    at = newest.reconciled_at if newest is not None else None
    lost = [row["name"] for row in models if row["rollout"] is not None and row["rollout"]["lost"]]
    if lost:
        state, reason = "needed", f"Nobody leads the rollout of {', '.join(lost[:3])} any more"
    elif at is None and not complete:
        state, reason = "unknown", "Recent runs are still being read"
    elif at is None:
        state, reason = "absent", _TURN_ON
    elif shelf.now() - at > _LATE:
        state, reason = "late", "It should run every minute"
    else:
        state, reason = "ok", ""
    return {
        "state": state,
        "reason": reason,
        "last_run_at": None if at is None else format_time(at),
        "task": newest.reconciler if newest is not None else None,
    }
