"""What the Job controller knows of one Job beyond its object."""

from __future__ import annotations

import heapq
from collections import Counter

from airflow_ml.testing.kubernetes.job_indexes import Indexes
from airflow_ml.testing.kubernetes.job_policies import COUNT, FAIL_INDEX, FAIL_JOB, IGNORE, failure_action
from airflow_ml.testing.kubernetes.resources import Object

INDEX = "batch.kubernetes.io/job-completion-index"
#: Ten seconds, doubled with each failure, in a cluster; a hundred times faster here.
BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 0.1, 3.6


class JobRun:
    """Counts of one Job. Each pod that ends costs the same, however many there were before it."""

    def __init__(self, job: Object) -> None:
        metadata, spec = job["metadata"], job["spec"]
        self.key = (metadata["namespace"], metadata["name"])
        self.uid = str(metadata["uid"])
        self.indexed = spec.get("completionMode") == "Indexed"
        self.completions: int | None = spec.get("completions")
        self.per_index: int | None = spec.get("backoffLimitPerIndex")
        #: Pods that have not ended: name -> index (None where the Job is not indexed).
        self.active: dict[str, int | None] = {}
        #: Those of them that run.
        self.ready: set[str] = set()
        self.done, self.failed_indexes = Indexes(), Indexes()
        self.failures: Counter[int] = Counter()
        self.succeeded = self.failed = self.counted_failures = 0
        #: Why the Job must fail: (reason, message).
        self.verdict: tuple[str, str] | None = None
        self._next = 0
        self._again: list[tuple[float, int]] = []  # (not before, index)
        self._not_before = 0.0
        self.suspended = False

    @property
    def wanted(self) -> int:
        """Successes that complete the Job."""
        return 1 if self.completions is None else self.completions

    def pod_ended(self, pod: Object, policy: Object | None, now: float) -> None:
        """Count a pod that succeeded, failed or vanished."""
        name = pod["metadata"]["name"]
        if name not in self.active:
            return
        index = self.active.pop(name)
        self.ready.discard(name)
        if pod["status"].get("phase") == "Succeeded":
            self.succeeded += 1
            if index is not None:
                self.done.add(index)
            return
        self.failed += 1
        if self.suspended:
            self._retry(index, now)
            return
        action, why = failure_action(policy, pod)
        if action == FAIL_JOB:
            self.verdict = self.verdict or ("PodFailurePolicy", why)
        elif action == FAIL_INDEX and index is not None:
            self.failed_indexes.add(index)
        elif action == IGNORE:
            self._retry(index, now)
        else:
            assert action in (COUNT, FAIL_INDEX)
            self._count(index, now)

    def _count(self, index: int | None, now: float) -> None:
        self.counted_failures += 1
        if index is None:
            self._retry(index, now, self.counted_failures)
            return
        self.failures[index] += 1
        if self.per_index is not None and self.failures[index] > self.per_index:
            self.failed_indexes.add(index)
            return
        self._retry(index, now, self.failures[index] if self.per_index is not None else self.counted_failures)

    def _retry(self, index: int | None, now: float, failures: int = 0) -> None:
        wait = 0.0 if failures == 0 else min(BACK_OFF_SECONDS * 2 ** min(failures - 1, 10), LONGEST_BACK_OFF_SECONDS)
        if index is not None:
            heapq.heappush(self._again, (now + wait, index))
        else:
            self._not_before = now + wait

    def next_pods(self, room: int, now: float) -> list[int | None]:
        """Return the indexes to start now, at most ``room``."""
        if not self.indexed:
            if now < self._not_before:
                return []
            left = room if self.completions is None else self.completions - self.succeeded - len(self.active)
            if self.completions is None and self.succeeded:
                left = 0  # a work queue: the first success says that the work is done
            return [None] * max(0, min(room, left))
        found: list[int | None] = []
        while len(found) < room and self._again and self._again[0][0] <= now:
            found.append(heapq.heappop(self._again)[1])
        while len(found) < room and self._next < self.wanted:
            found.append(self._next)
            self._next += 1
        return found

    def not_made(self, index: int | None, now: float) -> None:
        """Take back an index whose pod could not be created."""
        self._retry(index, now, 3)

    def next_time(self) -> float | None:
        """Return when there is something to start again; None where nothing waits."""
        if self.indexed:
            return self._again[0][0] if self._again else None
        return self._not_before if self._not_before else None

    def pod_name(self, index: int | None) -> str:
        """Return the beginning of a pod's name; the API adds five characters."""
        suffix = "-" if index is None else f"-{index}-"
        return f"{self.key[1][: 58 - len(suffix)]}{suffix}"
