"""A retry policy for tasks that run elsewhere: tries again only what can succeed, and says why."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_ml.core.compute import ComputeProfile, grown
from airflow_ml.core.failure_table import REASONS
from airflow_ml.errors import AirflowMLError, CallFailed, CallTimedOut, JobFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

_LOG = logging.getLogger(__name__)
#: Keys in the task state store, which the UI shows beside the task.
FAILURE_KEY, GROWTH_KEY = "failure", "memory_growth"
#: Airflow keeps so much of a reason.
_REASON_LENGTH = 500


class GpuRetryPolicy(RetryPolicy):
    """Retry what a disruption ended, and what ran out of memory if it may have more; fail at once on all else.

    For ``@task.ml``, ``@task.sweep`` and operators with ``compute=``: ``retries=3, retry_policy=GpuRetryPolicy()``.

    - Evicted, preempted, a lost node, the store or cluster away: again, after ``delay_seconds``.
    - Out of memory: once more at once, with half as much memory again, where the profile has ``max_memory_gib``.
    - The function raised, timed out, its image cannot be pulled, no node takes it: the task fails, whatever its
      ``retries``: the same would happen again. Set ``user_errors=True`` where a function's errors pass by themselves.
    - Errors that are not airflow-ml's: as the task's own ``retries`` say.

    The reason stands in the log, in Airflow's record of the retry, and in the task's state under ``failure``.

    Args:
        delay_seconds: Between the end of a disrupted try and the next one. Default 60: a node is away for longer than
            a process.
        user_errors: Retry what the user's function raised, too. Default False.
    """

    def __init__(self, *, delay_seconds: float = 60.0, user_errors: bool = False) -> None:
        self.delay_seconds = delay_seconds
        self.user_errors = user_errors

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide for an error; Airflow calls this in the worker."""
        if not isinstance(exception, AirflowMLError):
            return RetryDecision.default()
        decision = self._decide(exception, context)
        _remember(context, FAILURE_KEY, decision.reason)
        return decision

    def _decide(self, error: AirflowMLError, context: Context | None) -> RetryDecision:
        reasons = error.reasons if isinstance(error, JobFailed) else ()
        said = " ".join(f"{', '.join(reasons) or type(error).__name__}: {error}".split())[:_REASON_LENGTH]
        passing = any(REASONS[name].retryable for name in reasons)
        delay = timedelta(seconds=self.delay_seconds if passing else 0.0)
        grows = isinstance(error, JobFailed) and error.may_grow and "out_of_memory" in reasons
        if grows and not _read(context, GROWTH_KEY):
            _remember(context, GROWTH_KEY, True)
            return RetryDecision.retry(delay, f"again with more memory: {said}"[:_REASON_LENGTH])
        if passing:
            return RetryDecision.retry(delay, said)
        if grows:
            return RetryDecision.fail(f"more memory did not help: {said}"[:_REASON_LENGTH])
        if isinstance(error, CallFailed | CallTimedOut) or "user_error" in reasons:
            return RetryDecision.retry(reason=said) if self.user_errors else RetryDecision.fail(said)
        if reasons or not error.retryable:
            return RetryDecision.fail(said)
        return RetryDecision.retry(timedelta(seconds=self.delay_seconds), said)

    def serialize(self) -> dict[str, Any]:
        """Return the policy as plain data."""
        return {"__type": type(self).__name__, "delay_seconds": self.delay_seconds, "user_errors": self.user_errors}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> GpuRetryPolicy:
        """Return the policy of plain data."""
        return cls(delay_seconds=data["delay_seconds"], user_errors=data["user_errors"])


def attempt_profile(profile: ComputeProfile, context: Mapping[str, Any]) -> ComputeProfile:
    """Return the profile of this try: with more memory, if the policy decided so after the last one.

    Args:
        profile: As the deployment and the task say it.
        context: Of the task.
    """
    bigger = grown(profile) if _read(context, GROWTH_KEY) else None
    if bigger is None:
        return profile
    has, gets = profile.resources.memory_gib, bigger.resources.memory_gib
    _LOG.info("This try has %g GiB of memory, the one before had %g and ran out of it", gets, has)
    return bigger


def _read(context: Any, key: str) -> Any:
    store = (context or {}).get("task_state_store")
    try:
        return store.get(key) if store is not None else None
    except Exception as error:  # Airflow's API is away: the policy decides with what it knows
        _LOG.warning("The task state store cannot be read: %s", error)
        return None


def _remember(context: Any, key: str, value: Any) -> None:
    store = (context or {}).get("task_state_store")
    try:
        if store is not None:
            store.set(key, value)
    except Exception as error:  # a decision that is not shown is still one
        _LOG.warning("The task state store cannot be written: %s", error)
