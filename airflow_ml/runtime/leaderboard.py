"""Collect what the shards left in the store into a leaderboard, and judge the sweep."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.direction import MINIMIZE
from airflow_ml.core.fingerprint import canonical_json, digest_json
from airflow_ml.core.pareto import Point, front, signed
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.sweep import Leaderboard, SweepPlan, TrialSummary
from airflow_ml.core.trials import LOST, NOT_RUN, PRUNED, SUCCEEDED, PlannedTrial, TrialResult
from airflow_ml.errors import ColumnMissing, SweepFailed
from airflow_ml.runtime.ledger import results_of
from airflow_ml.runtime.shard import planned_trials

if TYPE_CHECKING:
    import pandas as pd

#: Characters of a traceback in the message of a failed sweep: the user's line and the error.
_SHOWN_TRACEBACK = 1500
#: Names of groups that a record can hold; the Parquet file has all of them.
_MAX_NAMED_GROUPS = 10


def collect(plan: SweepPlan, store: ArtifactStore) -> Leaderboard:
    """Return the leaderboard of a sweep, from whatever its shards committed.

    A trial without a result is ``not_run`` where its shard was stopped because all failed alike, else ``lost``: its
    shard never ran it, or ended too early.

    Raises:
        SweepFailed: no trial succeeded, or fewer than ``plan.min_success_fraction`` of them; the message names the most
            common error. The leaderboard is stored nevertheless, and the message says where.
    """
    results, stopped = _committed(plan, store)
    trials = planned_trials(plan, store)
    rows = sorted_rows(plan, trials, results, stopped)
    if plan.also:
        mark_pareto(rows, plan.objectives)
    if plan.keep_top:
        _name_models(rows, results, plan.keep_top)
    artifact = _store(rows, store)
    counts = Counter(str(row["status"]) for row in rows)
    succeeded = [row for row in rows if row["status"] == SUCCEEDED]
    with_success = {str(row["group"]) for row in succeeded}
    without = [group for group in dict.fromkeys(trial.group for trial in trials) if group not in with_success]
    _judge(plan, rows, results, artifact, without)
    first = min(succeeded, key=lambda row: _order(plan, row, results.get(row["trial"])))
    return Leaderboard(
        sweep=plan.sweep,
        function=plan.function,
        data=plan.data,
        by=plan.by,
        artifact=artifact,
        trials=len(rows),
        succeeded=len(succeeded),
        failed=len(rows) - sum(counts[status] for status in (SUCCEEDED, PRUNED, NOT_RUN)),
        pruned=counts[PRUNED],
        not_run=counts[NOT_RUN],
        groups_without_success=tuple(without[:_MAX_NAMED_GROUPS]),
        groups=plan.groups,
        metric=plan.metric,
        direction=plan.direction,
        best=TrialSummary(
            trial=str(first["trial"]),
            group=str(first["group"]),
            params=json.loads(first["params"]),
            value=float(first["value"]),
        ),
        seed=plan.seed,
        seconds=round(sum(result.seconds for result in results.values()), 3),
        constants=plan.constants,
        compute=plan.compute,
        max_train_rows=plan.max_train_rows,
        also=plan.also,
        parents=(plan.fingerprint,),
    )


def committed_results(plan: SweepPlan, store: ArtifactStore) -> dict[str, TrialResult]:
    """Return the results of a sweep by trial; of two commits of one trial the first."""
    return _committed(plan, store)[0]


def _committed(plan: SweepPlan, store: ArtifactStore) -> tuple[dict[str, TrialResult], dict[int, str]]:
    """Return the results by trial, and by shard why its other trials were not begun."""
    found: dict[str, TrialResult] = {}
    stopped: dict[int, str] = {}
    for shard in range(plan.shards):
        for entry in store.history(shard_ref(plan.sweep, shard, plan.shards)):
            if "stopped" in entry.value:
                stopped[shard] = str(entry.value["stopped"])
            for result in results_of(entry.value):
                found.setdefault(result.trial, result)
    return found, stopped


def leaderboard_digest(parquet: Path) -> str:
    """Return the digest of what a sweep found: trials, parameters, metrics and ends, without times.

    The same sweep has the same one wherever it ran. Metrics count to 12 digits: processors differ in the last ones.
    """
    rows = [
        [row["group"], row["trial"], row["status"], row["seed"], json.loads(row["params"]), _rounded(row["metrics"])]
        for row in read_rows(parquet)
    ]
    rows.sort(key=lambda row: str(row[1]))
    return digest_json(rows)


def _rounded(metrics: str) -> dict[str, str]:
    return {name: f"{value:.12g}" for name, value in sorted(json.loads(metrics).items())}


def read_rows(parquet: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a leaderboard's file, best first within each group; ``params`` and ``metrics`` as JSON text."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(parquet) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def best_rows(parquet: Path, *, direction: str, count: int) -> list[dict[str, Any]]:
    """Return the best trials over all groups, best first, with ``params`` and ``metrics`` as mappings."""
    sign = 1.0 if direction == MINIMIZE else -1.0
    rows = [row for row in read_rows(parquet) if row["value"] is not None]
    first = sorted(rows, key=lambda row: (sign * row["value"], row["trial"]))[:count]
    return [_with_mappings(row) for row in first]


def _with_mappings(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{name: json.loads(row[name] or "{}") for name in ("params", "metrics")}}


def all_rows(parquet: Path) -> list[dict[str, Any]]:
    """Return all trials that ran, in the order of their names, with ``params`` and ``metrics`` as mappings."""
    rows = [row for row in read_rows(parquet) if row["status"] not in (LOST, NOT_RUN)]
    rows.sort(key=lambda row: str(row["trial"]))
    return [_with_mappings(row) for row in rows]


def best(board: Leaderboard, store: ArtifactStore, *, by: str | None = "group") -> list[dict[str, Any]]:
    """Return the best trial for each value of a column, in the order of its values.

    Args:
        board: The leaderboard.
        store: Where its file is.
        by: A column of the leaderboard, such as ``group`` (default) or ``param_booster``; None for the one best trial.

    Returns:
        Rows with ``params`` and ``metrics`` as mappings. A value without a success has none.

    Raises:
        ColumnMissing: the leaderboard has no such column.
    """
    import pyarrow.parquet as pq

    path = store.path(board.artifact)
    columns = pq.read_schema(path).names
    if by is not None and by not in columns:
        raise ColumnMissing("The leaderboard has no column", by, f"It has {', '.join(columns)}.")
    found: dict[Any, dict[str, Any]] = {}
    for row in best_rows(path, direction=board.direction, count=board.trials):
        found.setdefault(None if by is None else row[by], row)
    return [found[value] for value in sorted(found, key=lambda value: (value is None, value))]


def to_pandas(board: Leaderboard, store: ArtifactStore) -> pd.DataFrame:
    """Return all trials as a frame, best first within each group; columns as `Leaderboard` says."""
    import pyarrow.parquet as pq

    frame: pd.DataFrame = pq.read_table(store.path(board.artifact)).to_pandas()
    return frame


def sorted_rows(
    plan: SweepPlan,
    trials: Sequence[PlannedTrial],
    results: Mapping[str, TrialResult],
    stopped: Mapping[int, str],
) -> list[dict[str, Any]]:
    """Return one row for each trial, best first within its group; see `collect` for those without a result."""
    position = {group: index for index, group in enumerate(dict.fromkeys(trial.group for trial in trials))}
    rows = [_row(plan, trial, results.get(trial.trial), stopped.get(trial.shard, "")) for trial in trials]
    rows.sort(key=lambda row: (position[str(row["group"])], *_order(plan, row, results.get(row["trial"]))))
    return rows


def mark_pareto(rows: Sequence[dict[str, Any]], objectives: Mapping[str, str]) -> None:
    """Set ``pareto`` of each row: whether no success of its group is at least as good in all objectives and better in
    one."""
    points = {
        row["trial"]: signed(json.loads(row["metrics"]), objectives) for row in rows if row["status"] == SUCCEEDED
    }
    by_group: dict[str, list[Point]] = {}
    for row in rows:
        by_group.setdefault(row["group"], []).extend(filter(None, [points.get(row["trial"])]))
    fronts = {group: front(found) for group, found in by_group.items()}
    for row in rows:
        row["pareto"] = row["trial"] in points and points[row["trial"]] in fronts[row["group"]]


def _name_models(rows: Sequence[dict[str, Any]], results: Mapping[str, TrialResult], count: int) -> None:
    """Set ``model`` of the best rows of each group; rows are sorted, best first."""
    named: Counter[str] = Counter()
    for row in rows:
        result = results.get(row["trial"])
        row["model"] = None
        if row["status"] == SUCCEEDED and result is not None and named[row["group"]] < count:
            named[row["group"]] += 1
            row["model"] = canonical_json(dict(result.model)).decode() if result.model else None


def _row(plan: SweepPlan, trial: PlannedTrial, result: TrialResult | None, stopped: str) -> dict[str, Any]:
    done = result or TrialResult(
        trial=trial.trial,
        status=NOT_RUN if stopped else LOST,
        reason=f"not begun: {stopped}" if stopped else "no result: its shard did not run it to an end",
    )
    return {
        "group": trial.group,
        "trial": trial.trial,
        "status": done.status,
        "value": done.metrics.get(plan.metric) if done.status == SUCCEEDED else None,
        "seconds": done.seconds if result is not None else None,
        "seed": trial.seed,
        "reason": done.reason,
        "metrics": canonical_json(dict(done.metrics)).decode(),
        "params": canonical_json({**trial.params, **done.params}).decode(),
    }


def _order(plan: SweepPlan, row: Mapping[str, Any], result: TrialResult | None) -> tuple[bool, float, bool, float, str]:
    """Sort key: successes first, better ones first, of equals those whose model is kept, then the faster, then by
    trial."""
    value = row["value"]
    signed = 0.0 if value is None else float(value) if plan.direction == MINIMIZE else -float(value)
    without_model = bool(plan.keep_top) and not (result is not None and result.model)
    return value is None, signed, without_model, float(row["seconds"] or 0.0), str(row["trial"])


def to_table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return rows of `sorted_rows` as a ``pyarrow.Table`` with the columns of a leaderboard."""
    import pyarrow as pa

    schema = {
        "group": pa.string(),
        "trial": pa.string(),
        "status": pa.string(),
        "value": pa.float64(),
        "seconds": pa.float64(),
        "seed": pa.int64(),
        "reason": pa.string(),
        "metrics": pa.string(),
        "params": pa.string(),
    }
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in schema.items()}
    if rows and "pareto" in rows[0]:
        columns["pareto"] = pa.array([row["pareto"] for row in rows], pa.bool_())
    if rows and "model" in rows[0]:
        columns["model"] = pa.array([row["model"] for row in rows], pa.string())
    params = [json.loads(row["params"]) for row in rows]
    for name in sorted({name for one in params for name in one}):
        columns[f"param_{name}"] = _param_column([one.get(name) for one in params])
    return pa.table(columns)


