"""Stage 4, sweep: the plan, the first of the tasks that ``@task.sweep`` builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from airflow_ml.core.compute_choice import split_compute
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.shards import ALL_SHARDS, MAX_SHARDS
from airflow_ml.errors import RefConflict
from airflow_ml.hooks.compute import compute_profile
from airflow_ml.links import SweepPageLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, task_names
from airflow_ml.operators.sweep_arguments import RULES
from airflow_ml.operators.sweep_collect import CollectSweepOperator, leaderboard_ref
from airflow_ml.operators.sweep_shards import RunShardOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore

__all__ = ["PLAN_KEY", "CollectSweepOperator", "PlanSweepOperator", "RunShardOperator"]

#: XCom key of the plan; the plan task's return value is the list of shard numbers, which Airflow maps over.
PLAN_KEY = "plan"


class PlanSweepOperator(MLOperator):
    """Fix all trials of a sweep: parameters, seeds, and which shard runs which.

    The plan is a pure function of the code, the data, the space and the seed, so a retry or clear plans the same trials
    and finds those that are already finished.

    Args:
        python_callable: The user's ``train(data, params, trial)``.
        data: The `FeatureSet` (templated).
        space: Search space by parameter name (templated). ``When`` makes a parameter depend on others.
        trials: Instead of a space, the parameters of each trial: one list for all groups, or a list by group
            (templated).
        by: Column of the features that defines the groups; None for one group (templated).
        trials_per_group: Trials in each group; a grid ignores it (templated). Default 20.
        sampler: ``random`` (default), ``grid``, ``sobol`` or ``halton`` (evenly spread), or one of Optuna's, which
            learn from the group's earlier batches: ``tpe``, ``gp``, ``cmaes``, ``nsgaii``, ``nsgaiii``, the name of a
            class of ``optuna.samplers``, or such an object. An object's own seed is ignored; the sweep's counts.
        pruner: ``median``, ``asha`` or ``hyperband`` of Optuna, a class of ``optuna.pruners`` or such an object: stops
            trials whose reports are not promising, see ``trial.should_prune()``. None (default) for none.
        batch_size: With such a sampler or pruner: trials of a group that are chosen together, from the results of
            earlier batches, and run side by side. Default 1 with groups, which themselves run side by side; 8 without.
        metric, direction: The metric that decides, and ``minimize`` or ``maximize``; the decorator has the arguments
            ``minimize`` and ``maximize`` instead.
        also: Further objectives with their directions, for a sampler that supports several, such as ``nsgaii`` or
            ``tpe``; the leaderboard then marks the trials that no other one beats (``pareto``). In the decorator:
            ``objectives``.
        keep_top: How many models of each group's best trials to store as artifacts, named in the leaderboard's column
            ``model``; the function must then return ``(metrics, model)``. Default 0: `select_model` refits the winners.
        seed: Seed of the whole sweep; each trial's seed is derived from it (templated). Default 0.
        timeout_seconds: Of one trial. Default 600.
        max_train_rows: At most so many rows of a group are used to fit a trial, sampled by seed; None (default): all.
        min_success_fraction: Below this share of successful trials the sweep fails. Default 0.95.
        warm_start: Start each group with the best parameters of the given `Leaderboard` (templated). True: of this
            task's previous leaderboard, as the first attempt of a run found it, so that a retry or clear plans the same
            trials. Default False.
        max_shards: Task instances at most; default and upper limit 200. There are as many as groups (or trials, without
            groups), but no more than four for each task that can run at the same time.
        max_active_shards: How many shards Airflow runs at the same time, if that is limited (the decorator's
            ``max_active_tis_per_dagrun``). None (default) for the deployment's limits.
        compute: Name of a compute profile, or `airflow_ml.profile` for one with changes. Default ``local``: processes
            of the worker. With a profile of a cluster or queue one task submits all shards as one job.
        constants: Further JSON arguments of the function (templated).
    """

    template_fields: Sequence[str] = (
        "data",
        "space",
        "trials",
        "warm_start",
        "by",
        "trials_per_group",
        "seed",
        "max_train_rows",
        "constants",
        "timeout_seconds",
        "max_shards",
    )
    shallow_copy_attrs: Sequence[str] = ("python_callable",)
    operator_extra_links = (TaskPageLink(), SweepPageLink())
    ui_color = "#ede9fe"
    argument_rules = RULES

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        data: Any,
        space: Mapping[str, Any] | None = None,
        trials: Any = None,
        by: str | None = None,
        trials_per_group: int | str = 20,
        sampler: Any = "random",
        pruner: Any = None,
        batch_size: int | None = None,
        metric: str,
        direction: str,
        also: Mapping[str, str] | None = None,
        keep_top: int = 0,
        seed: int | str = 0,
        timeout_seconds: float = 600.0,
        max_train_rows: int | None = None,
        min_success_fraction: float = 0.95,
        warm_start: Any = False,
        max_shards: int = MAX_SHARDS,
        max_active_shards: int | None = None,
        compute: str | Mapping[str, JSON] = "local",
        constants: Mapping[str, Any] | None = None,
        task_id: str = "plan",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        split_compute(compute)  # a mistake shows when the DAG file is parsed; the deployment says what a name means
        self.python_callable = python_callable
        self.data = plain(data)
        self.space = plain(space)
        self.trials = plain(trials)
        self.by = by
        self.trials_per_group = trials_per_group
        self.sampler = _plain_part(sampler)
        self.pruner = _plain_part(pruner)
        self.batch_size = batch_size
        self.metric = metric
        self.direction = direction
        self.also = also
        self.keep_top = keep_top
        self.seed = seed
        self.timeout_seconds = timeout_seconds
        self.max_train_rows = max_train_rows
        self.min_success_fraction = min_success_fraction
        self.warm_start = plain(warm_start)
        self.max_shards = max_shards
        self.max_active_shards = max_active_shards
        self.compute = compute
        self.constants = plain(constants) if constants is not None else {}
        self.check_arguments()

    def run(self, context: Context) -> list[Any]:
        """Plan, push the plan aside, and return the shard numbers to map over."""
        from airflow_ml.core.features import FeatureSet
        from airflow_ml.operators.remote import is_remote
        from airflow_ml.operators.secret_masking import refuse_secrets
        from airflow_ml.operators.slots import free_slots
        from airflow_ml.runtime.capture import as_function_ref, capture
        from airflow_ml.runtime.sweep_plan import make_plan

        refuse_secrets(self.constants)
        store = self.store()
        profile = compute_profile(self.compute, log=self.log.info)
        function = as_function_ref(capture(self.python_callable), store)
        warm = self._warm_start(context, store) if self.warm_start else None
        plan = make_plan(
            function,
            parse_as(FeatureSet, self.data),
            space=self.space,
            trials=self.trials,
            by=self.by,
            trials_per_group=int(self.trials_per_group),
            sampler=self.sampler,
            pruner=self.pruner,
            batch_size=self.batch_size,
            metric=self.metric,
            direction=self.direction,
            also=self.also,
            keep_top=int(self.keep_top),
            seed=int(self.seed),
            timeout_seconds=float(self.timeout_seconds),
            max_train_rows=int(self.max_train_rows) if self.max_train_rows else None,
            min_success_fraction=self.min_success_fraction,
            warm_start=warm,
            max_shards=int(self.max_shards),
            slots=profile.parallelism
            if is_remote(profile)
            else free_slots(
                context.get("dag"), executor=self.executor, max_active_tis_per_dagrun=self.max_active_shards
            ),
            constants=self.constants,
            compute=profile.name,
            namespace=self.namespace,
            store=store,
        )
        self.push_record(context, PLAN_KEY, plan)
        self.log.info(
            "Sweep %s: %d trials in %d groups, %d shards%s", plan.sweep, plan.trials, plan.groups, plan.shards,
            f", warm start from {len(warm)} groups" if warm else "",
        )  # fmt: skip
        return [ALL_SHARDS] if is_remote(profile) else list(range(plan.shards))

    def _warm_start(self, context: Context, store: ArtifactStore) -> dict[str, list[dict[str, JSON]]]:
        """Return the parameters to begin with: of the leaderboard that was given, or of the newest one, as the first
        attempt of this run found it."""
        from airflow_ml.core.sweep import Leaderboard
        from airflow_ml.runtime.warm_start import best_params, newest_best_params

        if not isinstance(self.warm_start, bool):
            return best_params(parse_as(Leaderboard, self.warm_start), store)
        names = task_names(context)
        run = digest_json([self.namespace, names["dag"], names["run"], names["task"]]).partition(":")[2]
        ref = f"warm_starts/{self.namespace}/{run}"
        if store.latest(ref) is None:
            found = newest_best_params(store, leaderboard_ref(self.namespace, context, self.task_id))
            with suppress(RefConflict):  # another attempt was first; its entry counts
                store.append(ref, {"params": cast(JSON, found)}, after=0)
        first = store.latest(ref)
        return cast("dict[str, list[dict[str, JSON]]]", first.value["params"]) if first is not None else {}


def _plain_part(value: Any) -> Any:
    """Return a sampler or pruner as plain data; an object of Optuna is read here, where its module is loaded."""
    if value is None or isinstance(value, str | Mapping):
        return value
    from airflow_ml.runtime.optuna_parts import describe

    return describe(value)
