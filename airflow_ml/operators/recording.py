"""Record what a task did: one provenance record for each attempt, successful or not, of every operator."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput, TaskDeferred

from airflow_ml import __version__
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call, FunctionRef
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.provenance import (
    FAILED,
    SKIPPED,
    SUCCEEDED,
    Handle,
    Provenance,
    bounded,
    find_field,
    find_handles,
    find_records,
    index_ref,
    run_ref,
    task_ref,
    without_records,
)
from airflow_ml.core.record import JSON, encode
from airflow_ml.errors import ArtifactNotFound, RefConflict
from airflow_ml.hooks import store as store_hook
from airflow_ml.links import push_links
from airflow_ml.operators.secret_masking import holds_secret, masked, masked_settings
from airflow_ml.operators.task_origin import bundle_of, checkout_of, image, triggered_by, with_changes
from airflow_ml.runtime.ref_append import append_last

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore

_LOG = logging.getLogger(__name__)
#: A record larger than this is named by its digests alone; together they stay below the limit of a ref's entry.
_HANDLE_BYTES, _ALL_HANDLES_BYTES = 64 * 1024, 512 * 1024
#: Arguments above this size are not kept; artifacts in them count as their records.
_CALL_BYTES = 256 * 1024


def recorded(operator: BaseOperator, context: Context, work: Callable[[], Any]) -> Any:
    """Do the work, append its outcome to the task's ref, and return or raise what the work did.

    A task that defers, or waits for a human, is recorded when it goes on. What goes wrong in here is a warning, never
    the task's failure.
    """
    if "ti" not in context:
        return work()
    _show_links(operator, context["ti"])
    began = datetime.now(UTC)
    given = {name: getattr(operator, name, None) for name in operator.template_fields}
    try:
        result = work()
    except (TaskDeferred, TaskAwaitingInput):
        raise
    except BaseException as error:
        outcome = SKIPPED if isinstance(error, AirflowSkipException) else FAILED
        _write(operator, context, given, None, began=began, outcome=outcome, error=error)
        raise
    _write(operator, context, given, result, began=began, outcome=SUCCEEDED)
    return result


def _show_links(operator: BaseOperator, ti: Any) -> None:
    try:
        push_links(operator, ti)
    except Exception as problem:  # Airflow pushes them again at the end
        _LOG.debug("The links of this task could not be pushed yet: %s: %s", type(problem).__name__, problem)


def _write(
    operator: BaseOperator,
    context: Context,
    given: Mapping[str, Any],
    result: Any,
    *,
    began: datetime,
    outcome: str,
    error: BaseException | None = None,
) -> None:
    try:
        store = store_hook.artifact_store()
        record = _describe(operator, context, given, result, began=began, outcome=outcome, error=error)
        record = replace(record, git=with_changes(operator, record.git, store))
        operator.recorded_provenance = record  # for OpenLineage, after the task
        _keep_environment(operator, record.environment, store)
        _append_run(record, context, store)
        ref = task_ref(record.namespace, record.dag, record.run, record.task, record.map_index)
        append_last(store, ref, record.to_dict())
    except Exception as problem:  # the task has done its work, and must not fail because it could not be recorded
        _LOG.warning("This task's provenance could not be stored: %s: %s", type(problem).__name__, problem)


def _describe(
    operator: BaseOperator,
    context: Context,
    given: Mapping[str, Any],
    result: Any,
    *,
    began: datetime,
    outcome: str,
    error: BaseException | None,
) -> Provenance:
    from airflow_ml.runtime.cpus import available_cpus, cpu_name
    from airflow_ml.runtime.environment import environment_digest

    instance = context["ti"]
    inputs = [handle for name, value in given.items() for handle in find_handles(name, value)]
    outputs = list(find_handles("return", result))
    pushed: Mapping[str, Any] = getattr(operator, "pushed_records", {})
    beside = [handle for key, record in pushed.items() for handle in find_handles(key, record)]
    call, not_portable = _call_of(operator)
    bundle, bundle_version = bundle_of(context)
    kept = _within_limits([*beside, *inputs, *outputs])
    kept, kept_beside = kept[len(beside) :], kept[: len(beside)]
    values = [handle.value for handle in [*outputs, *beside, *inputs]]
    map_index = getattr(instance, "map_index", -1)
    return Provenance(
        dag=instance.dag_id,
        run=instance.run_id,
        task=instance.task_id,
        map_index=-1 if map_index is None else map_index,
        try_number=int(getattr(instance, "try_number", 0) or 0),
        namespace=store_hook.namespace(),
        operator=getattr(operator, "custom_operator_name", None) or type(operator).__name__,
        function=call.function if call is not None else _function_in(values),
        call=call,
        cache=str(getattr(operator, "cache_outcome", "")),
        not_portable=not_portable,
        git=checkout_of(operator, context),
        bundle=bundle,
        bundle_version=bundle_version,
        image=image(),
        airflow_ml=__version__,
        python=platform.python_version(),
        platform=" ".join(os.uname()[index] for index in (0, 2, 4)),  # platform.platform() starts a process
        cpu=cpu_name(),
        cpus=available_cpus(),
        environment=call.environment if call is not None else environment_digest(),
        params=masked_settings(dict(context.get("params") or {})),
        settings=masked_settings({name: without_records(value) for name, value in given.items()}),
        seed=_seed_of(operator),
        inputs=tuple(kept[: len(inputs)]),
        outputs=tuple(kept[len(inputs) :]),
        beside=tuple(kept_beside),
        returned=bounded(masked(without_records(result))),
        statements=tuple(sorted({str(item) for item in find_field("statement_id", values) if item})),
        triggered_by=triggered_by(context),
        started_at=began,
        ended_at=datetime.now(UTC),
        outcome=outcome,
        error="" if error is None else str(masked(f"{type(error).__name__}: {error}"))[:2000],
        remedy=str(masked(str(getattr(_cause(error), "remedy", ""))))[:500],
        reasons=tuple(getattr(_cause(error), "reasons", ())),
    )


def _cause(error: BaseException | None) -> BaseException | None:
    """Return the error itself where it stands behind Airflow's own fail-at-once exception."""
    return error.__cause__ if isinstance(error, AirflowFailException) and error.__cause__ is not None else error


