"""The results of one shard in the store: committed in batches, and of two commits of one trial the first counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Any

from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.trials import FAILED, TrialResult
from airflow_ml.errors import RefConflict, StoreUnavailable

#: A batch is committed when it holds so many trials, when its oldest trial ended so long ago, or with a trial that
#: itself took so long.
BATCH_TRIALS = 50
#: A batch with so much of reports, tracebacks and notes is committed, too: the store refuses entries over 1 MiB.
BATCH_BYTES = 256 * 1024
#: Beyond it a result is not written down: an entry has 1 MiB, with the words around the result.
LARGEST_RESULT_BYTES = 1000 * 1024
LOCAL_BATCH_SECONDS, REMOTE_BATCH_SECONDS = 0.05, 2.0
#: How long results wait for a store that is away while trials go on, and how often it is asked meanwhile.
PATIENCE_SECONDS, AGAIN_SECONDS = 600.0, 5.0


class Ledger:
    """The committed results of one shard; the first commit of a trial wins.

    Args:
        store: Where they are.
        ref: The shard's ref.
        batch_seconds: How far behind a commit may be. While the store is away results wait up to ten minutes.
        log: Told when the store is away, and when it is there again.
    """

    def __init__(
        self,
        store: ArtifactStore,
        ref: str,
        *,
        batch_seconds: float,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._log = log
        self._away_since: float | None = None
        self._try_at = 0.0
        self._store = store
        self._ref = ref
        self._batch_seconds = batch_seconds
        self._sequence = 0
        self._pending: list[TrialResult] = []
        self._waiting: set[str] = set()
        self._pending_bytes = 0
        self._oldest = 0.0
        self.results: dict[str, TrialResult] = {}
        self.superseded = 0
        self.read()

    def read(self) -> list[str]:
        """Read what others have committed since, and return those trials."""
        new: list[str] = []
        known = self._sequence
        unread = list(takewhile(lambda one: one.sequence > known, self._store.history(self._ref, newest_first=True)))
        for entry in reversed(unread):
            self._sequence = entry.sequence
            for result in results_of(entry.value):
                if self.results.setdefault(result.trial, result) is result:
                    new.append(result.trial)
        return new

    def add(self, result: TrialResult) -> list[str]:
        """Take a finished trial; it counts once it is committed. Returns trials that others have finished since."""
        if result.trial in self.results or result.trial in self._waiting:
            # It was in flight here when somebody else's commit was read, or it is told a second time.
            self.superseded += 1
            return []
        if not self._pending:
            self._oldest = time.monotonic()
        self._pending.append(result)
        self._waiting.add(result.trial)
        self._pending_bytes += _rough_bytes(result)
        # A long trial is committed before its worker begins another: a crash then costs what is in flight, no more.
        full = len(self._pending) >= BATCH_TRIALS or self._pending_bytes >= BATCH_BYTES
        full = full or result.seconds >= self._batch_seconds
        return self._commit() if full else []

    def tick(self) -> list[str]:
        """Commit if it is time."""
        due = self._pending and time.monotonic() - self._oldest >= self._batch_seconds
        return self._commit() if due else []

    def finish(self) -> None:
        """Commit everything; wait for a store that is away.

        Raises:
            StoreUnavailable: it is away for too long.
        """
        while self._pending:
            self._commit()
            if self._pending:
                time.sleep(max(0.0, self._try_at - time.monotonic()))

    def _commit(self) -> list[str]:
        """Commit everything, unless the store is away for a while: then it waits, and trials go on.

        Raises:
            StoreUnavailable: it is away for too long.
        """
        if time.monotonic() < self._try_at:
            return []
        try:
            others = self.flush()
        except StoreUnavailable as error:
            now = time.monotonic()
            if self._away_since is None:
                self._away_since = now
                self._log(f"Results wait for the store, up to {PATIENCE_SECONDS / 60:.0f} minutes: {error}")
            if now - self._away_since > PATIENCE_SECONDS:
                raise
            self._try_at = now + AGAIN_SECONDS
            return []
        if self._away_since is not None:
            self._away_since = None
            self._log("The store is there again, and has all results")
        return others

    def flush(self) -> list[str]:
        """Commit everything that is finished, now. Returns trials that others have finished since.

        Raises:
            StoreUnavailable: the store is away; what is not committed is kept.
        """
        others: list[str] = []
        together = len(self._pending)
        while self._pending:
            some = self._pending[:together]
            batch: list[JSON] = [result.to_dict() for result in some]
            try:
                self._sequence = self._store.append(self._ref, {"trials": batch}, after=self._sequence).sequence
            except (TypeError, ValueError) as error:
                if len(some) > 1:
                    together = len(some) // 2  # one of them, or all of them together, are too much
                else:
                    self._pending[0] = _without_content(some[0], error)
                continue
            except RefConflict:
                others += self.read()
                late = [result for result in self._pending if result.trial in self.results]
                self.superseded += len(late)
                self._pending = [result for result in self._pending if result.trial not in self.results]
                continue
            self.results.update({result.trial: result for result in some})
            self._pending = self._pending[len(some) :]
        self._pending_bytes = 0
        self._waiting.clear()
        return others

    def stop(self, reason: str) -> None:
        """Commit everything, and that the others were not begun. That is not a result: another attempt runs them."""
        self.finish()
        while True:
            try:
                value: dict[str, JSON] = {"trials": [], "stopped": reason}
                self._sequence = self._store.append(self._ref, value, after=self._sequence).sequence
                return
            except RefConflict:
                self.read()


def _can_be_written(result: TrialResult) -> bool:
    try:
        return len(canonical_json(result.to_dict())) < LARGEST_RESULT_BYTES
    except (TypeError, ValueError):
        return False


def _without_content(result: TrialResult, error: Exception) -> TrialResult:
    """Return the failure of a trial whose result cannot be written down, so that it harms no other one.

    Raises:
        Exception: the error, where it does not lie in the result.
    """
    if _can_be_written(result):
        raise error
    why = " ".join(f"{type(error).__name__}: {error}".split()).encode("utf-8", "replace").decode()[:300]
    reason = f"its result cannot be committed: {why}"
    return TrialResult(trial=result.trial, status=FAILED, reason=reason, seconds=result.seconds)


def _rough_bytes(result: TrialResult) -> int:
    """Return about how long a result is in the store; cheap, since every trial is asked."""
    fixed = 512 + 48 * (len(result.reports) + len(result.metrics)) + len(result.traceback) + len(result.reason)
    return fixed + (len(repr(result.notes)) if result.notes else 0)


def results_of(value: Any) -> Iterable[TrialResult]:
    """Yield the results in one entry of a shard's ref."""
    return (TrialResult.from_dict(item) for item in value["trials"])
