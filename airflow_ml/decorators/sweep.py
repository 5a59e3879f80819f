"""``@task.sweep``: a function of (data, params, trial) becomes a search over its parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow.sdk import TaskGroup, XComArg
from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import XComNotFound

from airflow_ml.core.shards import MAX_SHARDS
from airflow_ml.errors import ConfigurationError
from airflow_ml.operators.sweep import PLAN_KEY, PlanSweepOperator
from airflow_ml.operators.sweep_collect import CollectSweepOperator
from airflow_ml.operators.sweep_shards import RunShardOperator
from airflow_ml.operators.sweep_tracking import TRACKED_TRIALS, TrackSweepOperator

#: Arguments of every Airflow task that go to all tasks of the group.
_FOR_ALL = frozenset({"queue", "pool", "priority_weight", "owner", "executor", "executor_config", "default_args"})
#: Arguments that belong to the tasks which run trials.
_FOR_SHARDS = frozenset(
    {
        "retries",
        "retry_delay",
        "retry_policy",
        "execution_timeout",
        "max_active_tis_per_dagrun",
        "max_active_tis_per_dag",
    }
)


class PlanOutput(PlainXComArg):
    """The plan, or None where its task never ended well: ``collect`` runs then, too, and says so in its own words."""

    __slots__ = ()

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """Return the plan in wire form, or None."""
        try:
            return super().resolve(context)
        except XComNotFound:
            return None


class SweepOutput(PlainXComArg):
    """The leaderboard, as the output of a whole group: what comes before it comes before the plan."""

    __slots__ = ()

    @property
    def roots(self) -> list[Any]:
        """The tasks to put after an upstream task: ``start >> train(x)`` orders the plan."""
        group = self.operator.task_group
        return [*group.get_roots()] if group is not None else [self.operator]

    def set_upstream(self, task_or_task_list: Any, edge_modifier: Any = None) -> None:
        """Put something before the plan, not before the collecting task."""
        for root in self.roots:
            root.set_upstream(task_or_task_list, edge_modifier)


class Sweep:
    """A function decorated with ``@task.sweep``.

    Called in a DAG it builds the group ``<name>.plan -> <name>.shards -> <name>.collect -> <name>.track`` and returns
    the leaderboard's XComArg, which is the output of ``collect``: nothing waits for ``track``. Outside a DAG it is
    the plain function.
    """

    def __init__(self, function: Callable[..., Any], settings: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._settings = dict(settings)
        _check_signature(function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Build the group, or run the function itself where no DAG is being defined."""
        from airflow.sdk.definitions._internal.contextmanager import DagContext

        if DagContext.get_current() is None and "dag" not in self._settings:
            return self.function(*args, **kwargs)
        data, constants = _bind(self.function, args, kwargs)
        return self._build(data, constants)

    def override(self, **settings: Any) -> Sweep:
        """Return the same sweep with other settings."""
        return Sweep(self.function, {**self._settings, **settings})

    def _build(self, data: Any, constants: Mapping[str, Any]) -> XComArg:
        settings = dict(self._settings)
        mlflow_conn_id = settings.pop("mlflow_conn_id", None)
        tracked_trials = settings.pop("tracked_trials", TRACKED_TRIALS)
        pictures = settings.pop("pictures", True)
        name = settings.pop("task_id", None) or self.function.__name__
        for_all = {key: settings.pop(key) for key in list(settings) if key in _FOR_ALL}
        for_shards = {key: settings.pop(key) for key in list(settings) if key in _FOR_SHARDS}
        group = TaskGroup(group_id=name, tooltip=(self.function.__doc__ or "").strip().partition("\n")[0])
        with group:
            plan = PlanSweepOperator(
                python_callable=self.function,
                data=data,
                constants=constants or None,
                max_active_shards=for_shards.get("max_active_tis_per_dagrun"),
                **settings,
                **for_all,
            )
            record = PlanOutput(operator=plan, key=PLAN_KEY)
            shards = RunShardOperator.partial(
                task_id="shards", plan=record, compute=plan.compute, **for_all, **for_shards
            ).expand(shard=plan.output)
            collect = CollectSweepOperator(plan=record, pictures=pictures, **for_all)
            shards >> collect
            if mlflow_conn_id is not None:
                TrackSweepOperator(
                    leaderboard=collect.output, mlflow_conn_id=mlflow_conn_id, tracked_trials=tracked_trials, **for_all
                )
        return SweepOutput(operator=collect)


