"""One trial of a finished sweep, found by its number: its inputs, its result, and how to run it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import PlannedTrial, TrialResult
from airflow_ml.errors import ArtifactNotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrial:
    """A trial, as its sweep planned and recorded it."""

    #: The attempt of the task that was given the plan.
    source: Provenance
    plan: SweepPlan
    #: With the parameters that it ran with, also where a sampler chose them during the sweep.
    planned: PlannedTrial
    result: TrialResult
    store: ArtifactStore = field(repr=False, compare=False)

    def arguments(self) -> dict[str, Any]:
        """Return what the function was given: ``data``, ``params``, the sweep's constants, ``trial`` if it takes it."""
        return self._target()[1]

    def function(self) -> Callable[..., Any]:
        """Return the function as it was."""
        return self._target()[0]

    def again(self, **changes: Any) -> Any:
        """Run the trial here, with its seed, and return what the function returns: metrics, or metrics and a model.

        Args:
            changes: Arguments by name, instead of those of the trial: ``again(params={"depth": 3})``.
        """
        from airflow_ml.runtime.worker import seed_everything

        function, given = self._target()
        seed_everything(self.planned.seed)
        return function(**{**given, **changes})

    def _target(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        from airflow_ml.runtime.repeat_trial import trial_target

        return trial_target(self.plan, self.planned.to_dict(), self.store)


def find_trial(attempts: Iterable[Provenance], name: str, store: ArtifactStore) -> RecordedTrial:
    """Return one trial of a sweep.

    Args:
        attempts: Those of the sweep's tasks; the first one that was given the plan is taken.
        name: The trial's number or name, such as ``17`` or ``t00017``.
        store: Where the sweep was; only read.

    Raises:
        ArtifactNotFound: no plan, no such trial, or no result of it.
    """
    from airflow_ml.runtime.leaderboard import committed_results
    from airflow_ml.runtime.shard import planned_trials

    source, plan = _plan_of(list(attempts))
    planned = _named(planned_trials(plan, store), name)
    result = committed_results(plan, store).get(planned.trial)
    if result is None:
        raise ArtifactNotFound("The trial has no result to compare with", planned.trial, "Its shard did not run it.")
    ran = replace(planned, params={**planned.params, **result.params})
    return RecordedTrial(source=source, plan=plan, planned=ran, result=result, store=store)


def _plan_of(attempts: list[Provenance]) -> tuple[Provenance, SweepPlan]:
    for attempt in attempts:
        for handle in attempt.inputs:
            if handle.record == "SweepPlan" and isinstance(handle.value, Mapping):
                return attempt, SweepPlan.from_dict(handle.value)
    raise ArtifactNotFound(
        "No task of that name was given a sweep's plan", ", ".join(item.title for item in attempts) or "none",
        "Name the sweep's group, such as train.",
    )  # fmt: skip


def _named(trials: list[PlannedTrial], name: str) -> PlannedTrial:
    digits = name.removeprefix("t")
    for trial in trials:
        if digits.isdigit() and int(trial.trial.removeprefix("t")) == int(digits):
            return trial
    raise ArtifactNotFound("The sweep has no such trial", name, f"It has {trials[0].trial} to {trials[-1].trial}.")