def _store(rows: Sequence[Mapping[str, Any]], store: ArtifactStore) -> Artifact:
    import pyarrow.parquet as pq

    table = to_table(rows)
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as folder:
        file = Path(folder) / "leaderboard.parquet"
        pq.write_table(table, file)
        return store.put_file(file, format="parquet", rows=table.num_rows)


def _param_column(values: Sequence[JSON]) -> Any:
    """Return a typed column: booleans, whole numbers, numbers or text; mixed kinds and structures as JSON text."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())  # type: ignore[arg-type]
    for kind, arrow in ((bool, pa.bool_()), (int, pa.int64()), (str, pa.string())):
        if kinds == {kind}:
            with contextlib.suppress(OverflowError):  # whole numbers beyond 64 bits
                return pa.array(values, arrow)
    return pa.array([None if value is None else canonical_json(value).decode() for value in values], pa.string())


def _judge(
    plan: SweepPlan,
    rows: Sequence[Mapping[str, Any]],
    results: Mapping[str, TrialResult],
    artifact: Artifact,
    without: Sequence[str],
) -> None:
    succeeded, pruned, not_run = (
        sum(row["status"] == status for row in rows) for status in (SUCCEEDED, PRUNED, NOT_RUN)
    )
    if succeeded and (succeeded + pruned) / len(rows) >= plan.min_success_fraction:
        return
    bad = [row for row in rows if row["status"] not in (SUCCEEDED, PRUNED)]
    reasons = Counter(str(row["reason"]) for row in [row for row in bad if row["status"] != NOT_RUN] or bad or rows)
    reason, count = reasons.most_common(1)[0]
    asked = f"{plan.min_success_fraction:.0%} must succeed" if succeeded else "none did"
    others = f"; {not_run} trials were not begun, because nearly all before them failed alike" if not_run else ""
    if succeeded and without:
        more = f" and {len(without) - _MAX_NAMED_GROUPS} more" if len(without) > _MAX_NAMED_GROUPS else ""
        others += f"; no success in {', '.join(without[:_MAX_NAMED_GROUPS])}{more}"
    alike = (results[row["trial"]] for row in bad if row["reason"] == reason and row["trial"] in results)
    traceback = next((result.traceback for result in alike), "")
    where = f" The end of a traceback:\n{traceback[-_SHOWN_TRACEBACK:]}" if traceback else ""
    raise SweepFailed(
        f"{succeeded} of {len(rows)} trials succeeded, {asked}",
        f"most common error ({count} times): {reason}{others}",
        f"All trials with their reasons: {artifact.uri}. Fix the function or lower min_success_fraction.{where}",
    )