def sweep_task(
    python_callable: Callable[..., Any] | None = None,
    *,
    space: Mapping[str, Any] | None = None,
    trials: Any = None,
    by: str | None = None,
    trials_per_group: int | str = 20,
    minimize: str | None = None,
    maximize: str | None = None,
    objectives: Mapping[str, str] | None = None,
    sampler: Any = "random",
    pruner: Any = None,
    batch_size: int | None = None,
    keep_top: int = 0,
    seed: int | str = 0,
    timeout_seconds: float = 600.0,
    max_train_rows: int | None = None,
    min_success_fraction: float = 0.95,
    warm_start: Any = False,
    max_shards: int = MAX_SHARDS,
    compute: str | Mapping[str, Any] = "local",
    mlflow_conn_id: str | None = "mlflow_default",
    tracked_trials: int | str = TRACKED_TRIALS,
    pictures: bool = True,
    **task_arguments: Any,
) -> Any:
    """Decorate ``train(data, params, trial)``; arguments as for `PlanSweepOperator`, `CollectSweepOperator`,
    `TrackSweepOperator` and any Airflow task.

    The function returns a number, a dict of metrics, or ``(metrics, model)``. Retries and time limits given here apply
    to the tasks that run trials. ``objectives={"auc": "maximize", "seconds": "minimize"}`` replaces ``minimize`` and
    ``maximize`` if there are several metrics; the first one decides. ``mlflow_conn_id=None`` leaves out MLflow and the
    group's task ``track``.

    Raises:
        ConfigurationError: not exactly one of ``minimize``, ``maximize`` and ``objectives``, not exactly one of
            ``space`` and ``trials``, or an unknown argument.
    """
    if [minimize, maximize, objectives or None].count(None) != 2:
        raise ConfigurationError(
            "A sweep needs one metric to decide by",
            f"minimize={minimize!r}, maximize={maximize!r}, objectives={objectives!r}",
            "Give exactly one of them, with the name of a metric that the function returns.",
        )
    if (space is None) == (trials is None):
        given = "neither" if space is None else "both"
        raise ConfigurationError("A sweep needs a space, or listed trials", given, "Give one of space and trials.")
    directions = dict(objectives or {str(minimize or maximize): "minimize" if minimize else "maximize"})
    metric, direction = next(iter(directions.items()))
    unknown = sorted(set(task_arguments) - _FOR_ALL - _FOR_SHARDS - {"task_id"})
    if unknown:
        raise ConfigurationError("Unknown arguments of @task.sweep", ", ".join(unknown), "See its documentation.")
    settings = {
        "space": space,
        "by": by,
        "trials_per_group": trials_per_group,
        "trials": trials,
        "metric": metric,
        "direction": direction,
        "also": {name: value for name, value in directions.items() if name != metric} or None,
        "sampler": sampler,
        "pruner": pruner,
        "batch_size": batch_size,
        "keep_top": keep_top,
        "seed": seed,
        "timeout_seconds": timeout_seconds,
        "max_train_rows": max_train_rows,
        "min_success_fraction": min_success_fraction,
        "warm_start": warm_start,
        "max_shards": max_shards,
        "compute": compute,
        "mlflow_conn_id": mlflow_conn_id,
        "tracked_trials": tracked_trials,
        "pictures": pictures,
        **task_arguments,
    }
    if python_callable is not None:
        return Sweep(python_callable, settings)
    return lambda function: Sweep(function, settings)


def sweep(function: Callable[..., Any], data: Any, **settings: Any) -> Any:
    """Search the parameters of a function of a module, in a DAG; return the leaderboard's XComArg.

    Args:
        function: ``train(data, params)`` or ``train(data, params, trial)``; it must not be a lambda.
        data: The output of `build_features`, or a `FeatureSet`.
        settings: As of ``@task.sweep``. Others are refused there; constants of the function go in by ``constants``.

    Raises:
        ConfigurationError: as ``@task.sweep``.
    """
    constants = dict(settings.pop("constants", None) or {})
    decorated: Sweep = sweep_task(function, **settings)
    return decorated(data, **constants)


def _bind(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the data and the constant arguments of a call like ``train(features, quick=True)``."""
    remaining = dict(kwargs)
    if len(args) > 1 or (args and "data" in remaining) or (not args and "data" not in remaining):
        raise ConfigurationError(
            f"{function.__name__} is a sweep: in a DAG it is called with its data",
            f"{len(args)} positional arguments and {sorted(kwargs)}",
            "Call it like train(features), further constants by keyword.",
        )
    data = args[0] if args else remaining.pop("data")
    _check_constants(function, remaining)
    return data, remaining


def _check_constants(function: Callable[..., Any], constants: Mapping[str, Any]) -> None:
    """Refuse constants with which every trial would fail."""
    parameters = inspect.signature(function).parameters
    named = {name: one for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    given = {"data", "params", "trial"}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    unknown = sorted(name for name in constants if name in given or not (takes_any or name in named))
    lacking = sorted(name for name in {*named} - given - {*constants} if named[name].default is inspect.Parameter.empty)
    if unknown or lacking:
        found = [
            f"{what}: {', '.join(names)}"
            for what, names in (("not among them", unknown), ("not given", lacking))
            if names
        ]
        raise ConfigurationError(
            f"{function.__name__} is called with the constants that it takes, by keyword, besides its data",
            "; ".join(found),
            f"It takes ({', '.join(parameters)}).",
        )


def _check_signature(function: Callable[..., Any]) -> None:
    names = list(inspect.signature(function).parameters)
    if names[:2] != ["data", "params"]:
        raise ConfigurationError(
            f"A sweep's function takes (data, params) or (data, params, trial) first, {function.__name__} takes",
            f"({', '.join(names)})",
            "Rename its arguments.",
        )
