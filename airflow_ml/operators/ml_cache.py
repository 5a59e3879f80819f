"""The cache of `@task.ml`: results of calls, found again by what the call is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.provenance import SUCCEEDED
from airflow_ml.core.record import JSON
from airflow_ml.operators.base import provenance, publish

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore


def owner_of(context: Context) -> dict[str, JSON]:
    """Return which task asks for a call; nothing outside of a task."""
    return dict(provenance(context)) if "ti" in context else {}


def earlier_result(call: Call, store: ArtifactStore) -> CallResult | None:
    """Return the newest result of the same call, if that succeeded."""
    from airflow_ml.runtime.call import newest_result

    result = newest_result(call, store)
    return result if result is not None and result.status == SUCCEEDED else None


def remember(call: Call, value: JSON, store: ArtifactStore, context: Context) -> None:
    """Keep a result that came of a call in the task's own process."""
    from airflow_ml.runtime.call import call_ref

    result = CallResult(call=call.key, status=SUCCEEDED, value=value, facts=owner_of(context))
    publish(store, call_ref(call), result)


def told_origin(result: CallResult) -> str:
    """Say where a result is from: ``run manual__2026, task clean``."""
    names = {name: result.facts.get(name) for name in ("dag", "run", "task")}
    if not names["run"]:
        return "an earlier run"
    position = f"[{result.facts['map_index']}]" if "map_index" in result.facts else ""
    return f"run {names['run']} of {names['dag']}, task {names['task']}{position}"