def _call_of(operator: BaseOperator) -> tuple[Call | None, str]:
    """Return the call that the operator made, unless it carries a secret that may not reach the store."""
    call: Call | None = getattr(operator, "call", None)
    if call is None:
        return None, str(getattr(operator, "not_portable", ""))
    try:
        arguments = encode(call.arguments)
        size = len(canonical_json(arguments))
    except (TypeError, ValueError) as error:
        return None, f"an argument is not JSON: {error}"
    if size > _CALL_BYTES:
        return None, f"its arguments have {size} bytes, over {_CALL_BYTES}: give large data as an artifact"
    if holds_secret(arguments):
        return None, "an argument holds a secret"
    return call, ""


def _function_in(values: list[JSON]) -> FunctionRef | None:
    for wire in find_records("FunctionRef", values):
        return FunctionRef.from_dict(wire)
    return None


def _seed_of(operator: BaseOperator) -> int | None:
    try:
        return int(getattr(operator, "seed", None))  # type: ignore[arg-type]  # None and text are what is caught
    except (TypeError, ValueError):
        return None


def _within_limits(handles: list[Handle]) -> list[Handle]:
    kept, total = [], 0
    for handle in handles:
        size = len(canonical_json(handle.value))
        fits = size <= _HANDLE_BYTES and total + size <= _ALL_HANDLES_BYTES and masked(handle.value) == handle.value
        total += size if fits else 0
        value = handle.value if fits else None
        kept.append(
            Handle(name=handle.name, record=handle.record, digest=handle.digest, contains=handle.contains, value=value)
        )
    return kept


def _keep_environment(operator: BaseOperator, digest: str, store: ArtifactStore) -> None:
    """Store the list of distributions; its canonical text has the very digest that calls carry."""
    from airflow_ml.runtime.environment import environment_description

    own = getattr(operator, "described_environment", None)  # a function may have an environment of its own
    data = canonical_json(own if own is not None else environment_description())
    try:
        store.path(Artifact(digest=digest, format="json", size_bytes=len(data), uri=""))
    except ArtifactNotFound:
        store.put_bytes(data, format="json")


def _append_run(record: Provenance, context: Context, store: ArtifactStore) -> None:
    """Enter the run into its DAG's index, once; two tasks that begin it together may enter it twice."""
    ref = run_ref(record.namespace, record.dag, record.run)
    if store.latest(ref) is not None:
        return
    began = getattr(context.get("dag_run"), "start_date", None) or record.started_at
    head: dict[str, JSON] = {
        "dag": record.dag,
        "run": record.run,
        "namespace": record.namespace,
        "started_at": encode(began),
        "triggered_by": record.triggered_by,
    }
    append_last(store, index_ref(record.namespace, record.dag), head)
    try:
        store.append(ref, head, after=0)
    except RefConflict:
        return  # another task of the run was first
