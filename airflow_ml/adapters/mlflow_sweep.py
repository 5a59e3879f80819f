"""A sweep in MLflow: one run with the leaderboard, and trials as its child runs, each once.

A trial that is known to be absent is made without asking first, so that it costs three requests; after a lost answer it
is searched for by its key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.adapters.mlflow_limits import MAX_PARAMS_OR_TAGS, check_plain, fit_metrics, fit_params, fit_tags
from airflow_ml.adapters.mlflow_runs import KEY_TAG, ensure_experiment, ensure_run, finish, log, upload
from airflow_ml.core.record import JSON

if TYPE_CHECKING:
    from mlflow.entities import Run

    from airflow_ml.adapters.mlflow_session import Operation, Session

#: Writers of child runs at most: MLflow on SQLite takes one write at a time, and larger databases lock each other out.
MAX_WRITERS = 4
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedSweep:
    """What a sweep leaves in MLflow."""

    #: The sweep's identity; the same one is never logged twice.
    key: str
    experiment: str
    #: Uploaded to the parent run by name.
    files: Mapping[str, Path] = field(default_factory=dict)
    params: Mapping[str, JSON] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    #: Rows of the leaderboard that become child runs: ``trial, group, status, params, value`` and, where known,
    #: ``metrics`` (a mapping), ``seconds`` and ``reason``.
    trials: Sequence[Mapping[str, Any]] = ()
    #: Threads that write child runs, each its own part of the trials.
    writers: int = 1


def log_sweep(session: Session, sweep: TrackedSweep, *, on_progress: Callable[[int], None] = lambda done: None) -> str:
    """Log a sweep and return the id of its run. What an earlier call logged is neither made nor written again.

    Args:
        session: The server.
        sweep: What to log.
        on_progress: Called now and then with the number of child runs that are there.

    Raises:
        RegistryUnavailable: no answer in time; running again goes on from there.
        RegistryError: the server refuses.
    """
    check_plain("key", sweep.key)
    with session.operation() as operation:
        experiment_id = ensure_experiment(operation, sweep.experiment)
        parent = ensure_run(operation, experiment_id, key=sweep.key, name="sweep")
        log(operation, parent, params=sweep.params, metrics=sweep.metrics, tags=sweep.tags)
        upload(operation, parent.info.run_id, sweep.files)
    parent_id = str(parent.info.run_id)
    there = _children(session, experiment_id, parent_id)
    missing = [row for row in sweep.trials if not _is_finished(there.get(f"{sweep.key}/{row['trial']}"))]
    writers = max(1, min(sweep.writers, MAX_WRITERS, len(missing)))
    # Neighbours go to one writer, as a shard's trials do.
    parts = [missing[len(missing) * n // writers : len(missing) * (n + 1) // writers] for n in range(writers)]
    done = [len(sweep.trials) - len(missing)]

    def write(part: Sequence[Mapping[str, Any]]) -> None:
        for row in part:
            with session.operation() as operation:
                _log_trial(operation, experiment_id, parent_id, sweep.key, row, there)
            done[0] += 1
            if done[0] % 500 == 0:
                on_progress(done[0])

    with ThreadPoolExecutor(max_workers=writers) as pool:
        for ended in [pool.submit(write, part) for part in parts]:
            ended.result()
    on_progress(done[0])
    with session.operation() as operation:
        finish(operation, parent_id)
    return parent_id


def _children(session: Session, experiment_id: str, parent: str) -> dict[str, Run]:
    """Return the child runs that exist, by key; of two with one key the earlier."""
    found: list[Run] = []
    token: str | None = None
    while True:
        with session.operation() as operation:
            search = partial(
                operation.client.search_runs, [experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'",
                max_results=_PAGE, page_token=token,
            )  # fmt: skip
            page = operation.need("child runs", search)
        found += page
        token = page.token or None
        if token is None:
            break
    found.sort(key=lambda run: (run.info.start_time, run.info.run_id), reverse=True)
    return {str(run.data.tags.get(KEY_TAG)): run for run in found}


def _is_finished(run: Run | None) -> bool:
    return run is not None and run.info.status == "FINISHED"


def _log_trial(
    operation: Operation, experiment_id: str, parent: str, key: str, row: Mapping[str, Any], there: Mapping[str, Run]
) -> None:
    trial = str(row["trial"])
    own_key = f"{key}/{trial}"
    known = {"group": str(row.get("group", "")), "status": str(row.get("status", ""))}
    labels = {name: value for name, value in {**known, "reason": str(row.get("reason") or "")}.items() if value}
    run = there.get(own_key) or _make(operation, experiment_id, parent, own_key, trial, fit_tags(labels))
    numbers = {"value": row.get("value"), "seconds": row.get("seconds"), **(row.get("metrics") or {})}
    metrics = {name: number for name, number in numbers.items() if number is not None}
    params = row.get("params") or {}
    if run.data.params or run.data.metrics or len(params) > MAX_PARAMS_OR_TAGS:
        log(operation, run, params=params, metrics=metrics, tags=labels)
    else:
        _log_at_once(operation, str(run.info.run_id), params, metrics)
    finish(operation, run.info.run_id)


def _make(operation: Operation, experiment_id: str, parent: str, key: str, name: str, labels: Mapping[str, str]) -> Run:
    """Return the run of a trial that was absent a moment ago."""
    tags = {**labels, KEY_TAG: key, "mlflow.runName": name, "mlflow.parentRunId": parent}
    tries: list[int] = []

    def create() -> Run:
        if tries:  # the first answer was lost: the run may be there
            return ensure_run(operation, experiment_id, key=key, name=name, parent=parent)
        tries.append(1)
        return operation.client.create_run(experiment_id, start_time=int(time.time() * 1000), tags=tags, run_name=name)

    return operation.need(f"run {name}", create)


def _log_at_once(operation: Operation, run_id: str, params: Mapping[str, JSON], metrics: Mapping[str, float]) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    numbers = [Metric(name, value, now, 0) for name, value in fit_metrics(metrics)[0].items()]
    texts = [Param(name, value) for name, value in fit_params(params).items()]
    operation.step(
        "log a trial", partial(operation.client.log_batch, run_id, metrics=numbers, params=texts, synchronous=True)
    )
