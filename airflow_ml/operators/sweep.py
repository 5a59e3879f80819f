"""Stage 4, sweep: plan, shards and collect, the tasks that ``@task.sweep`` builds beside ``track``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import TriggerRule

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.compute import LOCAL, split_compute
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.sweep import Leaderboard, SweepPlan
from airflow_ml.core.trials import MAX_SHARDS
from airflow_ml.errors import CallFailed, CallTimedOut, MissingDependency, NotARecord, RefConflict
from airflow_ml.hooks import store as store_hook
from airflow_ml.hooks.compute import compute_profile
from airflow_ml.links import SweepPageLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, failing_at_once, provenance, publish
from airflow_ml.operators.circumstances import refuse_secrets
from airflow_ml.operators.remote import Collected, is_remote, refuse_failures, run_remotely
from airflow_ml.operators.remote import collect as collect_remote
from airflow_ml.operators.runner_call import run_in_runner
from airflow_ml.operators.slots import free_slots
from airflow_ml.operators.sweep_arguments import RULES
from airflow_ml.operators.sweep_progress import ProgressTeller

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore

#: In the place of a shard's number: all shards, as one job of a cluster or queue.
ALL_SHARDS = -1
#: Fewer successes say nothing of their parameters.
PICTURED_TRIALS = 20
#: Time for importance and pictures.
PICTURES_SECONDS = 300.0
#: XCom key of the plan; the plan task's return value is the list of shard numbers, which Airflow maps over.
PLAN_KEY = "plan"


class PlanSweepOperator(MLOperator):
    """Fix all trials of a sweep: parameters, seeds, and which shard runs which.

    The plan is a pure function of the code, the data, the space and the seed, so a retry or clear plans the same trials
    and finds those that are finished already.

    Args:
        python_callable: The user's ``train(data, params, trial)``.
        data: The `FeatureSet` (templated).
        space: Search space by parameter name (templated). ``When`` makes a parameter depend on others.
        trials: In the place of a space, the parameters of each trial: a list for every group, or lists by group
            (templated).
        by: Column of the features that makes the groups; None for one group (templated).
        trials_per_group: Trials in each group; a grid ignores it (templated). Default 20.
        sampler: ``random`` (default), ``grid``, ``sobol`` or ``halton`` (evenly spread), or one of Optuna's that learns
            from the group's batches before: ``tpe``, ``gp``, ``cmaes``, ``nsgaii``, ``nsgaiii``, the name of a class of
            ``optuna.samplers``, or such an object. An object's seed does not count, the sweep's does.
        pruner: ``median``, ``asha`` or ``hyperband`` of Optuna, a class of ``optuna.pruners`` or such an object: ends
            trials whose reports show no hope, see ``trial.should_prune()``. None (default) for none.
        batch_size: With such a sampler or pruner, trials of a group that are chosen together, from the results of the
            batches before, and run side by side. Default 1 with groups, which run side by side themselves; 8 without.
        metric, direction: The metric that decides, and ``minimize`` or ``maximize``; in the decorator one of its
            arguments ``minimize`` and ``maximize``.
        also: Further objectives with their directions, for a sampler of several such as ``nsgaii`` or ``tpe``; the
            leaderboard then says which trials no other one beats (``pareto``). In the decorator ``objectives``.
        keep_top: Models of each group's best trials to store as artifacts, named in the leaderboard's column ``model``;
            the function then returns ``(metrics, model)``. Default 0: `select_model` fits the winners again.
        seed: Seed of the whole sweep; each trial derives its own (templated). Default 0.
        timeout_seconds: Of one trial. Default 600.
        max_train_rows: Rows of a group that a trial fits on at most, sampled by seed; None (default) for all.
        min_success_fraction: Fewer successful trials than this share fail the sweep. Default 0.95.
        warm_start: Begin each group with the best parameters of a `Leaderboard` that is given (templated), or with True
            of this task's last one, as the first attempt of a run finds it, so that a retry or clear plans the same
            trials. Default False.
        max_shards: Task instances at most; default and ceiling 200. There are as many as groups (or trials, without
            groups), but no more than four for each task that can run at the same time.
        max_active_shards: How many shards Airflow runs at the same time, where that is limited (the decorator's
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
        self.push_beside(context, PLAN_KEY, plan)
        self.log.info(
            "Sweep %s: %d trials in %d groups, %d shards%s", plan.sweep, plan.trials, plan.groups, plan.shards,
            f", warm start from {len(warm)} groups" if warm else "",
        )  # fmt: skip
        return [ALL_SHARDS] if is_remote(profile) else list(range(plan.shards))

    def _warm_start(self, context: Context, store: ArtifactStore) -> dict[str, list[dict[str, JSON]]]:
        """Return the parameters to begin with: of the leaderboard that was given, or of the newest one, as the first
        attempt of this run found it."""
        from airflow_ml.runtime.warm_start import best_params, newest_best_params

        if not isinstance(self.warm_start, bool):
            return best_params(parse_as(Leaderboard, self.warm_start), store)
        names = provenance(context)
        run = digest_json([self.namespace, names["dag"], names["run"], names["task"]]).partition(":")[2]
        ref = f"warm_starts/{self.namespace}/{run}"
        if store.latest(ref) is None:
            found = newest_best_params(store, leaderboard_ref(self.namespace, context, self.task_id))
            with suppress(RefConflict):  # another attempt was first; its word counts
                store.append(ref, {"params": cast(JSON, found)}, after=0)
        first = store.latest(ref)
        return cast("dict[str, list[dict[str, JSON]]]", first.value["params"]) if first is not None else {}


class RunShardOperator(MLOperator):
    """Run one shard's trials in a clean interpreter; each finished trial is durable and never runs again.

    When nearly all of the first 20 trials, from as many groups as there are, fail alike, the others are not begun.

    Retry, clear: run only the trials that are not finished. Kill, timeout, a worker's restart: the runner and all its
    children are ended; finished trials stay. Where the sweep's profile is a cluster or queue, this is one task for all
    shards, deferred while they run: a retry goes on with the job of the try before, a clear ends it and starts another,
    marking the task failed or successful ends it, and a restart of Airflow's processes does nothing to it.

    Args:
        plan: The `SweepPlan` (templated).
        shard: Number of the shard (templated, mapped over); -1 for all of them, as one remote job.
        compute: The compute profile, as in the plan's task.
    """

    template_fields: Sequence[str] = ("plan", "shard")
    operator_extra_links = (TaskPageLink(), SweepPageLink())
    ui_color = "#ede9fe"
    argument_rules = {  # noqa: RUF012 - never changed
        "shard": rules.number(least=ALL_SHARDS, whole=True),
    }

    def __init__(
        self,
        *,
        plan: Any,
        shard: Any,
        compute: str | Mapping[str, JSON] = LOCAL,
        task_id: str = "shards",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.plan = plain(plan)
        self.shard = shard
        self.compute = compute
        self._stop = threading.Event()
        self.check_arguments()

    def run(self, context: Context) -> dict[str, Any]:
        """Run what is missing of the shard."""
        from airflow_ml.runtime.runner import run_shard
        from airflow_ml.runtime.sweep_plan import shard_job

        plan = parse_as(SweepPlan, self.plan)
        if int(self.shard) == ALL_SHARDS:
            jobs = [shard_job(plan, shard) for shard in range(plan.shards)]
            profile = compute_profile(self.compute, log=self.log.info)
            return self._summary(run_remotely(self, context, jobs, profile, namespace=self.namespace))
        outcome = run_shard(
            shard_job(plan, int(self.shard)),
            store_uri=self.store().uri,
            environment=store_hook.runner_environment(),
            log=self.log.info,
            on_progress=ProgressTeller(self.log.info, context.get("task_state_store")),
            stop=self._stop,
        )
        if outcome.stopped:
            self.log.warning("Stopped early: %s. Clear this task to run the other trials.", outcome.stopped)
        return {"shard": int(self.shard), "trials": outcome.trials, "failed": outcome.failed, "ran": outcome.ran}

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Count what the shards left in the store; ``collect`` judges the sweep."""
        with failing_at_once():
            return self._summary(collect_remote(self, event))

    def _summary(self, found: Collected) -> dict[str, Any]:
        outcomes = [outcome for outcome in found.results if outcome is not None]
        for reason in dict.fromkeys(outcome["stopped"] for outcome in outcomes if outcome["stopped"]):
            self.log.warning("Stopped early: %s. Clear this task to run the other trials.", reason)
        refuse_failures(found)
        sums = {name: sum(int(outcome[name]) for outcome in outcomes) for name in ("trials", "failed", "ran")}
        return {"shard": ALL_SHARDS, **sums}

    def on_kill(self) -> None:
        """End the runner and its children; a remote job is its trigger's."""
        self._stop.set()


class CollectSweepOperator(MLOperator):
    """Make the leaderboard out of what the shards left in the store, and alone decide whether the sweep succeeded.

    Runs whatever became of the shards. Retry, clear: reads the store again.

    Args:
        plan: The `SweepPlan` (templated).
        pictures: Also say which parameters mattered, in numbers and pictures (`Leaderboard.report`); needs Optuna and
            matplotlib, and some seconds in a clean interpreter. Default True, for 20 successful trials or more; without
            the libraries a line in the log.

    Raises:
        SweepFailed: fewer successful trials than ``min_success_fraction``, or none at all.
    """

    template_fields: Sequence[str] = ("plan",)
    operator_extra_links = (TaskPageLink(), SweepPageLink())
    ui_color = "#ede9fe"
    argument_rules = {  # noqa: RUF012 - never changed
        "pictures": rules.flag(),
    }

    def __init__(self, *, plan: Any, pictures: bool = True, task_id: str = "collect", **kwargs: Any) -> None:
        super().__init__(task_id=task_id, trigger_rule=TriggerRule.ALL_DONE, **kwargs)
        self.plan = plain(plan)
        self.pictures = pictures
        self.check_arguments()

    def execute(self, context: Context) -> Any:
        """Say plainly where there is no plan: with ``all_done`` this task runs after a failed plan, too."""
        with failing_at_once():
            if self.plan is None:
                raise NotARecord("There is no plan to collect", "the plan task failed", "See its log, then clear it.")
        return super().execute(context)

    def run(self, context: Context) -> Leaderboard:
        """Collect, judge, and remember the leaderboard for warm starts."""
        from airflow_ml.runtime.leaderboard import collect

        store = self.store()
        plan = parse_as(SweepPlan, self.plan)
        leaderboard = collect(plan, store)
        if self.pictures and leaderboard.succeeded >= PICTURED_TRIALS:
            leaderboard = replace(leaderboard, report=self._report(plan, leaderboard, store))
        publish(store, leaderboard_ref(self.namespace, context, self.task_id), leaderboard)
        self.log.info(
            "%d of %d trials succeeded; best %s %.5g in group %s with %s", leaderboard.succeeded, leaderboard.trials,
            leaderboard.metric, leaderboard.best.value, leaderboard.best.group, dict(leaderboard.best.params),
        )  # fmt: skip
        if leaderboard.groups_without_success:
            self.log.warning("No trial succeeded in %s", ", ".join(leaderboard.groups_without_success))
        return leaderboard

    def _report(self, plan: SweepPlan, board: Leaderboard, store: ArtifactStore) -> Artifact | None:
        """Return importance and pictures; without them the sweep is as good as with them."""
        from airflow_ml.runtime.sweep_pictures import draw_sweep, read_report, require_pictures

        try:
            require_pictures()
            arguments: dict[str, JSON] = {"plan": plan.to_dict(), "board": board.to_dict()}
            report = Artifact.from_dict(
                run_in_runner(
                    draw_sweep, arguments, store=store, namespace=self.namespace, log=self.log.info,
                    timeout_seconds=PICTURES_SECONDS,
                )
            )  # fmt: skip
        except (MissingDependency, CallFailed, CallTimedOut) as error:
            self.log.warning("No pictures of the sweep: %s", error)
            return None
        found = read_report(report, store)["importance"]
        self.log.info("Importance: %s", ", ".join(f"{name} {share:.0%}" for name, share in found.items()) or "none")
        return replace(report, uri="")


def _plain_part(value: Any) -> Any:
    """Return a sampler or pruner as plain data; an object of Optuna is read here, where its module is loaded."""
    if value is None or isinstance(value, str | Mapping):
        return value
    from airflow_ml.runtime.optuna_parts import describe

    return describe(value)


def leaderboard_ref(namespace: str, context: Context, task_id: str) -> str:
    """Return the ref of a sweep's leaderboards: one for each sweep of a DAG, over all its runs."""
    group = task_id.rpartition(".")[0] or "sweep"
    return f"leaderboards/{namespace}/{provenance(context)['dag']}/{group}"
