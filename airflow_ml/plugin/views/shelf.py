"""Reading runs out of the store, fast enough for a page: what cannot change is remembered, within bounds.

Entries of a ref never change, and a run that ended long ago hardly ever gets another attempt. So one process remembers
which runs there are, and of each run what the lists show (not the records, which are large). Another process has its
own memory; nothing in it is ever the only copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_ml.client import Run
from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance, index_ref, run_ref
from airflow_ml.errors import ArtifactCorrupt, RecordError
from airflow_ml.plugin.views.ahead import Ahead
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.rollouts import Rollouts
from airflow_ml.plugin.views.summary import SHARD, RunSummary, summarize

#: How long the list of DAGs in the store is believed.
_DAGS_SECONDS = 20.0
#: A run is read again after so long while it may still go on, while it has a sweep without a leaderboard, and once its
#: last task ended an hour ago.
_FRESH_SECONDS, _SWEEP_SECONDS, _OLD_SECONDS = 4.0, 30.0, 300.0
_OLD_AFTER_SECONDS = 3600.0
#: Runs of one DAG that are known by name.
HEADS = 2_000
#: Runs that lists reach back to, of one DAG (a reconciler runs every minute) and of all, and the time that reading them
#: may take in one request.
NEWEST_OF_A_DAG, NEWEST_RUNS = 60, 400
BUDGET_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Head:
    """A run as the index of its DAG names it."""

    dag: str
    run: str
    started_at: datetime
    triggered_by: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A task whose record cannot be read, and why."""

    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Index:
    sequence: int
    heads: tuple[Head, ...]


