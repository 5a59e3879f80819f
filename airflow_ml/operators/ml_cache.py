"""The cache of `@task.ml`: results of calls, found again by what the call is."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.provenance import SUCCEEDED
from airflow_ml.core.record import JSON
from airflow_ml.operators.base import task_names

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.store_keeping import StoreKeeper


def call_owner(context: Context) -> dict[str, JSON]:
    """Return which task makes a call; empty outside a task."""
    return dict(task_names(context)) if "ti" in context else {}


def earlier_result(call: Call, store: ArtifactStore) -> CallResult | None:
    """Return the newest result of the same call, if that succeeded and what it names is still in the store.

    A blob that was found damaged is not in the store any more: the remedy is to run the task again.
    """
    from airflow_ml.runtime.call import newest_result
    from airflow_ml.runtime.directory import inner_artifacts
    from airflow_ml.runtime.store_check import is_there
    from airflow_ml.runtime.values import needed_artifacts

    keeper = cast("StoreKeeper", store)  # every store that a deployment opens is one
    result = newest_result(call, store)
    if result is None or result.status != SUCCEEDED:
        return None
    for artifact in needed_artifacts(result.value):
        if not is_there(keeper, artifact.digest):
            return None
        if not all(is_there(keeper, inner.digest) for inner in inner_artifacts(artifact, store)):
            return None
    return result


def remember(call: Call, value: JSON, store: ArtifactStore, context: Context) -> None:
    """Store the result of a call that ran in the task's own process."""
    from airflow_ml.runtime.call import call_ref
    from airflow_ml.runtime.ref_append import append_last

    result = CallResult(call=call.key, status=SUCCEEDED, value=value, facts=call_owner(context))
    append_last(store, call_ref(call), result.to_dict(), unless_newest=True)


def origin_of(result: CallResult) -> str:
    """Describe where a result comes from, such as ``run manual__2026 of flights, task clean``."""
    names = {name: result.facts.get(name) for name in ("dag", "run", "task")}
    if not names["run"]:
        return "an earlier run"
    position = f"[{result.facts['map_index']}]" if "map_index" in result.facts else ""
    return f"run {names['run']} of {names['dag']}, task {names['task']}{position}"
