"""Pages of a leaderboard: sorted, filtered and cut here, so that a browser never holds 20,000 rows."""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.trials import PlannedTrial
from airflow_ml.plugin.views.board import Boards, find_sweep, names_of
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.records import task_ref_of
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.summary import group_of
from airflow_ml.plugin.views.task import reproduce_command

#: Best first, as the leaderboard ranks them over all groups.
RANK = "rank"
_PLAIN = ("group", "trial", "status", "value", "seconds", "seed", "reason")
_GROUPS = 1_000
_CSV_ROWS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which rows of a leaderboard."""

    #: ``rank``, a column, or the name of a metric or parameter.
    sort: str = RANK
    descending: bool = False
    status: str = ""
    group: str = ""
    #: Part of the trial's name, group, reason or parameters; upper and lower case are the same.
    text: str = ""
    #: Of several objectives: only trials that no other of their group beats.
    front: bool = False
    limit: int = 50
    offset: int = 0


def trial_page(shelf: Shelf, boards: Boards, dag: str, run: str, task: str, query: Query) -> dict[str, Any]:
    """Return one page of trials.

    Raises:
        NotHere: the run has no such sweep, or the table no such column.
    """
    sweep = find_sweep(shelf, dag, run, task)
    table = boards.table(shelf, sweep)
    found = _filtered(table, query)
    order = _order(found, query, sweep.plan.direction)
    page = found.take(order.slice(query.offset, query.limit))
    metrics = names_of(table, "metric_")
    return {
        "total": found.num_rows,
        "offset": query.offset,
        "params": names_of(table, "param_"),
        "metrics": metrics,
        "statuses": sorted(set(table.column("status").to_pylist())),
        "groups": sorted(set(table.column("group").to_pylist()))[:_GROUPS],
        "trials": [_row(row) for row in page.to_pylist()],
    }


def trial_view(shelf: Shelf, boards: Boards, dag: str, run: str, task: str, trial: str) -> dict[str, Any]:
    """Return one trial with its traceback and reports.

    Raises:
        NotHere: the sweep has no such trial.
    """
    import pyarrow.compute as pc

    sweep = find_sweep(shelf, dag, run, task)
    table = boards.table(shelf, sweep)
    rows = table.filter(pc.equal(table.column("trial"), trial)).to_pylist()
    planned = _planned(shelf.store.get_bytes(sweep.plan.plan), trial)
    if not rows or planned is None:
        raise NotHere(f"The sweep has no trial {trial}")
    row = _row(rows[0])
    result = boards.trials.find(shelf.store, sweep.plan.sweep, planned.shard, sweep.plan.shards, trial)
    place = group_of(sweep.planned_by.task)
    return {
        **row,
        "task": task_ref_of(sweep.planned_by),
        "shard": planned.shard,
        "seed": planned.seed,
        "traceback": result.traceback if result is not None else "",
        "reports": [{"step": one[0], "value": one[1]} for one in result.reports if len(one) == 2] if result else [],
        "log": {
            "dag_id": dag,
            "run_id": run,
            "task_id": f"{place}.shards" if place else "shards",
            "map_index": planned.shard,
        },
        "reproduce": reproduce_command(dag, run, place or sweep.planned_by.task, trial=trial),
    }


def trials_csv(shelf: Shelf, boards: Boards, dag: str, run: str, task: str) -> Iterator[bytes]:
    """Return all trials as CSV, in pieces; a cell that a spreadsheet would take for a formula gets an apostrophe.

    Raises:
        NotHere: the run has no such sweep.
    """
    sweep = find_sweep(shelf, dag, run, task)
    table = boards.table(shelf, sweep)
    names = [name for name in table.column_names if name not in ("metrics", "params")]
    return _csv(table.select(names), names)


def _csv(table: Any, names: list[str]) -> Iterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_harmless(name) for name in names])
    for batch in table.to_batches(max_chunksize=_CSV_ROWS):
        for row in batch.to_pylist():
            writer.writerow([_harmless(row[name]) for name in names])
        yield buffer.getvalue().encode("utf-8", "replace")
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue().encode("utf-8", "replace")


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _filtered(table: Any, query: Query) -> Any:
    import pyarrow.compute as pc

    if query.status:
        table = table.filter(pc.equal(table.column("status"), query.status))
    if query.group:
        table = table.filter(pc.equal(table.column("group"), query.group))
    if query.front:
        if "pareto" not in table.column_names:
            raise NotHere("The sweep has one objective")
        table = table.filter(pc.fill_null(table.column("pareto"), False))
    if query.text and table.num_rows:
        found = None
        for name in ("trial", "group", "reason", "params"):
            column = pc.fill_null(table.column(name), "")
            hit = pc.match_substring(column, query.text, ignore_case=True)
            found = hit if found is None else pc.or_(found, hit)
        table = table.filter(found)
    return table


def _order(table: Any, query: Query, direction: str) -> Any:
    import pyarrow.compute as pc

    if query.sort == RANK:
        best = "ascending" if direction == "minimize" else "descending"
        worst = "descending" if direction == "minimize" else "ascending"
        keys = [("value", worst if query.descending else best), ("trial", "ascending")]
    else:
        known = (*_PLAIN, *(f"metric_{query.sort}", f"param_{query.sort}"))
        name = next((one for one in (query.sort, *known[-2:]) if one in table.column_names and one in known), None)
        if name is None:
            raise NotHere(f"The leaderboard has no column {query.sort}")
        keys = [(name, "descending" if query.descending else "ascending"), ("trial", "ascending")]
        keys = keys[:1] if name == "trial" else keys
    # Rows without a value come last either way: that is the default.
    return pc.sort_indices(table, sort_keys=keys)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("trial", "group", "status", "value", "seconds")},
        "reason": row["reason"] or "",
        "front": row.get("pareto"),
        "params": json.loads(row["params"] or "{}"),
        "metrics": json.loads(row["metrics"] or "{}"),
    }


def _planned(plan: bytes, trial: str) -> PlannedTrial | None:
    """Return one trial of a plan. Its lines are sorted by trial, so a few of them are parsed and not 20,000."""
    lines = plan.splitlines()
    place = bisect_left(lines, trial, key=lambda line: str(json.loads(line)["trial"]))
    found = PlannedTrial.from_dict(json.loads(lines[place])) if place < len(lines) else None
    return found if found is not None and found.trial == trial else None
