"""What a sweep's pictures are drawn from: a bounded sample of its trials, and how much each parameter matters."""

from __future__ import annotations

from collections import Counter
from typing import Any

from airflow_ml.core.trials import SUCCEEDED
from airflow_ml.plugin.views.board import Boards, find_sweep, names_of
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.objectives import also_of, objectives_of
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.sweep import param_specs

#: Below so many trials no importance is told: it would be chance.
_FEWEST_TRIALS = 20
_BINS = 10
_shares: Lru[list[dict[str, Any]]] = Lru(16)


def sweep_chart(
    shelf: Shelf, boards: Boards, dag: str, run: str, task: str, *, points: int, group: str = ""
) -> dict[str, Any]:
    """Return a sample of the trials that succeeded, and the parameters' importance over all of them.

    Args:
        shelf: The store's runs.
        boards: The sweeps' tables.
        dag, run, task: Any task of the sweep.
        points: Trials at most: the best tenth of them, and an even sample of the others.
        group: Of this group only.

    Raises:
        NotHere: the run has no such sweep.
    """
    import pyarrow.compute as pc

    sweep = find_sweep(shelf, dag, run, task)
    table = boards.table(shelf, sweep)
    good = table.filter(pc.and_(pc.equal(table.column("status"), SUCCEEDED), pc.is_valid(table.column("value"))))
    if group:
        good = good.filter(pc.equal(good.column("group"), group))
    names = names_of(table, "param_")
    chosen = good.take(_sample(good, sweep.plan.direction, points))
    specs = [spec for spec in param_specs(sweep.plan, names) if spec["name"] in names]
    key = (*boards.key(shelf, sweep), group)
    return {
        "metric": sweep.plan.metric,
        "direction": sweep.plan.direction,
        "objectives": objectives_of(sweep.plan),
        "trials": good.num_rows,
        "params": specs,
        "points": {
            "trial": chosen.column("trial").to_pylist(),
            "group": chosen.column("group").to_pylist(),
            "value": chosen.column("value").to_pylist(),
            "also": also_of(chosen, sweep.plan),
            "front": chosen.column("pareto").to_pylist() if "pareto" in chosen.column_names else [],
            "params": [chosen.column(f"param_{spec['name']}").to_pylist() for spec in specs],
        },
        "importance": _shares.get(key, lambda: importance(good, names)),
    }


def importance(table: Any, names: list[str]) -> list[dict[str, Any]]:
    """Return how much of the variance of the trials' ranks each parameter explains alone, largest first.

    Ranks, because one diverged trial would otherwise be all the variance there is; within groups, because a group's
    level says nothing of a parameter. Numbers are cut into tenths. The share is epsilon squared (Kelley, "An unbiased
    correlation ratio measure", 1935): the correlation ratio less what as many bins explain of noise.

    Args:
        table: Trials that succeeded: ``group``, ``trial``, ``value`` and a ``param_`` column for each name.
        names: The parameters.
    """
    if table.num_rows < _FEWEST_TRIALS:
        return []
    ranks = _ranks_within_groups(table)
    shares = [{"name": name, "share": _share(table.column(f"param_{name}"), ranks)} for name in names]
    return sorted(shares, key=lambda one: (-float(str(one["share"])), str(one["name"])))


def _ranks_within_groups(table: Any) -> Any:
    """Return each trial's place in its own group, 0 to 1: neither a group's level nor its spread is in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    order = pc.sort_indices(table, sort_keys=[("group", "ascending"), ("value", "ascending"), ("trial", "ascending")])
    groups = table.column("group").to_pylist()
    sizes = Counter(groups)
    ranks = [0.0] * table.num_rows
    seen: Counter[str] = Counter()
    for index in order.to_pylist():
        group = groups[index]
        ranks[index] = (seen[group] + 0.5) / sizes[group]
        seen[group] += 1
    return pa.array(ranks, pa.float64())


def _share(column: Any, ranks: Any) -> float:
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pc.is_valid(column)
    column, ranks = column.filter(known).combine_chunks(), ranks.filter(known)
    n = len(column)
    if n < _FEWEST_TRIALS:
        return 0.0
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        places = pc.cast(pc.rank(column, tiebreaker="min"), "float64")
        column = pc.cast(pc.floor(pc.divide(pc.multiply(pc.subtract(places, 1.0), float(_BINS)), float(n))), "int64")
    bins = pa.table({"bin": column, "rank": ranks}).group_by("bin").aggregate([("rank", "mean"), ("rank", "count")])
    k = bins.num_rows
    total = pc.variance(ranks).as_py() * n
    if k < 2 or n <= k or not total:
        return 0.0
    mean = pc.mean(ranks).as_py()
    pairs = zip(bins.column("rank_mean").to_pylist(), bins.column("rank_count").to_pylist(), strict=True)
    between = sum(count * (level - mean) ** 2 for level, count in pairs)
    return float(min(1.0, max(0.0, 1 - (1 - between / total) * (n - 1) / (n - k))))


def _sample(table: Any, direction: str, points: int) -> list[int]:
    import pyarrow.compute as pc

    order = pc.sort_indices(
        table, sort_keys=[("value", "ascending" if direction == "minimize" else "descending"), ("trial", "ascending")]
    ).to_pylist()
    if len(order) <= points:
        return list(order)
    best = order[: max(1, points // 10)]
    rest = order[len(best) :]
    wanted = points - len(best)
    return [*best, *(rest[index * len(rest) // wanted] for index in range(wanted))]
