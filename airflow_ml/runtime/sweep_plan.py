"""Plan a sweep over a feature set, and cut the plan into jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from airflow_ml.core.artifact import without_addresses
from airflow_ml.core.call import FunctionRef
from airflow_ml.core.features import TRAIN, FeatureSet
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.sampler import GRID, RANDOM
from airflow_ml.core.space import space_to_dict
from airflow_ml.core.sweep import Leaderboard, SweepPlan
from airflow_ml.core.trials import (
    ALL,
    MAX_SHARDS,
    SUCCEEDED,
    plan_trials,
    shard_count,
    shards_ref,
    sweep_identity,
    trial_lines,
)
from airflow_ml.errors import ColumnMissing, ConfigurationError, EmptyDataset, InvalidSpace, RefConflict
from airflow_ml.runtime.environment import environment_digest
from airflow_ml.runtime.job import ShardJob
from airflow_ml.runtime.leaderboard import read_rows
from airflow_ml.runtime.study import require_optuna

MINIMIZE, MAXIMIZE = "minimize", "maximize"
#: Parameters of each group that a warm start takes over.
WARM_START_TRIALS = 3


def make_plan(
    function: FunctionRef,
    features: FeatureSet,
    *,
    space: Mapping[str, Any],
    by: str | None = None,
    trials_per_group: int | None = 20,
    sampler: str = RANDOM,
    pruner: str | None = None,
    metric: str,
    direction: str = MINIMIZE,
    seed: int = 0,
    timeout_seconds: float = 600.0,
    max_train_rows: int | None = None,
    min_success_fraction: float = 0.95,
    warm_start: Mapping[str, Sequence[Mapping[str, JSON]]] | None = None,
    max_shards: int = MAX_SHARDS,
    slots: int = MAX_SHARDS,
    constants: Mapping[str, JSON] | None = None,
    compute: str = "local",
    namespace: str = "prod",
    environment: str | None = None,
    store: ArtifactStore,
) -> SweepPlan:
    """Fix all trials of a sweep and store them as JSON lines.

    Args:
        function: The captured ``train(data, params, trial)``.
        features: What to train on; its train split says which groups there are.
        space: Distributions, or their wire forms, by parameter name.
        by: Column that makes the groups; None for one group named ``all``.
        trials_per_group: Points in each group; the grid tries all of its points.
        sampler: ``random``, ``grid``, or one of Optuna's that learns: ``tpe``, ``gp``, ``cmaes``, ``nsgaii``, ``qmc``.
        pruner: ``median``, ``asha`` or ``hyperband`` of Optuna; None for none.
        metric: Name of the metric that decides.
        direction: ``minimize`` or ``maximize``.
        seed: Of the whole sweep.
        timeout_seconds: Of one trial.
        max_train_rows: Rows of a group that a trial fits on at most.
        min_success_fraction: Share of trials that must succeed, 0 to 1.
        warm_start: Per group, parameters to try first.
        max_shards: At most this many shards, and 200 at the very most.
        slots: Shards that can run at the same time; there are at most four for each. The first plan of a sweep fixes
            the number, so that a later one finds what was finished, however busy the deployment is then.
        constants: Further JSON arguments of the function.
        compute: Name of the compute profile.
        namespace: Part of the sweep's identity.
        environment: Digest of the environment in which trials run; default this one.
        store: Where plan, function and data are.

    Raises:
        InvalidSpace: nothing to try, or no such sampler or pruner.
        MissingDependency: the sampler or pruner needs a package that is not installed.
        ColumnMissing, EmptyDataset: no such column, or no row to train on.
        ConfigurationError: a limit or direction that makes no sense, or constants that are no JSON.
    """
    _check(direction, timeout_seconds, min_success_fraction, max_train_rows, constants or {})
    wire_space = space_to_dict(space)
    groups = read_groups(store.path(features.artifact), by)
    identity = sweep_identity(
        function=function.digest,
        data=features.artifact.digest,
        space=wire_space,
        by=by,
        groups=groups,
        trials_per_group=None if sampler == GRID else trials_per_group,
        sampler=sampler,
        seed=seed,
        metric=metric,
        direction=direction,
        timeout_seconds=timeout_seconds,
        max_train_rows=max_train_rows,
        constants=constants or {},
        environment=environment or environment_digest(),
        namespace=namespace,
        warm_start=warm_start,
        pruner=pruner,
    )
    wanted = shard_count(max(len(groups), slots) if by else MAX_SHARDS, slots=slots, max_shards=max_shards)
    trials = plan_trials(
        space=wire_space,
        groups=groups,
        trials_per_group=None if sampler == GRID else trials_per_group,
        sampler=sampler,
        seed=seed,
        shards=_fixed_shards(store, identity, wanted, max_shards=max_shards),
        warm_start=warm_start,
        pruner=pruner,
    )
    require_optuna(sampler, pruner)
    return SweepPlan(
        sweep=identity,
        function=FunctionRef.from_dict(cast("dict[str, Any]", without_addresses(function.to_dict()))),
        data=cast("dict[str, JSON]", without_addresses(features.to_dict())),
        by=by,
        groups=len(groups),
        trials=len(trials),
        shards=max(trial.shard for trial in trials) + 1,
        metric=metric,
        direction=direction,
        seed=seed,
        timeout_seconds=float(timeout_seconds),
        min_success_fraction=float(min_success_fraction),
        max_train_rows=max_train_rows,
        plan=store.put_bytes(trial_lines(trials), format="jsonl", rows=len(trials)),
        constants=dict(constants or {}),
        compute=compute,
        space=wire_space,
        sampler=sampler,
        pruner=pruner,
    )


def shard_job(plan: SweepPlan, shard: int, *, workers: int | None = None) -> ShardJob:
    """Return the job of one shard.

    Raises:
        ConfigurationError: the plan has no such shard.
    """
    if not 0 <= shard < plan.shards:
        raise ConfigurationError(f"The plan has shards 0 to {plan.shards - 1}", shard, "Map over range(plan.shards).")
    return ShardJob(plan=plan, shard=shard, workers=workers)


def read_groups(parquet: Path, by: str | None) -> list[str]:
    """Return the values of a column in the train split as text, sorted; without a column the one group ``all``.

    Raises:
        ColumnMissing: the feature set has no such column.
        EmptyDataset: no row to train on, or a row without a group.
    """
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    dataset = ds.dataset(parquet, format="parquet")
    if by is not None and by not in dataset.schema.names:
        raise ColumnMissing(
            "The feature set has no column to group by", by, f"It has {', '.join(dataset.schema.names)}."
        )
    train = dataset.scanner(columns=[by] if by else [], filter=ds.field("split") == TRAIN)
    if by is None:
        if train.count_rows() == 0:
            raise EmptyDataset("The feature set has no rows to train on", "split train: 0 rows", "Check the split.")
        return [ALL]
    values = pc.unique(train.to_table().column(by)).to_pylist()
    if not values:
        raise EmptyDataset("The feature set has no rows to train on", "split train: 0 rows", "Check the split.")
    if None in values:
        raise EmptyDataset(f"Rows of the train split have no {by!r}", "null", "Fill the column, or group by another.")
    return sorted(str(value) for value in values)


def warm_start_params(
    store: ArtifactStore, ref: str, *, per_group: int = WARM_START_TRIALS
) -> dict[str, list[dict[str, JSON]]]:
    """Return the best parameters per group of the newest leaderboard under a ref; nothing where there is none.

    Args:
        store: Where the leaderboard is.
        ref: A ref whose entries are `Leaderboard` records in wire form.
        per_group: At most so many for each group.
    """
    latest = store.latest(ref)
    if latest is None:
        return {}
    board = parse_as(Leaderboard, latest.value)
    best: dict[str, list[dict[str, JSON]]] = {}
    for row in read_rows(store.path(board.artifact)):  # best first within each group
        found = best.setdefault(str(row["group"]), [])
        params = json.loads(row["params"])
        if row["status"] == SUCCEEDED and len(found) < per_group and params not in found:
            found.append(params)
    return {group: found for group, found in best.items() if found}


def _fixed_shards(store: ArtifactStore, sweep: str, wanted: int, *, max_shards: int) -> int:
    """Return the number of shards that the first plan of this sweep fixed, unless fewer are asked for now."""
    ref = shards_ref(sweep)
    while True:
        before = store.latest(ref)
        if before is not None and int(cast(int, before.value["shards"])) <= max_shards:
            return int(cast(int, before.value["shards"]))
        with suppress(RefConflict):  # another plan of the same sweep was first; its word counts
            store.append(ref, {"shards": wanted}, after=before.sequence if before else 0)


def _check(
    direction: str,
    timeout_seconds: float,
    min_success_fraction: float,
    max_train_rows: int | None,
    constants: Mapping[str, JSON],
) -> None:
    if direction not in (MINIMIZE, MAXIMIZE):
        raise ConfigurationError("Unknown direction", repr(direction), "Use 'minimize' or 'maximize'.")
    if not timeout_seconds > 0:
        raise ConfigurationError("A trial needs time", f"timeout_seconds={timeout_seconds}", "Give seconds above zero.")
    if not 0 <= min_success_fraction <= 1:
        raise ConfigurationError("min_success_fraction is a share", min_success_fraction, "Give a number from 0 to 1.")
    if max_train_rows is not None and max_train_rows < 1:
        raise ConfigurationError("max_train_rows must be positive", max_train_rows, "Leave it out for all rows.")
    reserved = sorted({"data", "params", "trial"} & set(constants))
    if reserved:
        raise InvalidSpace("A constant has the name of an own argument", ", ".join(reserved), "Rename it.")
    try:
        canonical_json(dict(constants))
    except (TypeError, ValueError) as error:
        raise ConfigurationError("A constant argument is no JSON", str(error), "Give JSON values.") from None