class Shelf:
    """The runs of one store and namespace.

    Args:
        store: Where they are.
        namespace: Whose they are.
        clock: Wall clock, aware.
    """

    def __init__(
        self, store: ArtifactStore, namespace: str, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.store = store
        self.namespace = namespace
        self.now = clock
        self._indexes: Lru[_Index] = Lru(500)
        self._dags: Lru[tuple[str, ...]] = Lru(1)
        #: What this process remembers of rollouts.
        self.rollouts = Rollouts()
        self._summaries: Lru[RunSummary] = Lru(2 * NEWEST_RUNS)
        self._ahead = Ahead()

    def heads(self, dag: str) -> tuple[Head, ...]:
        """Return the runs of a DAG, newest first."""
        return self._heads(index_ref(self.namespace, dag))

    def all_heads(self, may_read: Callable[[str], bool], *, each: int = NEWEST_OF_A_DAG) -> list[Head]:
        """Return the newest runs of each DAG that may be read, newest first.

        Args:
            may_read: Tells the DAGs.
            each: Runs of one DAG; at most `HEADS`.
        """
        prefix = index_ref(self.namespace, "any").rpartition("/")[0]
        refs = self._dags.get("dags", lambda: tuple(self.store.refs(prefix)), seconds=lambda _: _DAGS_SECONDS)
        found = [head for ref in refs for head in self._heads(ref)[:each] if may_read(head.dag)]
        return sorted(found, key=lambda head: head.started_at, reverse=True)

    def run(self, dag: str, run: str) -> Run:
        """Return one run.

        Raises:
            NotHere: the store has none.
        """
        entry = self.store.latest(run_ref(self.namespace, dag, run))
        # A ref is made of digests: what the entry itself says decides.
        if entry is None or (entry.value.get("dag"), entry.value.get("run")) != (dag, run):
            raise NotHere(f"No run {run} of {dag}")
        return Run(
            dag=dag,
            run=run,
            namespace=self.namespace,
            started_at=parse_time(str(entry.value["started_at"])),
            triggered_by=str(entry.value.get("triggered_by", "")),
            store=self.store,
        )

    def attempts(self, dag: str, run: str) -> tuple[list[Provenance], list[Unreadable]]:
        """Return the newest attempt of every task that has ended, in the order in which they began."""
        found, lost, _ = self._read(dag, run, every_shard=True)
        return found, lost

    def in_short(self, dag: str, run: str) -> tuple[list[Provenance], dict[str, tuple[int, ...]]]:
        """Return the same with one shard of a sweep for all of them, which are 200, and their positions by task."""
        found, _, shards = self._read(dag, run, every_shard=False)
        return found, shards

    def summary(self, dag: str, run: str) -> RunSummary:
        """Return what lists show of a run, at most some seconds old."""
        return self._summaries.get(
            (dag, run), lambda: summarize(dag, run, self.in_short(dag, run)[0]), seconds=self._good_for
        )

    def summaries(
        self, heads: list[Head], *, limit: int = NEWEST_RUNS, seconds: float = BUDGET_SECONDS
    ) -> Iterator[RunSummary]:
        """Yield the summaries of runs, in their order, until the limit or the time is reached.

        What a first request has no time for is read meanwhile, so that the next one finds it remembered.
        """
        began = time.monotonic()
        for position, head in enumerate(heads[:limit]):
            if time.monotonic() - began > seconds:
                self._ahead.read(lambda one: self.summary(one.dag, one.run), heads[position:limit])
                return
            yield self.summary(head.dag, head.run)

    def good_for(self, ended_at: datetime | None) -> float:
        """Return for how many seconds what was read of a run is believed, by the end of its last task."""
        old = ended_at is not None and (self.now() - ended_at).total_seconds() > _OLD_AFTER_SECONDS
        return _OLD_SECONDS if old else _FRESH_SECONDS

    def _good_for(self, summary: RunSummary) -> float:
        # While a sweep runs, the last task that is known here to have ended is its plan.
        return _SWEEP_SECONDS if summary.open_sweeps else self.good_for(summary.ended_at)

    def _read(
        self, dag: str, run: str, *, every_shard: bool
    ) -> tuple[list[Provenance], list[Unreadable], dict[str, tuple[int, ...]]]:
        base = run_ref(self.namespace, dag, run)
        found: list[Provenance] = []
        lost: list[Unreadable] = []
        shards: dict[str, tuple[int, ...]] = {}
        tasks: dict[str, list[str]] = {}
        for ref in self.store.refs(base):
            if ref != base:
                tasks.setdefault(ref.partition("@")[0], []).append(ref)
        for refs in tasks.values():
            for ref in refs:
                try:
                    entry = self.store.latest(ref)
                    item = Provenance.from_dict(entry.value) if entry is not None else None
                except (ArtifactCorrupt, RecordError) as error:
                    lost.append(Unreadable(task=ref.rpartition("/")[2], reason=str(error)[:300]))
                    continue
                if item is not None:
                    found.append(item)
                if item is not None and item.operator == SHARD and item.map_index >= 0 and not every_shard:
                    shards[item.task] = tuple(sorted(int(one.rpartition("@")[2]) for one in refs))
                    break
        found.sort(key=lambda item: (item.started_at, item.task, item.map_index))
        return found, lost, shards

    def _heads(self, ref: str) -> tuple[Head, ...]:
        newest = self.store.latest(ref)
        if newest is None:
            return ()
        known = self._indexes.get(ref, lambda: self._read_index(ref, None))
        if known.sequence != newest.sequence:
            known = self._indexes.put(ref, self._read_index(ref, known))
        return known.heads

    def _read_index(self, ref: str, known: _Index | None) -> _Index:
        heads: dict[str, Head] = {}
        sequence = 0
        for entry in self.store.history(ref, newest_first=True):
            sequence = max(sequence, entry.sequence)
            run = str(entry.value["run"])
            if known is not None and entry.sequence <= known.sequence:
                break
            if run not in heads:  # two tasks that began a run together may both have entered it
                heads[run] = Head(
                    str(entry.value["dag"]), run, parse_time(str(entry.value["started_at"])),
                    str(entry.value.get("triggered_by", "")),
                )  # fmt: skip
            if len(heads) >= HEADS:
                break
        for head in known.heads if known is not None else ():
            heads.setdefault(head.run, head)
        ordered = sorted(heads.values(), key=lambda head: (head.started_at, head.run), reverse=True)
        return _Index(sequence, tuple(ordered[:HEADS]))
