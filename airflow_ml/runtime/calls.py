"""Runs many calls in a few workers; each result is committed before its worker's next call begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, Record
from airflow_ml.runtime.call import OUTPUT_BYTES, CallJob, commit_result, newest_result, result_of, run_here
from airflow_ml.runtime.cpus import available_cpus, limit_threads
from airflow_ml.runtime.load import load_function
from airflow_ml.runtime.pool import Pool
from airflow_ml.runtime.worker import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsJob(Record):
    """Many calls that one runner is asked to run side by side."""

    #: As `airflow_ml.runtime.work.store_work` stores it.
    work: Artifact
    #: Whose work it is; a call whose newest result has these facts is not run again.
    facts: Mapping[str, JSON] = field(default_factory=dict)
    #: Calls side by side; None for as many as there are CPUs.
    workers: int | None = None


def execute_calls(
    jobs: Sequence[CallJob],
    store: ArtifactStore,
    *,
    facts: Mapping[str, JSON],
    log: Callable[[str], None],
    started: Callable[[Pool], None] = lambda pool: None,
    workers: int = 1,
    close: Iterable[int] = (),
) -> list[CallResult]:
    """Run calls in order and return their results in that order.

    A call whose newest result is a success with the same ``facts`` is not run again: that was an earlier life of this
    very index.

    Args:
        jobs: The calls with their time limits.
        store: Where functions and arguments are and results go.
        facts: Put into each result: whose work it was.
        log: Called with each line of output.
        started: Called with each pool, so that a signal's handler can stop it.
        workers: Calls side by side; they share the CPUs.
        close: File descriptors that workers must not hold.

    Raises:
        Stopped: the pool was stopped; what had ended by then is committed.
    """
    done = {job.call.key: found for job in jobs if (found := finished(job.call, store, facts)) is not None}
    if done:
        log(f"{len(done)} of {len(jobs)} calls were finished earlier; {len(jobs) - len(done)} to run")
    missing = [job for job in jobs if job.call.key not in done]
    limit_threads(os.environ, max(1, available_cpus() // workers))
    for limit, some in groupby(missing, key=lambda job: job.timeout_seconds):
        for result in _run(
            list(some), store, limit, facts=facts, log=log, started=started, workers=workers, close=close
        ):
            done[result.call] = result
    return [done[job.call.key] for job in jobs]


def finished(call: Call, store: ArtifactStore, facts: Mapping[str, JSON]) -> CallResult | None:
    """Return the call's newest result if it is a success that has these facts."""
    result = newest_result(call, store)
    same = result is not None and facts.items() <= result.facts.items()
    return result if same and result is not None and result.status == "succeeded" else None


def _run(
    jobs: Sequence[CallJob],
    store: ArtifactStore,
    timeout_seconds: float | None,
    *,
    facts: Mapping[str, JSON],
    log: Callable[[str], None],
    started: Callable[[Pool], None],
    workers: int,
    close: Iterable[int],
) -> Iterator[CallResult]:
    pool = Pool(
        _Worker(jobs, store.uri),
        workers=workers,
        timeout_seconds=timeout_seconds,
        log=log,
        close=close,
        output_bytes=OUTPUT_BYTES,
    )
    started(pool)
    names = {job.call.key: job for job in jobs}  # the same call twice is run once
    for ended in pool.run([Task(key, {"call": key}) for key in names]):
        if ended is not None:
            job = names[ended.task.name]
            result = result_of(job.call, ended, facts={**job.owner, **facts})
            commit_result(job.call, result, store)
            yield result


class _Worker:
    """Runs calls in a forked worker, which opens the store and loads each function once."""

    def __init__(self, jobs: Sequence[CallJob], store_uri: str) -> None:
        self._calls = {job.call.key: job.call for job in jobs}
        self._store_uri = store_uri
        self._functions: dict[str, Callable[..., Any]] = {}

    def __call__(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        call = self._calls[payload["call"]]
        if call.function.fingerprint not in self._functions:
            self._functions[call.function.fingerprint] = load_function(call.function, self._store)
        return run_here(call, self._store, function=self._functions[call.function.fingerprint])

    @cached_property
    def _store(self) -> ArtifactStore:
        from airflow_ml.adapters.object_store import open_store

        return open_store(self._store_uri)
