"""How far a shard is: counts each committed result once, reports every two seconds, and shows where trials fail."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice

from airflow_ml.core.direction import MINIMIZE
from airflow_ml.core.trials import PRUNED, SUCCEEDED, PlannedTrial, TrialResult
from airflow_ml.runtime.job import Progress, ShardJob, ShardOutcome
from airflow_ml.runtime.ledger import Ledger

PROGRESS_SECONDS = 2.0
#: Groups that one message names.
NAMED_GROUPS = 10
#: Kinds of failure whose first traceback is logged: 20,000 trials mostly fail in the same place.
SHOWN_REASONS = 3


class ShardProgress:
    """Counts the results of a shard, and shows where its trials fail.

    Args:
        job: The shard.
        trials: All of its trials.
        ledger: Its committed results, whoever ran them.
        on_progress: Called about every two seconds.
        log: Called with the traceback of the first trial of each kind of failure.
    """

    def __init__(
        self,
        job: ShardJob,
        trials: Sequence[PlannedTrial],
        ledger: Ledger,
        on_progress: Callable[[Progress], None],
        log: Callable[[str], None],
    ) -> None:
        self._job, self._trials, self._ledger, self._on_progress = job, len(trials), ledger, on_progress
        self._began = self._reported_at = time.monotonic()
        self._sign = 1.0 if job.plan.direction == MINIMIZE else -1.0
        self._group_of = {trial.trial: trial.group for trial in trials}
        self._left = Counter(trial.group for trial in trials)
        self._groups, self._groups_done = len(self._left), 0
        self._counted = 0
        self._counts: Counter[str] = Counter()
        self._bests: dict[str, float] = {}
        self._best: tuple[float, str] | None = None
        self._take()
        self._log, self._reasons = log, set[str]()
        #: Trials that this attempt ran, and why it stopped early.
        self.ran = 0
        self.stopped = ""

    def ended(self, result: TrialResult) -> None:
        """Count a trial that this attempt ran, and show where it failed unless that was shown."""
        self.ran += 1
        if result.traceback and result.reason not in self._reasons and len(self._reasons) < SHOWN_REASONS:
            self._reasons.add(result.reason)
            self._log(
                f"[{result.trial} {self._group_of[result.trial]}] {result.status}; later ones alike are not shown"
            )
            for line in result.traceback.splitlines():
                self._log(line)

    def report(self, *, last: bool) -> None:
        """Report how far the shard is, unless that was done within the last two seconds."""
        now = time.monotonic()
        if not last and now - self._reported_at < PROGRESS_SECONDS:
            return
        self._reported_at = now
        ended = self._take()
        finished, seconds = self._counted, now - self._began
        progress = Progress(
            shard=self._job.shard,
            trials=self._trials,
            finished=finished,
            failed=self._failed(),
            pruned=self._counts[PRUNED],
            best=self._best[0] if self._best else None,
            best_group=self._best[1] if self._best else "",
            groups=self._groups,
            groups_done=self._groups_done,
            just_done={group: self._bests.get(group) for group in ended[:NAMED_GROUPS]},
            seconds=seconds,
            eta_seconds=seconds / self.ran * (self._trials - finished) if self.ran else None,
        )
        self._on_progress(progress)

    def outcome(self, workers: int) -> ShardOutcome:
        """Report for the last time and return the outcome of the shard."""
        self.report(last=True)
        return ShardOutcome(
            sweep=self._job.plan.sweep,
            shard=self._job.shard,
            trials=self._trials,
            succeeded=self._counts[SUCCEEDED],
            failed=self._failed(),
            pruned=self._counts[PRUNED],
            stopped=self.stopped,
            ran=self.ran,
            superseded=self._ledger.superseded,
            best=self._best[0] if self._best else None,
            workers=workers,
            seconds=time.monotonic() - self._began,
        )

    def _failed(self) -> int:
        return self._counted - self._counts[SUCCEEDED] - self._counts[PRUNED]

    def _take(self) -> list[str]:
        """Look at the results that were committed since the last time; return the groups that are finished now."""
        ended = []
        for name, result in islice(self._ledger.results.items(), self._counted, None):
            self._counts[result.status] += 1
            group = self._group_of.get(name, "")
            self._remember_best(group, result)
            self._left[group] -= 1
            if self._left[group] == 0:
                ended.append(group)
        self._counted = len(self._ledger.results)
        self._groups_done += len(ended)
        return ended

    def _remember_best(self, group: str, result: TrialResult) -> None:
        value = result.metrics.get(self._job.plan.metric) if result.status == SUCCEEDED else None
        if value is None:
            return
        if group not in self._bests or self._sign * value < self._sign * self._bests[group]:
            self._bests[group] = value
        if self._best is None or self._sign * value < self._sign * self._best[0]:
            self._best = (value, group)
