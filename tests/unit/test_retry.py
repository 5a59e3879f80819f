"""The retry policy: what is tried again, when, with how much memory, and what is said of it."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import RetryAction

from airflow_ml import GpuRetryPolicy
from airflow_ml.core.compute import ComputeProfile, Resources
from airflow_ml.core.failure import job_failed
from airflow_ml.core.failure_table import REASONS
from airflow_ml.core.job import IndexFailure
from airflow_ml.errors import AliasConflict, BackendUnavailable, CallFailed, ConfigurationError, JobFailed
from airflow_ml.retry import attempt_profile

GROWING = ComputeProfile(name="p", resources=Resources(memory_gib=8), max_memory_gib=32)


class States:
    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = value


def failed(*reasons: str, may_grow: bool = False) -> JobFailed:
    failures = [IndexFailure(index=at, reason=one, message=f"m{at}") for at, one in enumerate(reasons)]
    return job_failed(failures, indexes=10, may_grow=may_grow)


def decide(error: BaseException, states: States | None = None, **options: Any) -> Any:
    context: Any = {"task_state_store": states} if states is not None else None
    return GpuRetryPolicy(**options).evaluate(error, 1, 3, context)


@pytest.mark.parametrize("row", REASONS.values(), ids=lambda row: row.name)
def test_each_row_of_the_table(row: Any) -> None:
    decision = decide(failed(row.name))
    assert decision.action is (RetryAction.RETRY if row.retryable else RetryAction.FAIL)
    assert row.name in decision.reason
    assert decision.retry_delay == (timedelta(seconds=60) if row.retryable else None)


def test_out_of_memory_is_tried_once_with_more() -> None:
    states = States()
    assert attempt_profile(GROWING, {"task_state_store": states}) is GROWING
    first = decide(failed("out_of_memory", may_grow=True), states)
    assert first.action is RetryAction.RETRY
    assert first.reason.startswith("again with more memory: out_of_memory")
    assert attempt_profile(GROWING, {"task_state_store": states}).resources.memory_gib == 12
    second = decide(failed("out_of_memory", may_grow=True), states)
    assert second.action is RetryAction.FAIL
    assert states.values["failure"].startswith("more memory did not help: out_of_memory")


def test_memory_grows_also_where_other_indexes_can_succeed_anyway() -> None:
    states = States()
    mixed = failed("out_of_memory", "out_of_memory", "evicted", may_grow=True)
    first = decide(mixed, states)
    assert (first.action, first.retry_delay) == (RetryAction.RETRY, timedelta(seconds=60))
    assert attempt_profile(GROWING, {"task_state_store": states}).resources.memory_gib == 12
    assert decide(mixed, states).action is RetryAction.RETRY  # for those that were evicted
    assert decide(failed("out_of_memory", "evicted"), States()).reason.startswith("out_of_memory, evicted")


def test_out_of_memory_fails_at_once_where_the_profile_may_not_grow() -> None:
    assert decide(failed("out_of_memory")).action is RetryAction.FAIL


def test_one_index_that_can_succeed_is_worth_a_try() -> None:
    decision = decide(failed("user_error", "user_error", "node_lost"))
    assert decision.action is RetryAction.RETRY
    assert decision.reason.startswith("user_error, node_lost: A remote job failed: 3 of 10 indexes (2 user_error, 1 no")


def test_errors_of_the_function() -> None:
    error = CallFailed("train raised", "ValueError: x")
    assert decide(error).action is RetryAction.FAIL
    assert decide(error, user_errors=True).action is RetryAction.RETRY
    assert decide(failed("user_error"), user_errors=True).action is RetryAction.RETRY


def test_other_errors() -> None:
    assert decide(BackendUnavailable("away", "x")).action is RetryAction.RETRY
    assert decide(ConfigurationError("wrong", "x")).action is RetryAction.FAIL
    assert decide(AliasConflict("moved", "x")).action is RetryAction.FAIL
    assert decide(ValueError("x")).action is RetryAction.DEFAULT


def test_the_reason_is_shown_and_fits() -> None:
    states = States()
    decision = decide(BackendUnavailable("away", "x" * 2000), states)
    assert states.values["failure"] == decision.reason
    assert len(decision.reason) <= 500


@pytest.mark.fault("A14")
def test_a_state_store_that_is_away_changes_no_decision() -> None:
    class Away:
        def get(self, key: str) -> Any:
            raise RuntimeError(key)

        def set(self, key: str, value: Any) -> None:
            raise RuntimeError(key)

    context: Any = {"task_state_store": Away()}
    decision = GpuRetryPolicy().evaluate(failed("out_of_memory", may_grow=True), 1, 3, context)
    assert decision.action is RetryAction.RETRY
    assert attempt_profile(GROWING, context) is GROWING


def test_plain_data_and_back() -> None:
    policy = GpuRetryPolicy(delay_seconds=5, user_errors=True)
    assert vars(GpuRetryPolicy.deserialize(policy.serialize())) == vars(policy)


def test_the_error_crosses_processes_with_its_reasons() -> None:
    error = failed("node_lost")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reasons, again.retryable) == (str(error), ("node_lost",), True)
    grows = pickle.loads(pickle.dumps(failed("out_of_memory", may_grow=True)))
    assert (grows.retryable, grows.may_grow) == (True, True)
    assert failed("bad_input").retryable is False
