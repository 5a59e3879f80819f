"""Plan a sweep over a feature set, and cut the plan into jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from airflow_ml.core.artifact import without_addresses
from airflow_ml.core.call import FunctionRef
from airflow_ml.core.direction import MINIMIZE, check_direction
from airflow_ml.core.features import TRAIN, FeatureSet
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.sampler import GRID, HALTON, LISTED, PLANNED, RANDOM, SOBOL, in_sequence, read_choice
from airflow_ml.core.shards import MAX_SHARDS, shard_count, shards_ref
from airflow_ml.core.space import parse_space, space_to_dict
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import ALL, plan_trials, sweep_identity, trial_lines
from airflow_ml.errors import ColumnMissing, ConfigurationError, EmptyDataset, InvalidSpace, RefConflict
from airflow_ml.runtime.environment import environment_digest
from airflow_ml.runtime.job import ShardJob
from airflow_ml.runtime.low_discrepancy import spread_points
from airflow_ml.runtime.optuna_parts import build, require_optuna

#: Trials of one batch in a sweep without groups: as many CPUs as most machines have are busy, and few choices are made
#: in ignorance of each other.
BATCH_SIZE = 8


def make_plan(
    function: FunctionRef,
    features: FeatureSet,
    *,
    space: Mapping[str, Any] | None = None,
    trials: Any = None,
    by: str | None = None,
    trials_per_group: int | None = 20,
    sampler: Any = RANDOM,
    pruner: Any = None,
    batch_size: int | None = None,
    metric: str,
    direction: str = MINIMIZE,
    also: Mapping[str, str] | None = None,
    keep_top: int = 0,
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
        space: Distributions, or their wire forms, by parameter name; None with ``trials``.
        trials: The parameters of each trial, one after the other, for every group; or by group.
        by: Column that makes the groups; None for one group named ``all``.
        trials_per_group: Points in each group; the grid tries all of its points.
        sampler: ``random``, ``grid``, ``sobol``, ``halton``, or one of Optuna's that learns: ``tpe``, ``gp``,
            ``cmaes``, ``nsgaii``, ``nsgaiii``, the name of a class, or ``{"optuna": class, "options": {...}}``.
        pruner: ``median``, ``asha`` or ``hyperband`` of Optuna, a class or options as above; None for none.
        batch_size: Trials of a group that are chosen together and run side by side; default 1 with groups, 8 without.
            Of no effect where all trials are planned at once.
        metric: Name of the metric that decides.
        direction: ``minimize`` or ``maximize``.
        also: Further objectives with their directions, for samplers of several.
        keep_top: Models of each group's best trials to store.
        seed: Of the whole sweep.
        timeout_seconds: Of one trial.
        max_train_rows: Rows of a group that a trial fits on at most.
        min_success_fraction: Share of trials that must succeed, 0 to 1.
        warm_start: Per group, parameters to try first; those of the one group ``all`` are for every group.
        max_shards: At most this many shards, and 200 at the very most.
        slots: Shards that can run at the same time; there are at most four for each. The first plan of a sweep fixes
            the number, so that a later one finds what was finished, however busy the deployment is then.
        constants: Further JSON arguments of the function.
        compute: Name of the compute profile.
        namespace: Part of the sweep's identity.
        environment: Digest of the environment in which trials run; default this one.
        store: Where plan, function and data are.

    Raises:
        InvalidSpace: nothing to try, no such sampler or pruner, or one that cannot be used so.
        MissingDependency: the sampler or pruner needs a package that is not installed.
        ColumnMissing, EmptyDataset: no such column, or no row to train on.
        ConfigurationError: a limit or direction that makes no sense, or constants that are not JSON.
    """
    _check(direction, timeout_seconds, min_success_fraction, max_train_rows, constants or {})
    if keep_top < 0:
        raise ConfigurationError("keep_top counts models", keep_top, "Give 0 for none.")
    groups = read_groups(store.path(features.artifact), by)
    listed = None if trials is None else _listed(trials, groups, space)
    if warm_start and set(warm_start) == {ALL}:  # of a sweep without groups: as good a beginning for each of them
        warm_start = dict.fromkeys(groups, warm_start[ALL])
    sampler_name, sampler_options = (LISTED, {}) if listed is not None else read_choice(sampler, kind="Sampler")
    pruner_name, pruner_options = (None, {}) if pruner is None else read_choice(pruner, kind="Pruner")
    wire_space = space_to_dict(space or {}) if listed is None else {}
    count = None if sampler_name in (GRID, LISTED) else trials_per_group
    batch = _batch(batch_size, sampler_name, pruner_name, by)
    objectives = _further(also, metric, sampler_name, pruner_name)
    require_optuna(sampler_name, pruner_name)
    if sampler_name not in PLANNED:
        build(sampler_name, sampler_options)  # refuses wrong options before anything runs
    if pruner_name is not None:
        build(pruner_name, pruner_options)
    more: dict[str, JSON] = {
        "trials": cast(JSON, listed),
        "sampler_options": sampler_options,
        "pruner_options": pruner_options,
        "batch_size": batch if batch > 1 else None,
        "also": cast(JSON, objectives),
        "keep_top": keep_top,
    }
    identity = sweep_identity(
        function=function.digest,
        data=features.artifact.digest,
        space=wire_space,
        by=by,
        groups=groups,
        trials_per_group=count,
        sampler=sampler_name,
        seed=seed,
        metric=metric,
        direction=direction,
        timeout_seconds=timeout_seconds,
        max_train_rows=max_train_rows,
        constants=constants or {},
        environment=environment or environment_digest(),
        namespace=namespace,
        warm_start=warm_start,
        pruner=pruner_name,
        more={name: value for name, value in more.items() if value},
    )
    points = listed
    if sampler_name in (SOBOL, HALTON):
        points = spread_points(
            parse_space(wire_space), sampler_name, groups=groups, count=trials_per_group or 0, seed=seed
        )
    wanted = shard_count(max(len(groups), slots) if by else MAX_SHARDS, slots=slots, max_shards=max_shards)
    planned = plan_trials(
        space=wire_space,
        groups=groups,
        trials_per_group=count,
        sampler=sampler_name,
        seed=seed,
        shards=_fixed_shards(store, identity, wanted, max_shards=max_shards),
        warm_start=warm_start,
        pruner=pruner_name,
        points=points,
    )
    return SweepPlan(
        sweep=identity,
        function=FunctionRef.from_dict(cast("dict[str, Any]", without_addresses(function.to_dict()))),
        data=cast("dict[str, JSON]", without_addresses(features.to_dict())),
        by=by,
        groups=len(groups),
        trials=len(planned),
        shards=max(trial.shard for trial in planned) + 1,
        metric=metric,
        direction=direction,
        seed=seed,
        timeout_seconds=float(timeout_seconds),
        min_success_fraction=float(min_success_fraction),
        max_train_rows=max_train_rows,
        plan=store.put_bytes(trial_lines(planned), format="jsonl", rows=len(planned)),
        constants=dict(constants or {}),
        compute=compute,
        space=wire_space,
        sampler=sampler_name,
        sampler_options=sampler_options,
        pruner=pruner_name,
        pruner_options=pruner_options,
        batch_size=batch,
        also=objectives,
        keep_top=keep_top,
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
    values = _distinct(train.to_table().column(by), by)
    if not values:
        raise EmptyDataset("The feature set has no rows to train on", "split train: 0 rows", "Check the split.")
    if None in values:
        raise EmptyDataset(f"Rows of the train split have no {by!r}", "null", "Fill the column, or group by another.")
    nameless = [value for value in values if value != value]  # NaN, which equals nothing
    if nameless:
        raise EmptyDataset(f"Rows of the train split have no {by!r}", "nan", "Fill the column, or group by another.")
    return sorted(str(value) for value in values)


def _distinct(column: Any, by: str) -> list[Any]:
    """Return the values of a column; a group's rows are found again by its name, which not every type allows.

    Raises:
        ConfigurationError: this one does not.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        values: list[Any] = pc.unique(column).to_pylist()
        named = [value for value in values if value is not None]
        again = [pa.scalar(str(value)).cast(column.type).as_py() for value in named[:1]]
        if all(found == value or value != value for found, value in zip(again, named, strict=False)):
            return values
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass  # a type whose values Arrow cannot tell apart, or not read back from text: it names no groups
    raise ConfigurationError(
        f"Rows cannot be grouped by {by!r}", f"its type is {column.type}", "Group by text, a number or a date."
    )


def _fixed_shards(store: ArtifactStore, sweep: str, wanted: int, *, max_shards: int) -> int:
    """Return the number of shards that the first plan of this sweep fixed, unless fewer are asked for now."""
    ref = shards_ref(sweep)
    while True:
        before = store.latest(ref)
        if before is not None and int(cast(int, before.value["shards"])) <= max_shards:
            return int(cast(int, before.value["shards"]))
        with suppress(RefConflict):  # another plan of the same sweep was first; its entry counts
            store.append(ref, {"shards": wanted}, after=before.sequence if before else 0)


def _listed(trials: Any, groups: Sequence[str], space: object) -> dict[str, list[dict[str, JSON]]]:
    """Return the listed trials of each group."""
    if space:
        raise InvalidSpace("Trials are either listed or searched for", "space and trials", "Leave one of them out.")
    # By the value of the column or its name: a group of the number 1 is named "1".
    by_group = {str(name): some for name, some in trials.items()} if isinstance(trials, Mapping) else None
    by_group = dict.fromkeys(groups, trials) if by_group is None else by_group
    absent, unknown = sorted(set(groups) - set(by_group)), sorted(set(by_group) - set(groups))
    if absent or unknown:
        shown = f"without a list: {', '.join(absent[:5])}" if absent else f"not in the data: {', '.join(unknown[:5])}"
        raise InvalidSpace("Trials listed by group need a list for each group", shown, "Name each group once.")
    for group in groups:
        items = by_group[group]
        if not isinstance(items, list | tuple) or not items or not all(isinstance(item, Mapping) for item in items):
            raise InvalidSpace(
                f"The trials of group {group!r} are not a list of parameters",
                repr(items)[:120],
                "Write [{...}, {...}].",
            )
    try:
        found: dict[str, list[dict[str, JSON]]] = json.loads(canonical_json({one: by_group[one] for one in groups}))
    except (TypeError, ValueError) as error:
        raise InvalidSpace("A listed trial is not JSON", str(error)[:200], "Use JSON values.") from None
    return found


def _batch(asked: int | None, sampler: str, pruner: str | None, by: str | None) -> int:
    if asked is not None and asked < 1:
        raise ConfigurationError("A batch needs trials", f"batch_size={asked}", "Give at least 1.")
    if not in_sequence(sampler, pruner):
        return 1
    if sampler == "QMCSampler":  # its points are counted one by one
        if asked not in (None, 1):
            raise InvalidSpace("QMCSampler runs one trial after the other", f"batch_size={asked}", "Use 'sobol'.")
        return 1
    return asked or (1 if by else BATCH_SIZE)


def _further(also: Mapping[str, str] | None, metric: str, sampler: str, pruner: str | None) -> dict[str, str]:
    """Return the further objectives, refusing what Optuna cannot do with several."""
    for direction in (also or {}).values():
        check_direction(direction)
    if also and metric in also:
        raise ConfigurationError("An objective is named twice", metric, "Name each once.")
    if also and (pruner is not None or sampler in ("cmaes", "CmaEsSampler")):
        what = f"pruner {pruner!r}" if pruner is not None else f"sampler {sampler!r}"
        raise InvalidSpace(f"The {what} knows one objective only", ", ".join([metric, *also]), "Leave one out.")
    return dict(also or {})


def _check(
    direction: str,
    timeout_seconds: float,
    min_success_fraction: float,
    max_train_rows: int | None,
    constants: Mapping[str, JSON],
) -> None:
    check_direction(direction)
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
        raise ConfigurationError("A constant argument is not JSON", str(error), "Give JSON values.") from None
