"""Reports a shard's progress: to the task's log, and now and then to the task state store, for the UI."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from airflow_ml.runtime.job import Progress

log = logging.getLogger(__name__)

#: Key in the task state store; the value is a `Progress` in wire form.
PROGRESS_KEY = "sweep_progress"
#: At least so long between two writes: with 200 shards about 13 a second reach Airflow's database.
STATE_SECONDS = 15.0


class StateStore(Protocol):
    """What is used of ``context["task_state_store"]``."""

    def set(self, key: str, value: Any) -> None:
        """Write a JSON value."""


class ProgressReporter:
    """Logs every progress message, and writes the first, the last and one every 15 seconds to the task state store.

    Args:
        log_line: Writes a line to the log, with arguments as ``logging`` has them.
        store: ``context["task_state_store"]``; None where this Airflow has none.
        clock: Seconds, for tests.
    """

    def __init__(
        self, log_line: Callable[..., None], store: StateStore | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log_line = log_line
        self._store = store
        self._clock = clock
        self._stored_at: float | None = None

    def __call__(self, progress: Progress) -> None:
        """Report a progress message."""
        pruned = f", {progress.pruned} pruned" if progress.pruned else ""
        where = f" in {progress.best_group}" if progress.groups > 1 else ""
        best = "" if progress.best is None else f", best {progress.best:.5g}{where}"
        groups = f", {progress.groups_done} of {progress.groups} groups done" if progress.groups > 1 else ""
        eta = "" if progress.eta_seconds is None else f", {progress.eta_seconds:.0f} s to go"
        self._log_line(
            "%d of %d trials, %d failed%s%s%s%s",
            progress.finished, progress.trials, progress.failed, pruned, best, groups, eta,
        )  # fmt: skip
        if progress.just_done and progress.groups > 1:
            each = (
                f"{name} {'nothing' if value is None else f'{value:.5g}'}" for name, value in progress.just_done.items()
            )
            self._log_line("Best of groups just done: %s", ", ".join(each))
        now = self._clock()
        due = self._stored_at is None or now - self._stored_at >= STATE_SECONDS
        if self._store is not None and (due or progress.finished == progress.trials):
            self._stored_at = now
            try:
                self._store.set(PROGRESS_KEY, cast(Any, progress.to_dict()))
            except Exception as error:  # a failing display must not end the trials
                log.warning("The progress could not be written to the task state store: %s", error)
                self._store = None
