"""The runner's side of a shard: run what is missing of it, and commit each result to the store before it counts."""

from __future__ import annotations

import gc
import importlib
import json
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.sampler import in_sequence
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import PlannedTrial, TrialResult
from airflow_ml.runtime.cpus import available_cpus, limit_threads
from airflow_ml.runtime.job import Progress, ShardJob, ShardOutcome
from airflow_ml.runtime.kept_models import KeptModels
from airflow_ml.runtime.ledger import LOCAL_BATCH_SECONDS, REMOTE_BATCH_SECONDS, Ledger
from airflow_ml.runtime.load import load_function
from airflow_ml.runtime.optuna_parts import require_optuna
from airflow_ml.runtime.pool import Ended, Pool, Stopped
from airflow_ml.runtime.preload import preload
from airflow_ml.runtime.sequence import Sequences
from airflow_ml.runtime.shard_progress import ShardProgress
from airflow_ml.runtime.storm import STORM_TRIALS, Storm
from airflow_ml.runtime.trial import TrialRunner
from airflow_ml.runtime.worker import Task


def planned_trials(plan: SweepPlan, store: ArtifactStore) -> list[PlannedTrial]:
    """Return the trials of a plan."""
    return [PlannedTrial.from_dict(json.loads(line)) for line in store.get_bytes(plan.plan).splitlines()]


def shard_trials(plan: SweepPlan, shard: int, store: ArtifactStore) -> list[PlannedTrial]:
    """Return the trials of one shard. They are neighbours in the plan, so the other lines are not parsed: with as many
    shards as there may be that would cost more than the trials."""
    lines = store.get_bytes(plan.plan).splitlines()
    first, end = (
        bisect_left(lines, number, key=lambda line: json.loads(line)["shard"]) for number in (shard, shard + 1)
    )
    return [PlannedTrial.from_dict(json.loads(line)) for line in lines[first:end]]


def execute_shard(
    job: ShardJob,
    store: ArtifactStore,
    *,
    log: Callable[[str], None],
    on_progress: Callable[[Progress], None],
    close: Iterable[int] = (),
    started: Callable[[Pool], None] = lambda pool: None,
) -> ShardOutcome:
    """Run the trials of a shard that have no result yet.

    Args:
        job: The shard.
        store: Where plan, function and data are and results go.
        log: Called with each line of the trials' output.
        on_progress: Called every two seconds and at the end.
        close: File descriptors that workers must not hold.
        started: Called with the pool, so that a signal's handler can stop it.

    Raises:
        Stopped: the pool was stopped; what had ended by then is committed.
    """
    plan = job.plan
    trials = shard_trials(plan, job.shard, store)
    local = store.uri.startswith("file:")
    ref = shard_ref(plan.sweep, job.shard, plan.shards)
    ledger = Ledger(store, ref, batch_seconds=LOCAL_BATCH_SECONDS if local else REMOTE_BATCH_SECONDS, log=log)
    missing = [trial for trial in trials if trial.trial not in ledger.results]
    progress = ShardProgress(job, trials, ledger, on_progress, log)
    if len(missing) < len(trials):
        log(f"{len(trials) - len(missing)} of {len(trials)} trials were finished earlier; {len(missing)} to run")
    learning = in_sequence(plan.sampler, plan.pruner)
    side_by_side = min(len(missing), plan.batch_size * len({trial.group for trial in missing}))
    side_by_side = side_by_side if learning else len(missing)
    workers = max(1, min(job.workers or available_cpus(), side_by_side))
    if missing:
        require_optuna(plan.sampler, plan.pruner)
        limit_threads(os.environ, max(1, available_cpus() // workers))
        preload(plan.function, store, log=log)
        if learning:
            importlib.import_module("optuna")  # once, before the workers are forked
        kept = KeptModels(plan.keep_top, direction=plan.direction, store=store)
        load, opened = partial(load_function, plan.function, store), partial(open_store, store.uri)
        runner = TrialRunner(plan, load, _data_file(plan, store), kept, opened)
        # What is loaded now stays: no collection looks at it again, and none touches the pages that workers share.
        gc.collect()
        gc.freeze()
        pool = Pool(runner, workers=workers, timeout_seconds=plan.timeout_seconds, log=log, close=close)
        started(pool)
        sequences = None
        if learning:
            sequences = Sequences(trials, ledger.results, metrics=list(plan.objectives), batch_size=plan.batch_size)
        payloads = [trial.to_dict() for trial in scouts_first(missing)] if sequences is None else sequences.first()
        try:
            progress.stopped = _run(pool, payloads, ledger, progress, sequences)
        except Stopped:
            ledger.flush()
            log(f"Stopped; {len(ledger.results)} of {len(trials)} trials are finished and will not be run again")
            raise
        ledger.finish()
        if progress.stopped:
            ledger.stop(progress.stopped)
            log(f"{len(trials) - len(ledger.results)} of {len(trials)} trials were not started: {progress.stopped}")
    return progress.outcome(workers)


def _run(
    pool: Pool,
    payloads: Iterable[dict[str, Any]],
    ledger: Ledger,
    progress: ShardProgress,
    sequences: Sequences | None,
) -> str:
    """Run trials and commit their results; return why the others were not started, or nothing.

    Args:
        pool: The workers.
        payloads: The trials to begin with.
        ledger: Where results go.
        progress: Counts and reports them.
        sequences: Chooses a group's next batch from its results; None where all trials are among ``payloads``.
    """
    storm = Storm()
    with closing(pool.run([_task(payload) for payload in payloads])) as ends:
        for ended in ends:
            result = None if ended is None else _result(ended)
            elsewhere = [*(() if result is None else ledger.add(result)), *ledger.tick()]
            if sequences is None:
                pool.skip(elsewhere)
            if result is not None:
                progress.ended(result)
                if reason := storm.add(result):
                    return reason
                for payload in reversed([] if sequences is None else sequences.after(result)):
                    # One group after the other, whose data is loaded; at first one trial of each, to know them all.
                    pool.add(_task(payload), next=not storm.is_looking())
            progress.report(last=False)
    return ""


def scouts_first(trials: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """Return the trials with one of each group in front, of as many groups as a storm is judged by: so one bad group
    that happens to come first does not stop the others."""
    first: dict[str, PlannedTrial] = {}
    for trial in trials:
        first.setdefault(trial.group, trial)
    step = max(1, len(first) // STORM_TRIALS)
    scouts = list(first.values())[::step][:STORM_TRIALS]
    chosen = {trial.trial for trial in scouts}
    return [*scouts, *(trial for trial in trials if trial.trial not in chosen)]


def _task(payload: dict[str, Any]) -> Task:
    return Task(payload["trial"], payload, prefix=f"[{payload['trial']} {payload['group']}] ")


def _result(ended: Ended) -> TrialResult:
    answer = ended.answer
    return TrialResult(
        trial=ended.task.name,
        status=ended.status,
        metrics=answer.get("metrics", {}),
        reason=answer.get("reason", ""),
        traceback=answer.get("traceback", ""),
        seconds=round(ended.seconds, 6),
        reports=tuple(tuple(item) for item in answer.get("reports", ())),
        params=answer.get("params", {}),
        model=answer.get("model", {}),
        notes=answer.get("notes", {}),
    )


def _data_file(plan: SweepPlan, store: ArtifactStore) -> Path:
    return store.path(Artifact.from_dict(plan.data["artifact"]))  # type: ignore[arg-type]  # a FeatureSet's wire form
