"""Groups whose trials run batch after batch: each is given what those of the batches before came to.

So the choices are a function of the sweep's seed and of committed results alone, whichever trial of a batch ends first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_ml.core.trials import PlannedTrial, TrialResult
from airflow_ml.runtime.study import history_line


class Sequences:
    """The trials of a shard, by group.

    Args:
        trials: All of the shard, in order.
        done: Results that are known already, by trial; read again whenever a batch begins, since another runner on the
            same shard may be faster.
        metrics: The sweep's objectives.
        batch_size: Trials of one group that are chosen and run together.
    """

    def __init__(
        self,
        trials: Iterable[PlannedTrial],
        done: Mapping[str, TrialResult],
        *,
        metrics: Sequence[str],
        batch_size: int = 1,
    ) -> None:
        self._done, self._metrics, self._batch_size = done, list(metrics), batch_size
        self._groups: dict[str, list[PlannedTrial]] = {}
        self._group_of: dict[str, str] = {}
        for trial in trials:
            self._groups.setdefault(trial.group, []).append(trial)
            self._group_of[trial.trial] = trial.group
        self._histories: dict[str, list[dict[str, Any]]] = {group: [] for group in self._groups}
        #: Results of the running batch that are not committed yet.
        self._ended: dict[str, TrialResult] = {}
        self._running: dict[str, set[str]] = {group: set() for group in self._groups}

    def first(self) -> list[dict[str, Any]]:
        """Return the payloads of the first batch of each group that is not finished."""
        return [payload for group in self._groups for payload in self._next(group)]

    def after(self, result: TrialResult) -> list[dict[str, Any]]:
        """Take a result and return the payloads that may run now: the next batch of its group, or nothing while the
        batch is running, and at the end of the group."""
        group = self._group_of[result.trial]
        if result.trial not in self._running[group]:
            return []  # told a second time
        self._ended[result.trial] = result
        self._running[group].discard(result.trial)
        return [] if self._running[group] else self._next(group)

    def _next(self, group: str) -> list[dict[str, Any]]:
        trials, history = self._groups[group], self._histories[group]
        while len(history) < len(trials):
            batch = trials[len(history) : len(history) + self._batch_size]
            results = [self._done.get(trial.trial) or self._ended.get(trial.trial) for trial in batch]
            missing = [trial for trial, result in zip(batch, results, strict=True) if result is None]
            if missing:
                self._running[group] = {trial.trial for trial in missing}
                place = {trial.trial: len(history) + index for index, trial in enumerate(batch)}
                return [
                    {**trial.to_dict(), "history": list(history), "position": place[trial.trial]} for trial in missing
                ]
            for trial, result in zip(batch, results, strict=True):
                self._ended.pop(trial.trial, None)
                if result is not None:
                    history.append(history_line(result.to_dict(), self._metrics))
        return []
