"""Running one task of a DAG file from this process, without a scheduler, a run or a database."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from airflow_ml.core.record import Record, encode
from airflow_ml.decorators.ml import MLDecoratedOperator
from airflow_ml.errors import AirflowMLError, ConfigurationError
from airflow_ml.hooks.job_backend import remote_jobs
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.remote import job_key
from airflow_ml.operators.sweep import PLAN_KEY, CollectSweepOperator, PlanSweepOperator, RunShardOperator

#: What ``--set`` takes for an output of an earlier run: ``dag/task`` or ``dag/task@run``.
_ADDRESS = re.compile(r"[\w.-]+/[\w.-]+(\[\d+\])?(@.+)?")
#: Pause between looks at a remote job, for somebody who waits at a terminal.
_POLL_SECONDS = 2.0


@dataclass
class Here:
    """What a task knows of itself: in the place of Airflow's task instance."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep a value that a later task of the same group asks for."""
        self.pushed[key] = value


def run_here(tasks: list[Any], settings: Mapping[str, str], compute: Any = None) -> Any:
    """Run a task, or a sweep's group, and return its value in wire form.

    Args:
        tasks: The operator, or the three of a sweep.
        settings: Arguments as text, in the place of what other tasks would give.
        compute: Another profile than the task's own; None for that.

    Raises:
        ConfigurationError: the task is none of airflow-ml's, or an argument has no value.
    """
    first = tasks[0]
    if not isinstance(first, MLOperator):
        raise ConfigurationError(
            f"{first.task_id} is no task of airflow-ml", type(first).__name__, "Run it in Airflow."
        )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = {name: value_of(text) for name, text in settings.items()}
    if compute is not None and hasattr(first, "compute"):
        first.compute = compute
    here = Here(dag_id=first.dag_id, task_id=first.task_id, run_id=f"here__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}")
    if isinstance(first, PlanSweepOperator):
        return _wire(_run_sweep(first, given, here))
    return _wire(_run_one(first, given, here))


def value_of(text: str) -> Any:
    """Return what a text of ``--set`` means: JSON; an output of an earlier run by its address; else the text itself.

    Raises:
        ArtifactNotFound: it has the form of an address, and there is no such output.
    """
    from airflow_ml.client import find_output

    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return find_output(text).to_dict() if _ADDRESS.fullmatch(text) else text


def _run_one(task: MLOperator, given: Mapping[str, Any], here: Here) -> Any:
    if isinstance(task, MLDecoratedOperator):
        signature = inspect.signature(task.python_callable)
        arguments = dict(signature.bind_partial(*task.op_args, **task.op_kwargs).arguments)
        _refuse_unknown(task, given, signature.parameters)
        task.op_args, task.op_kwargs = [], {**arguments, **given}
    else:
        _set(task, given)
    return _to_its_end(task, _context(task, here))


def _to_its_end(task: MLOperator, context: Any) -> Any:
    """Run a task; where it hands its work to a cluster or queue, watch that from here, as a triggerer would.

    Raises:
        KeyboardInterrupt: Ctrl-C; the remote job is ended.
    """
    try:
        try:
            return task.run(context)
        except TaskDeferred as deferral:
            trigger: Any = deferral.trigger
            trigger.poll_interval_seconds = min(trigger.poll_interval_seconds, _POLL_SECONDS)
            event, then = asyncio.run(_first_event(trigger)), deferral.method_name
    except KeyboardInterrupt:
        _end_remote_job(job_key(task.namespace, context))
        raise
    try:
        return getattr(task, then)(context, event)
    except AirflowFailException as error:  # a retry could not cure it; here nobody retries
        raise (error.__cause__ if isinstance(error.__cause__, AirflowMLError) else error) from None


def _end_remote_job(key: str) -> None:
    """End the job that a task had begun, if there is one, and say what became of it."""
    log = logging.getLogger(__name__)
    remote = remote_jobs()
    attempt = remote.latest(key)
    if attempt is None or not attempt.live:
        return
    name = ", ".join(attempt.handle.names) if attempt.handle is not None else "that was being submitted"
    try:
        remote.cancel(key, attempt.epoch, attempt.claim, "interrupted")
    except AirflowMLError as error:
        log.warning("The remote job %s could not be ended: %s `airflow-ml reap --yes` ends it.", name, error)
    else:
        log.warning("The remote job %s is ended.", name)


async def _first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise RuntimeError("The trigger ended without an event")


def _run_sweep(plan: PlanSweepOperator, given: Mapping[str, Any], here: Here) -> Any:
    constants = {name: value for name, value in given.items() if name in plan.constants}
    plan.constants = {**plan.constants, **constants}
    _set(plan, {name: value for name, value in given.items() if name not in constants})
    context = _context(plan, here)
    shards, record = plan.run(context), here.pushed[PLAN_KEY]
    for number in shards:
        _to_its_end(RunShardOperator(plan=record, shard=number, compute=plan.compute), context)
    return CollectSweepOperator(plan=record, task_id=plan.task_id.replace("plan", "collect")).run(context)


def _set(task: MLOperator, given: Mapping[str, Any]) -> None:
    _refuse_unknown(task, given, task.template_fields)
    for name, value in given.items():
        setattr(task, name, value)


def _refuse_unknown(task: MLOperator, given: Mapping[str, Any], known: Any) -> None:
    for name in given:
        if name not in known:
            raise ConfigurationError(f"{task.task_id} has no argument", name, f"It has {', '.join(known)}.")


def _context(task: MLOperator, here: Here) -> Any:
    """Return a context with the DAG's params, and render the templates in the task's arguments by it.

    Raises:
        ConfigurationError: an argument is another task's output, or a template that only a run can render.
    """
    now = datetime.now(UTC)
    context: Any = {
        "ti": here, "task": task, "dag": task.dag, "run_id": here.run_id, "params": task.dag.params.dump(),
        "ds": f"{now:%Y-%m-%d}", "ts": now.isoformat(), "dag_run": None, "logical_date": now,
    }  # fmt: skip
    for name in task.template_fields:
        for place, found in _inside(getattr(task, name, None), name):
            if hasattr(found, "iter_references"):
                last = place.rpartition(".")[2]
                raise ConfigurationError(
                    f"{place} of {task.task_id} is the output of another task", str(found),
                    f"Give it as --set {last}=dag/task@run, or as JSON.",
                )  # fmt: skip
    environment = task.dag.get_template_env()
    for name in task.template_fields:
        if hasattr(task, name):
            setattr(task, name, task.render_template(getattr(task, name), context, environment))
    return context


def _inside(value: Any, place: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [one for key, item in value.items() for one in _inside(item, f"{place}.{key}")]
    if isinstance(value, list | tuple):
        return [one for at, item in enumerate(value) for one in _inside(item, f"{place}.{at}")]
    return [(place, value)]


def _wire(value: Any) -> Any:
    return value.to_dict() if isinstance(value, Record) else encode(value)
