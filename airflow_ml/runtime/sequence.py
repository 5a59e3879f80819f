"""Groups whose trials run one after the other: each is given what those before it came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_ml.core.trials import PlannedTrial, TrialResult
from airflow_ml.runtime.study import history_line


class Sequences:
    """The trials of a shard, by group.

    Args:
        trials: All of the shard, in order.
        done: Results that are known already, by trial; read again whenever a trial begins, since another runner on the
            same shard may be faster.
        metric: The metric that decides.
    """

    def __init__(self, trials: Iterable[PlannedTrial], done: Mapping[str, TrialResult], *, metric: str) -> None:
        self._done = done
        self._metric = metric
        self._groups: dict[str, list[PlannedTrial]] = {}
        self._histories: dict[str, list[dict[str, Any]]] = {}
        self._group_of: dict[str, str] = {}
        for trial in trials:
            self._groups.setdefault(trial.group, []).append(trial)
            self._group_of[trial.trial] = trial.group

    def first(self) -> list[dict[str, Any]]:
        """Return the payload of the first trial of each group that is not finished."""
        found = [self._next(group) for group in self._groups]
        return [payload for payload in found if payload is not None]

    def after(self, result: TrialResult) -> dict[str, Any] | None:
        """Take a result and return the payload of the next trial of its group; None at the end of the group."""
        group = self._group_of[result.trial]
        return self._next(group, self._done.get(result.trial, result))

    def _next(self, group: str, ended: TrialResult | None = None) -> dict[str, Any] | None:
        trials, history = self._groups[group], self._histories.setdefault(group, [])
        if ended is not None:
            history.append(history_line(ended.to_dict(), self._metric))
        while len(history) < len(trials) and trials[len(history)].trial in self._done:
            earlier = self._done[trials[len(history)].trial]
            history.append(history_line(earlier.to_dict(), self._metric))
        if len(history) == len(trials):
            return None
        return {**trials[len(history)].to_dict(), "history": list(history)}
