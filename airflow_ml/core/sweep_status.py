"""How far a sweep is, from its plan and what is committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from airflow_ml.core.direction import MINIMIZE
from airflow_ml.core.record import JSON
from airflow_ml.core.trials import PRUNED, SUCCEEDED, PlannedTrial, TrialResult


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """One group, or all of them together."""

    group: str
    trials: int
    finished: int
    failed: int
    pruned: int
    #: Best value of the metric that decides; None without a success.
    best: float | None = None
    best_trial: str = ""
    params: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Trials without a result."""
        return self.trials - self.finished


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus:
    """A sweep at one moment."""

    sweep: str
    metric: str
    direction: str
    total: GroupStatus
    #: Sorted by name.
    groups: tuple[GroupStatus, ...]
    #: Seconds that the rest takes at the speed so far; None while nothing has ended, or the speed is unknown.
    eta_seconds: float | None = None


def sweep_status(
    trials: Iterable[PlannedTrial],
    results: Mapping[str, TrialResult],
    *,
    sweep: str,
    metric: str,
    direction: str,
    elapsed_seconds: float | None = None,
    finished_before: int = 0,
) -> SweepStatus:
    """Count what is done.

    Args:
        trials: All of the plan.
        results: What is committed, by trial.
        sweep, metric, direction: Of the plan.
        elapsed_seconds: Time in which trials were run; None where nobody knows.
        finished_before: Trials that were finished when that time began.
    """
    by_group: dict[str, list[PlannedTrial]] = {}
    for trial in trials:
        by_group.setdefault(trial.group, []).append(trial)
    groups = tuple(
        _count(group, by_group[group], results, metric=metric, direction=direction) for group in sorted(by_group)
    )
    everyone = [trial for members in by_group.values() for trial in members]
    total = _count("all", everyone, results, metric=metric, direction=direction)
    done = total.finished - finished_before
    eta = elapsed_seconds / done * total.left if elapsed_seconds is not None and done > 0 else None
    return SweepStatus(sweep=sweep, metric=metric, direction=direction, total=total, groups=groups, eta_seconds=eta)


def _count(
    group: str, trials: list[PlannedTrial], results: Mapping[str, TrialResult], *, metric: str, direction: str
) -> GroupStatus:
    found = [(trial, results[trial.trial]) for trial in trials if trial.trial in results]
    good = [(trial, result) for trial, result in found if result.status == SUCCEEDED and metric in result.metrics]
    pruned = sum(result.status == PRUNED for _, result in found)
    sign = 1.0 if direction == MINIMIZE else -1.0
    first = min(good, key=lambda item: (sign * item[1].metrics[metric], item[0].trial), default=None)
    return GroupStatus(
        group=group,
        trials=len(trials),
        finished=len(found),
        failed=len(found) - pruned - sum(result.status == SUCCEEDED for _, result in found),
        pruned=pruned,
        best=first[1].metrics[metric] if first else None,
        best_trial=first[0].trial if first else "",
        params={**first[0].params, **first[1].params} if first else {},
    )
