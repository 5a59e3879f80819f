"""A sweep at a glance: how far, what is best, what failed and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.provenance import FAILED, SUCCEEDED
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import FAILED as TRIAL_FAILED
from airflow_ml.core.trials import KILLED, LOST, NOT_RUN, PRUNED, TIMED_OUT
from airflow_ml.core.trials import SUCCEEDED as TRIAL_SUCCEEDED
from airflow_ml.plugin.views.board import WAITING, Boards, Sweep, find_sweep
from airflow_ml.plugin.views.objectives import front_of, objectives_of, pictures_of
from airflow_ml.plugin.views.parts import part
from airflow_ml.plugin.views.records import task_ref_of
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.summary import group_of

_GROUPS = 200
_FAILURES = 50
_CURVE_POINTS = 500
_NO_PICTURES = "None were drawn: the sweep has not ended, was not asked for them, or optuna and matplotlib are missing."


def sweep_view(shelf: Shelf, boards: Boards, dag: str, run: str, task: str) -> dict[str, Any]:
    """Return one sweep.

    Raises:
        NotHere: the run has no such sweep.
        ArtifactNotFound, ArtifactCorrupt: the store has lost its leaderboard or its plan.
    """
    sweep = find_sweep(shelf, dag, run, task)
    plan, collected = sweep.plan, sweep.collected_by
    table = boards.table(shelf, sweep)
    facts = boards.facts.get(boards.key(shelf, sweep), lambda: _facts(table, plan))
    best = facts["best"]
    state = "running" if collected is None else "succeeded" if collected.outcome == SUCCEEDED else "failed"
    return {
        "task": task_ref_of(sweep.planned_by),
        "group": group_of(sweep.planned_by.task),
        "sweep": plan.sweep,
        "state": state,
        "function": plan.function.qualname,
        "metric": plan.metric,
        "direction": plan.direction,
        "sampler": plan.sampler,
        "pruner": plan.pruner,
        "by": plan.by,
        "groups": plan.groups,
        "shards": plan.shards,
        "space": param_specs(plan),
        "seed": plan.seed,
        "progress": _progress(shelf, boards, sweep, facts),
        "objectives": objectives_of(plan),
        "front": facts["front"],
        "pictures": part(lambda: pictures_of(shelf.store, sweep), absent=_NO_PICTURES),
        "best": best[0] if best else None,
        "best_by_group": best[:_GROUPS],
        "groups_without_success": [] if state == "running" else facts["without"],
        "best_so_far": facts["curve"],
        "failures": facts["failures"],
        "error": collected.error if collected is not None and collected.outcome == FAILED else "",
    }


def param_specs(plan: SweepPlan, also: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the search space as the pages take it; parameters of listed trials, ``also``, have no distribution."""
    listed = [_spec(name, None) for name in also if name not in plan.space]
    return [*(_spec(name, wire) for name, wire in plan.space.items()), *listed]


def _spec(name: str, wire: Any) -> dict[str, Any]:
    found: Mapping[str, Any] = wire if isinstance(wire, Mapping) else {}
    where = found.get("where")
    if isinstance(found.get("of"), Mapping):  # a parameter that only some trials have
        found = found["of"]
    low, high = found.get("low"), found.get("high")
    return {
        "name": name,
        "distribution": str(found.get("distribution", "")),
        "low": low if isinstance(low, int | float) else None,
        "high": high if isinstance(high, int | float) else None,
        "values": list(found.get("values") or []),
        "when": _conditions(where) if isinstance(where, Mapping) else "",
    }


def _conditions(where: Mapping[str, Any]) -> str:
    """Return the condition of a parameter that only some trials have: ``booster is "dart" or "gbdt"``."""
    return " and ".join(
        f"{name} is {' or '.join(json.dumps(value, ensure_ascii=False) for value in values)}"
        for name, values in where.items()
        if isinstance(values, list)
    )


