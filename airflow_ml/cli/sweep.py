"""The verb ``sweep``: how far the sweeps of a run are, from the store alone, while they run and afterwards."""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from airflow_ml.cli.output import print_json, print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.cli.runs import addressed_run
from airflow_ml.client import Run
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.sweep_status import GroupStatus, SweepStatus, sweep_status
from airflow_ml.core.trials import PlannedTrial
from airflow_ml.errors import ArtifactNotFound

#: Between two looks.
WATCH_SECONDS = 2.0
#: Groups that a watched screen has room for; those that have most left come first.
SHOWN_GROUPS = 20


class RunningSweep:
    """One sweep of a run.

    Args:
        task: The id of its group, such as ``train``.
        plan: Its plan.
        planned_at: When the plan was made; its trials began then at the earliest.
        store: Where its results are.
    """

    def __init__(self, task: str, plan: SweepPlan, planned_at: datetime, store: ArtifactStore) -> None:
        from airflow_ml.runtime.shard import planned_trials

        self.task, self.plan, self.planned_at, self._store = task, plan, planned_at, store
        self._trials: list[PlannedTrial] = planned_trials(plan, store)

    def status(self, *, collected_at: datetime | None = None) -> SweepStatus:
        """Return how far it is now."""
        from airflow_ml.runtime.leaderboard import committed_results

        elapsed = ((collected_at or datetime.now(UTC)) - self.planned_at).total_seconds()
        return sweep_status(
            self._trials,
            committed_results(self.plan, self._store),
            sweep=self.plan.sweep,
            metric=self.plan.metric,
            direction=self.plan.direction,
            elapsed_seconds=max(0.0, elapsed),
        )


def sweep(options: argparse.Namespace) -> int:
    """Print how far the sweeps of a run are; with ``--watch`` again and again, until their leaderboards are there."""
    store = open_place(options)
    run = addressed_run(options.run, store, options.namespace)
    found = [one for one in sweeps_of(run, store) if options.task in (None, one.task)]
    if not found:
        named = f" named {options.task}" if options.task else ""
        raise ArtifactNotFound(f"{run.dag}/{run.run} has no planned sweep{named}", run.run, "Wait for its plan task.")
    if not options.watch:
        for one in found:
            _print(options, one.task, one.status())
        return 0
    with closing(_screen(options)) as screen:
        next(screen)
        while True:
            ended = _collected(run)
            screen.send([(one.task, one.status()) for one in found])
            if {one.task for one in found} <= ended:
                return 0
            try:
                time.sleep(WATCH_SECONDS)
            except KeyboardInterrupt:
                return 0


def sweeps_of(run: Run, store: ArtifactStore) -> list[RunningSweep]:
    """Return the sweeps of a run whose plan is made."""
    found = []
    for attempt in run.attempts():
        for handle in (*attempt.beside, *attempt.outputs):
            if handle.record == SweepPlan.__name__ and handle.value is not None:
                plan = parse_as(SweepPlan, handle.value)
                name = attempt.task.rpartition(".")[0] or attempt.task
                found.append(RunningSweep(name, plan, attempt.ended_at, store))
    return found


def _collected(run: Run) -> set[str]:
    """Return the sweeps whose leaderboard is made, or cannot be."""
    return {item.task.rpartition(".")[0] for item in run.attempts() if item.task.endswith(".collect")}


def _print(options: argparse.Namespace, task: str, status: SweepStatus) -> None:
    if options.output == "json":
        print_json({"task": task, **asdict(status)})
        return
    print(f"{task}: {headline(status)}")
    print_rows(options, [row_of(group) for group in status.groups])


def headline(status: SweepStatus) -> str:
    """Return a sweep in one line."""
    total = status.total
    parts = [f"{total.finished:,} of {total.trials:,} trials", f"{total.failed:,} failed"]
    parts += [f"{total.pruned:,} pruned"] if total.pruned else []
    if total.best is not None:
        parts.append(f"best {status.metric} {total.best:.5g} ({total.best_trial} {dict(total.params)})")
    if status.eta_seconds is not None and total.left:
        parts.append(f"{status.eta_seconds:,.0f} s to go")
    return ", ".join(parts)


def row_of(group: GroupStatus) -> dict[str, JSON]:
    """Return a group as a row of the table."""
    return {
        "group": group.group,
        "trials": group.trials,
        "finished": group.finished,
        "failed": group.failed,
        "pruned": group.pruned,
        "best": None if group.best is None else f"{group.best:.5g}",
        "best_trial": group.best_trial,
    }


def _screen(options: argparse.Namespace) -> Generator[None, list[tuple[str, SweepStatus]], None]:
    """Be sent the sweeps, and show them: by rich where it is installed and people look, else as lines."""
    try:
        rich: Any = importlib.import_module("rich.live")
        table: Any = importlib.import_module("rich.table")
    except ImportError:
        rich = None
    if rich is None or options.output == "json":
        while True:
            for task, status in (yield):
                if options.output == "json":
                    print_json({"task": task, **asdict(status)})
                else:
                    print(f"{task}: {headline(status)}", flush=True)
    with rich.Live(auto_refresh=False) as screen:
        while True:
            grid = table.Table.grid()
            for task, status in (yield):
                grid.add_row(f"{task}: {headline(status)}")
                shown = sorted(status.groups, key=lambda group: (-group.left, group.group))[:SHOWN_GROUPS]
                rows = [row_of(group) for group in shown]
                inner = table.Table(*rows[0])
                for row in rows:
                    inner.add_row(*("" if value is None else str(value) for value in row.values()))
                grid.add_row(inner)
                hidden = len(status.groups) - len(shown)
                grid.add_row(f"and {hidden} more groups" if hidden else "")
            screen.update(grid, refresh=True)
