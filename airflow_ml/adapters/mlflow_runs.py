"""Runs of MLflow, found by a key: a run that was created before an answer was lost is adopted, not created twice."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_ml.adapters.mlflow_limits import (
    MAX_METRICS,
    MAX_PARAMS_OR_TAGS,
    batches,
    check_plain,
    fit_metrics,
    fit_params,
    fit_tags,
)
from airflow_ml.adapters.mlflow_session import Operation, already_exists
from airflow_ml.core.record import JSON
from airflow_ml.errors import RegistryError

if TYPE_CHECKING:
    from mlflow.entities import Run

#: The tag that makes runs and versions idempotent.
KEY_TAG = "airflow_ml.key"
#: On a run that lost a race: the run that counts.
DOUBLE_TAG = "airflow_ml.double_of"
NOT_FINITE_TAG = "airflow_ml.metrics_not_finite"


def ensure_experiment(operation: Operation, name: str) -> str:
    """Return the id of an experiment, made if need be; two who make it at once get the same one.

    Raises:
        RegistryError: it was deleted.
    """
    from mlflow.exceptions import MlflowException

    check_plain("experiment name", name)

    def find_or_create() -> str:
        found = operation.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(operation.client.create_experiment(name))
            except MlflowException as error:
                if not already_exists(error):
                    raise
                found = operation.client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise RegistryError("The MLflow experiment was deleted", name, "Restore it or name another one.")
        return str(found.experiment_id)

    return operation.need(f"experiment {name}", find_or_create)


def ensure_run(operation: Operation, experiment_id: str, *, key: str, name: str, parent: str | None = None) -> Run:
    """Return the run with a key, made if need be.

    Of two runs that were made at once (or after a lost answer) the earlier is returned. The other stays: whoever made
    it may be logging to it, and would fail, or register a version of a deleted run.
    """
    check_plain("key", key)
    tags = {KEY_TAG: key, "mlflow.runName": name, **({"mlflow.parentRunId": parent} if parent else {})}

    def find_or_create() -> Run:
        runs = _with_key(operation, experiment_id, key)
        if not runs:
            operation.client.create_run(experiment_id, start_time=int(time.time() * 1000), tags=tags, run_name=name)
            runs = _with_key(operation, experiment_id, key)
        if not runs:
            raise RegistryError("A run that was just made cannot be found", key, "Retry the task.")
        return runs[0]

    return operation.need(f"run {name}", find_or_create)


def log(
    operation: Operation,
    run: Run,
    *,
    params: Mapping[str, JSON],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
) -> None:
    """Log what the run does not have yet, in batches that MLflow takes."""
    from mlflow.entities import Metric, Param, RunTag

    run_id, now = run.info.run_id, int(time.time() * 1000)
    finite, not_finite = fit_metrics(metrics)
    all_tags = {**tags, NOT_FINITE_TAG: ", ".join(not_finite)} if not_finite else dict(tags)
    new_params = {k: v for k, v in fit_params(params).items() if k not in run.data.params}
    new_metrics = {k: v for k, v in finite.items() if k not in run.data.metrics}
    new_tags = {k: v for k, v in fit_tags(all_tags).items() if run.data.tags.get(k) != v}
    client = operation.client
    for some in batches(new_params, count=MAX_PARAMS_OR_TAGS):
        entries = [Param(k, v) for k, v in some.items()]
        operation.step("log params", partial(client.log_batch, run_id, params=entries, synchronous=True))
    for numbers in batches(new_metrics, count=MAX_METRICS):
        points = [Metric(k, v, now, 0) for k, v in numbers.items()]
        operation.step("log metrics", partial(client.log_batch, run_id, metrics=points, synchronous=True))
    for some in batches(new_tags, count=MAX_PARAMS_OR_TAGS):
        labels = [RunTag(k, v) for k, v in some.items()]
        operation.step("log tags", partial(client.log_batch, run_id, tags=labels, synchronous=True))


def upload(operation: Operation, run_id: str, files: Mapping[str, Path]) -> None:
    """Upload files, and folders with all they hold, under their names (``reports/leaderboard.parquet``)."""
    client = operation.client
    for name, path in files.items():
        if path.is_dir():
            operation.step(
                f"upload {name}",
                partial(client.log_artifacts, run_id, str(path), artifact_path=name),
                limited=False,
            )
            continue
        folder, _, base = name.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="airflow-ml-") as scratch:
            # MLflow names a file by its local name; a blob's local name is its digest.
            named = path if path.name == base else Path(shutil.copyfile(path, Path(scratch) / base))
            operation.step(
                f"upload {name}",
                partial(client.log_artifact, run_id, str(named), artifact_path=folder or None),
                limited=False,
            )


def mark_doubles(operation: Operation, experiment_id: str, *, key: str, of: str) -> None:
    """End the other runs with a key, and say on each which one counts; logging to them goes on working."""
    found = operation.step("doubles", lambda: _with_key(operation, experiment_id, key)) or []
    for double in (run.info.run_id for run in found if run.info.run_id != of):
        operation.step("mark a double", partial(operation.client.set_tag, double, DOUBLE_TAG, of))
        finish(operation, double)


def finish(operation: Operation, run_id: str) -> None:
    """Mark a run as finished."""
    operation.step("finish the run", lambda: operation.client.set_terminated(run_id, "FINISHED"))


def _with_key(operation: Operation, experiment_id: str, key: str) -> list[Run]:
    """Return the runs with a key, the earliest first."""
    found = operation.client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=100)
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))
