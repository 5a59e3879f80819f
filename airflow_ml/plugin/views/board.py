"""A sweep's trials as one table in memory: the finished leaderboard, or what its shards have committed so far."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.provenance import Provenance
from airflow_ml.core.sweep import Leaderboard, SweepPlan
from airflow_ml.core.trials import LOST
from airflow_ml.errors import ArtifactCorrupt
from airflow_ml.plugin.views.committed import TrialIndex
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.progress import Committed, ShardReader
from airflow_ml.plugin.views.records import first_record
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.summary import COLLECT, PLAN, SHARD, group_of
from airflow_ml.plugin.views.tables import check_size

#: How a trial without a result is called while its sweep runs.
WAITING = "waiting"
#: Tables that one process keeps: one of 20,000 trials is about 10 MB.
_TABLES = 2


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep of a run: its plan and, where it was collected, its leaderboard."""

    plan: SweepPlan
    planned_by: Provenance
    collected_by: Provenance | None
    leaderboard: Leaderboard | None
    #: Positions of the shards that have ended.
    shards: tuple[int, ...]

    @property
    def running(self) -> bool:
        """Whether nothing has collected it yet."""
        return self.collected_by is None


def find_sweep(shelf: Shelf, dag: str, run: str, task: str) -> Sweep:
    """Return the sweep that a task belongs to: its plan, one of its shards, its collection, or the group itself.

    Raises:
        NotHere: the run has no such sweep.
    """
    shelf.run(dag, run)
    attempts, shards = shelf.in_short(dag, run)
    groups = {task, group_of(task)}
    mine = [item for item in attempts if group_of(item.task) in groups or item.task == task]
    for item in mine:
        plan = first_record([*item.beside, *item.inputs], SweepPlan)
        if plan is not None and item.operator in (PLAN, SHARD, COLLECT):
            same = [one for one in attempts if group_of(one.task) == group_of(item.task)]
            collected = next((one for one in same if one.operator == COLLECT), None)
            board = first_record(collected.outputs, Leaderboard) if collected is not None else None
            return Sweep(
                plan=plan,
                planned_by=next((one for one in same if one.operator == PLAN), item),
                collected_by=collected,
                leaderboard=board if board is not None and board.sweep == plan.sweep else None,
                shards=next((shards[one.task] for one in same if one.task in shards), ()),
            )
    raise NotHere(f"{dag}/{run} has no sweep {task}")


class Boards:
    """The tables of the sweeps that were looked at last.

    Args:
        shards: Reads what a sweep without a leaderboard has committed.
    """

    def __init__(self, shards: ShardReader) -> None:
        self.shards = shards
        self._tables: Lru[Any] = Lru(_TABLES)
        self._plans: Lru[list[Any]] = Lru(_TABLES)
        #: What was counted of a table, by what names its content.
        self.facts: Lru[dict[str, Any]] = Lru(4 * _TABLES)
        #: What single trials committed.
        self.trials = TrialIndex()

    def key(self, shelf: Shelf, sweep: Sweep) -> tuple[Any, ...]:
        """Return what names the content of a sweep's table."""
        if sweep.leaderboard is not None:
            return (sweep.leaderboard.artifact.digest,)
        found = self.committed(shelf, sweep)
        return (sweep.plan.sweep, found.version, sweep.running)

    def committed(self, shelf: Shelf, sweep: Sweep) -> Committed:
        """Return what the shards have committed."""
        return self.shards.committed(shelf.store, sweep.plan.sweep, sweep.plan.shards)

    def table(self, shelf: Shelf, sweep: Sweep) -> Any:
        """Return all trials as a ``pyarrow.Table``, with a ``metric_<name>`` column for each metric.

        Raises:
            ArtifactNotFound, ArtifactCorrupt: the store has lost the leaderboard.
            DataTooLarge: it is too large for a page.
        """
        return self._tables.get(self.key(shelf, sweep), lambda: self._make(shelf, sweep))

    def _make(self, shelf: Shelf, sweep: Sweep) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if sweep.leaderboard is not None:
            check_size(sweep.leaderboard.artifact)
            try:
                return with_metrics(pq.read_table(shelf.store.path(sweep.leaderboard.artifact)))
            except pa.ArrowException as error:
                raise ArtifactCorrupt("The leaderboard is no readable table", str(error)[:200]) from error
        return with_metrics(self._of_shards(shelf, sweep))

    def _of_shards(self, shelf: Shelf, sweep: Sweep) -> Any:
        from airflow_ml.runtime.leaderboard import mark_pareto, sorted_rows, to_table
        from airflow_ml.runtime.shard import planned_trials

        found = self.committed(shelf, sweep)
        trials = self._plans.get(sweep.plan.plan.digest, lambda: planned_trials(sweep.plan, shelf.store))
        rows = sorted_rows(sweep.plan, trials, dict(found.results), dict(found.stopped))
        if sweep.plan.also:
            mark_pareto(rows, sweep.plan.objectives)
        if sweep.running:
            rows = [{**row, "status": WAITING, "reason": ""} if row["status"] == LOST else row for row in rows]
        return to_table(rows)


def with_metrics(table: Any) -> Any:
    """Return a leaderboard with a column for each metric."""
    import pyarrow as pa

    metrics = [json.loads(text) if text else {} for text in table.column("metrics").to_pylist()]
    for name in sorted({name for one in metrics for name in one}):
        values = [one.get(name) for one in metrics]
        numbers = [float(value) if isinstance(value, int | float) else None for value in values]
        table = table.append_column(f"metric_{name}", pa.array(numbers, pa.float64()))
    return table


def names_of(table: Any, prefix: str) -> list[str]:
    """Return the names behind ``param_`` or ``metric_``, in order."""
    return [name.removeprefix(prefix) for name in table.column_names if name.startswith(prefix)]
