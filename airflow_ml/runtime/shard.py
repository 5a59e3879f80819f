"""The runner's side of a shard: run what is missing of it, and commit each result to the store before it counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import SUCCEEDED, PlannedTrial, TrialResult, shard_ref
from airflow_ml.errors import RefConflict
from airflow_ml.runtime.cpus import available_cpus, limit_threads
from airflow_ml.runtime.job import Progress, ShardJob, ShardOutcome
from airflow_ml.runtime.load import load_function
from airflow_ml.runtime.pool import Ended, Pool, Stopped
from airflow_ml.runtime.preload import preload
from airflow_ml.runtime.trial import TrialRunner
from airflow_ml.runtime.worker import Task

#: A batch is committed when it holds so many trials, when its oldest trial ended so long ago, or with a trial that
#: itself took so long.
BATCH_TRIALS = 50
LOCAL_BATCH_SECONDS, REMOTE_BATCH_SECONDS = 0.05, 2.0
_PROGRESS_SECONDS = 2.0


class Ledger:
    """The committed results of one shard; the first commit of a trial wins.

    Args:
        store: Where they are.
        ref: The shard's ref.
        batch_seconds: How far behind a commit may be.
    """

    def __init__(self, store: ArtifactStore, ref: str, *, batch_seconds: float) -> None:
        self._store = store
        self._ref = ref
        self._batch_seconds = batch_seconds
        self._sequence = 0
        self._pending: list[TrialResult] = []
        self._oldest = 0.0
        self.results: dict[str, TrialResult] = {}
        self.superseded = 0
        self.read()

    def read(self) -> list[str]:
        """Read what others have committed meanwhile, and return the trials."""
        new: list[str] = []
        for entry in self._store.history(self._ref):
            if entry.sequence > self._sequence:
                self._sequence = entry.sequence
                for result in results_of(entry.value):
                    if self.results.setdefault(result.trial, result) is result:
                        new.append(result.trial)
        return new

    def add(self, result: TrialResult) -> list[str]:
        """Take a finished trial; it counts once it is committed. Returns trials that others finished meanwhile."""
        if result.trial in self.results:  # it was in flight here when somebody else's commit was read
            self.superseded += 1
            return []
        if not self._pending:
            self._oldest = time.monotonic()
        self._pending.append(result)
        # A long trial is committed before its worker begins another: a crash then costs what is in flight, no more.
        full = len(self._pending) >= BATCH_TRIALS or result.seconds >= self._batch_seconds
        return self.flush() if full else []

    def tick(self) -> list[str]:
        """Commit if it is time."""
        due = self._pending and time.monotonic() - self._oldest >= self._batch_seconds
        return self.flush() if due else []

    def flush(self) -> list[str]:
        """Commit everything that is finished. Returns trials that others finished meanwhile."""
        others: list[str] = []
        while self._pending:
            batch: list[JSON] = [result.to_dict() for result in self._pending]
            try:
                self._sequence = self._store.append(self._ref, {"trials": batch}, after=self._sequence).sequence
            except RefConflict:
                others += self.read()
                late = [result for result in self._pending if result.trial in self.results]
                self.superseded += len(late)
                self._pending = [result for result in self._pending if result.trial not in self.results]
                continue
            self.results.update({result.trial: result for result in self._pending})
            self._pending = []
        return others


def results_of(value: Any) -> Iterable[TrialResult]:
    """Yield the results in one entry of a shard's ref."""
    return (TrialResult.from_dict(item) for item in value["trials"])


def planned_trials(plan: SweepPlan, store: ArtifactStore) -> list[PlannedTrial]:
    """Return the trials of a plan."""
    return [PlannedTrial.from_dict(json.loads(line)) for line in store.get_bytes(plan.plan).splitlines()]


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
    trials = [trial for trial in planned_trials(plan, store) if trial.shard == job.shard]
    local = store.uri.startswith("file:")
    ref = shard_ref(plan.sweep, job.shard, plan.shards)
    ledger = Ledger(store, ref, batch_seconds=LOCAL_BATCH_SECONDS if local else REMOTE_BATCH_SECONDS)
    missing = [trial for trial in trials if trial.trial not in ledger.results]
    watch = _Watch(job, len(trials), ledger, on_progress)
    if len(missing) < len(trials):
        log(f"{len(trials) - len(missing)} of {len(trials)} trials were finished before; {len(missing)} to run")
    workers = max(1, min(job.workers or available_cpus(), len(missing)))
    if missing:
        limit_threads(os.environ, max(1, available_cpus() // workers))
        preload(plan.function, store, log=log)
        runner = TrialRunner(plan, partial(load_function, plan.function, store), _data_file(plan, store))
        pool = Pool(runner, workers=workers, timeout_seconds=plan.timeout_seconds, log=log, close=close)
        started(pool)
        try:
            for ended in pool.run([_task(trial) for trial in missing]):
                pool.skip(ledger.tick() if ended is None else ledger.add(_result(ended)) + ledger.tick())
                watch.ran += ended is not None
                watch.tell(last=False)
        except Stopped:
            ledger.flush()
            log(f"Stopped; {len(ledger.results)} of {len(trials)} trials are finished and will not run again")
            raise
        ledger.flush()
    return watch.outcome(workers)


class _Watch:
    """Counts for people."""

    def __init__(self, job: ShardJob, trials: int, ledger: Ledger, on_progress: Callable[[Progress], None]) -> None:
        self._job, self._trials, self._ledger, self._on_progress = job, trials, ledger, on_progress
        self._began = self._told = time.monotonic()
        self.ran = 0

    def tell(self, *, last: bool) -> None:
        now = time.monotonic()
        if not last and now - self._told < _PROGRESS_SECONDS:
            return
        self._told = now
        finished, seconds = len(self._ledger.results), now - self._began
        left = self._trials - finished
        progress = Progress(
            shard=self._job.shard,
            trials=self._trials,
            finished=finished,
            failed=finished - self._succeeded(),
            best=self._best(),
            seconds=seconds,
            eta_seconds=seconds / self.ran * left if self.ran else None,
        )
        self._on_progress(progress)

    def outcome(self, workers: int) -> ShardOutcome:
        self.tell(last=True)
        succeeded = self._succeeded()
        return ShardOutcome(
            sweep=self._job.plan.sweep,
            shard=self._job.shard,
            trials=self._trials,
            succeeded=succeeded,
            failed=len(self._ledger.results) - succeeded,
            ran=self.ran,
            superseded=self._ledger.superseded,
            best=self._best(),
            workers=workers,
            seconds=time.monotonic() - self._began,
        )

    def _succeeded(self) -> int:
        return sum(result.status == SUCCEEDED for result in self._ledger.results.values())

    def _best(self) -> float | None:
        plan = self._job.plan
        values = [result.metrics[plan.metric] for result in self._ledger.results.values() if result.status == SUCCEEDED]
        return None if not values else min(values) if plan.direction == "minimize" else max(values)


def _task(trial: PlannedTrial) -> Task:
    return Task(trial.trial, trial.to_dict(), prefix=f"[{trial.trial} {trial.group}] ")


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
    )


def _data_file(plan: SweepPlan, store: ArtifactStore) -> Path:
    return store.path(Artifact.from_dict(plan.data["artifact"]))  # type: ignore[arg-type]  # a FeatureSet's wire form