def _facts(table: Any, plan: SweepPlan) -> dict[str, Any]:
    """Return what is counted over all trials."""
    best = _best_by_group(table, plan.direction)
    without = set(table.column("group").to_pylist()) - {row["group"] for row in best}
    return {
        "best": best,
        "without": sorted(without)[:_GROUPS],
        "curve": _curve(table, plan.direction),
        "front": front_of(table, plan),
        "failures": _failures(table),
        "counts": Counter(table.column("status").to_pylist()),
        "trials": table.num_rows,
        "seconds": sum(value for value in table.column("seconds").to_pylist() if value),
    }


def _progress(shelf: Shelf, boards: Boards, sweep: Sweep, facts: Mapping[str, Any]) -> dict[str, Any]:
    counts, trials, plan = facts["counts"], facts["trials"], sweep.plan
    finished = trials - counts[WAITING] - counts[LOST] - counts[NOT_RUN]
    stopped: dict[int, str] = {}
    if sweep.running or counts[NOT_RUN]:
        stopped = boards.committed(shelf, sweep).stopped
    done = plan.shards if not sweep.running else len(sweep.shards)
    ended = sweep.collected_by.ended_at if sweep.collected_by is not None else None
    task = task_ref_of(sweep.planned_by)
    return {
        "trials": trials,
        "finished": finished,
        "succeeded": counts[TRIAL_SUCCEEDED],
        "failed": counts[TRIAL_FAILED],
        "timed_out": counts[TIMED_OUT],
        "killed": counts[KILLED],
        "pruned": counts[PRUNED],
        "lost": counts[LOST],
        "not_run": counts[NOT_RUN],
        "trial_seconds": round(facts["seconds"], 3),
        "started_at": format_time(sweep.planned_by.ended_at),
        "ended_at": None if ended is None else format_time(ended),
        "eta_seconds": boards.shards.eta_seconds(task, trials - finished) if sweep.running else None,
        "shards_done": done,
        "stopped": [{"shard": shard, "reason": reason} for shard, reason in sorted(stopped.items())][:_GROUPS],
    }


def _best_by_group(table: Any, direction: str) -> list[dict[str, Any]]:
    """Return the best trial of each group, the best of all first; the table is sorted within its groups."""
    found: dict[str, int] = {}
    values = table.column("value").to_pylist()
    for index, group in enumerate(table.column("group").to_pylist()):
        if group not in found and values[index] is not None:
            found[group] = index
    sign = 1.0 if direction == "minimize" else -1.0
    ordered = sorted(found.values(), key=lambda index: sign * values[index])
    rows = table.select(["trial", "group", "value", "seconds", "params"]).take(ordered).to_pylist()
    return [{**row, "params": json.loads(row["params"] or "{}")} for row in rows]


def _curve(table: Any, direction: str) -> list[dict[str, Any]]:
    """Return the best value after each trial in the order of the plan, thinned: every improvement is kept."""
    sign = 1.0 if direction == "minimize" else -1.0
    pairs = sorted(zip(table.column("trial").to_pylist(), table.column("value").to_pylist(), strict=True))
    points: list[dict[str, Any]] = []
    best: float | None = None
    finished = 0
    for _, value in pairs:
        if value is None:
            continue
        finished += 1
        if best is None or sign * value < sign * best:
            best = value
            points.append({"finished": finished, "value": best})
    if points and points[-1]["finished"] != finished:
        points.append({"finished": finished, "value": best})
    return points[-_CURVE_POINTS:]


def _failures(table: Any) -> list[dict[str, Any]]:
    rows = zip(
        table.column("status").to_pylist(), table.column("reason").to_pylist(), table.column("trial").to_pylist(),
        strict=True,
    )  # fmt: skip
    counts: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for status, reason, trial in rows:
        if status not in (TRIAL_SUCCEEDED, WAITING):
            key = (status, (reason or "")[:300])
            counts[key] += 1
            example.setdefault(key, trial)
    return [
        {"status": status, "reason": reason, "trials": count, "example": example[status, reason]}
        for (status, reason), count in counts.most_common(_FAILURES)
    ]
