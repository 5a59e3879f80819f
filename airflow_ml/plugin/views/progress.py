"""How far a sweep is, from what its shards committed: read on from where the last reading ended."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.trials import PRUNED, SUCCEEDED, TrialResult
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.runtime.job import Progress
from airflow_ml.runtime.ledger import results_of

#: Sweeps whose results one process remembers: 20,000 of them are some 20 MB.
_SWEEPS = 3
#: A sweep's shards are asked for news at most this often.
_SECONDS = 2.0

#: Gives what the shards of a task last told of themselves (dag, run, task), for the time that is left.
ToldBy = Callable[[str, str, str], Sequence[Progress]]


@dataclass(slots=True)
class Committed:
    """What the shards of one sweep have committed so far."""

    results: dict[str, TrialResult] = field(default_factory=dict)
    #: By shard: why its other trials were not begun.
    stopped: dict[int, str] = field(default_factory=dict)
    sequences: dict[int, int] = field(default_factory=dict)
    read_at: float = float("-inf")
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: Grows with every reading that found something.
    version: int = 0


class ShardReader:
    """Remembers the results of the sweeps that were looked at last.

    Args:
        told: Where the shards' own estimates come from; None where there are none.
        clock: Seconds, for tests.
    """

    def __init__(self, told: ToldBy | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._told = told
        self._clock = clock
        self._sweeps: Lru[Committed] = Lru(_SWEEPS)

    def committed(self, store: ArtifactStore, sweep: str, shards: int) -> Committed:
        """Return the results of a sweep, at most two seconds old."""
        known = self._sweeps.get((sweep, shards), Committed)
        with known.lock:
            if self._clock() - known.read_at >= _SECONDS:
                for shard in range(shards):
                    self._read_on(store, sweep, shard, shards, known)
                known.read_at = self._clock()
        return known

    def eta_seconds(self, task: Mapping[str, Any], remaining: int) -> float | None:
        """Return how long the rest takes at the speed of the shards that run; None where that is not known."""
        if self._told is None or remaining <= 0:
            return None
        group = str(task["task_id"]).rpartition(".")[0]
        told = self._told(str(task["dag_id"]), str(task["run_id"]), f"{group}.shards" if group else "shards")
        speed = sum(
            (one.trials - one.finished) / one.eta_seconds for one in told if one.eta_seconds and one.eta_seconds > 0
        )
        return remaining / speed if speed > 0 else None

    def _read_on(self, store: ArtifactStore, sweep: str, shard: int, shards: int, known: Committed) -> None:
        """Read the entries that came since; the first commit of a trial counts, so they are taken oldest first."""
        before = known.sequences.get(shard, 0)
        new = []
        for entry in store.history(shard_ref(sweep, shard, shards), newest_first=True):
            if entry.sequence <= before:
                break
            new.append(entry)
        for entry in reversed(new):
            if "stopped" in entry.value:
                known.stopped[shard] = str(entry.value["stopped"])
            for result in results_of(entry.value):
                # What lists do not show is read again when one trial is asked for.
                known.results.setdefault(result.trial, replace(result, reports=(), notes={}, traceback=""))
        if new:
            known.sequences[shard] = new[0].sequence
            known.version += 1


def best_value(results: Mapping[str, TrialResult], metric: str, direction: str) -> float | None:
    """Return the best value so far."""
    values = [one.metrics[metric] for one in results.values() if one.status == SUCCEEDED and metric in one.metrics]
    return (min if direction == "minimize" else max)(values, default=None)


def counts_of(results: Mapping[str, TrialResult]) -> Counter[str]:
    """Return how many trials ended how."""
    return Counter(one.status for one in results.values())


def running_row(store: ArtifactStore, shards: ShardReader, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a planned sweep with how far it is, for the first page."""
    results = shards.committed(store, row["sweep"], row["shards"]).results
    counts = counts_of(results)
    return {
        **{name: row[name] for name in ("task", "sweep", "function", "metric", "direction", "trials", "started_at")},
        "finished": len(results),
        "failed": len(results) - counts[SUCCEEDED] - counts[PRUNED],
        "best": best_value(results, row["metric"], row["direction"]),
        "eta_seconds": shards.eta_seconds(row["task"], row["trials"] - len(results)),
    }
