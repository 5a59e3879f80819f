"""Requests to AWS Batch: what each option becomes, and that AWS' own model accepts every one of them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.core import far_side
from airflow_ml.core.batch_request import batch_requests
from airflow_ml.errors import ConfigurationError

from .compute_cases import array, cluster, request


def variables(made: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in made["containerOverrides"]["environment"]}


def test_one_array() -> None:
    asked = request(array(cpus=4, memory_gib=16, gpus=1, timeout_seconds=3600, retries=2), calls=200)
    (made,) = batch_requests(asked)
    overrides: Any = made["containerOverrides"]
    assert made["arrayProperties"] == {"size": 200}
    assert overrides["command"] == ["python3", "-c", far_side.BOOTSTRAP]
    assert overrides["resourceRequirements"] == [
        {"type": "VCPU", "value": "4"},
        {"type": "MEMORY", "value": "16384"},
        {"type": "GPU", "value": "1"},
    ]
    assert made["timeout"] == {"attemptDurationSeconds": 3600}
    assert far_side.environment(asked).items() <= variables(made).items()


def test_spot_loss_is_tried_again_and_what_cannot_succeed_is_not() -> None:
    (made,) = batch_requests(request(array(retries=4)))
    strategy: Any = made["retryStrategy"]
    assert strategy["attempts"] == 5
    assert strategy["evaluateOnExit"][0] == {"onStatusReason": "Host EC2*", "action": "RETRY"}
    assert {"onExitCode": "64", "action": "EXIT"} in strategy["evaluateOnExit"]
    assert {"onReason": "OutOfMemoryError*", "action": "EXIT"} in strategy["evaluateOnExit"]
    assert len(strategy["evaluateOnExit"]) <= 5


@pytest.mark.parametrize(
    ("calls", "sizes"),
    [(1, [None]), (2, [2]), (10_000, [10_000]), (10_001, [10_000, None]), (25_000, [10_000, 10_000, 5_000])],
)
def test_arrays_are_split_and_each_knows_its_first_index(calls: int, sizes: list[int | None]) -> None:
    made = batch_requests(request(array(), calls=calls))
    assert [(one.get("arrayProperties") or {}).get("size") for one in made] == sizes  # type: ignore[union-attr]
    assert len({one["jobName"] for one in made}) == len(made)
    assert [int(variables(one).get(far_side.FIRST_INDEX, "0")) for one in made] == [
        number * 10_000 for number in range(len(made))
    ]


def test_shares_priorities_and_tags() -> None:
    profile = array({"share_identifier": "research", "scheduling_priority": 7, "tags": {"cost": "ml"}})
    (made,) = batch_requests(request(profile, owner={"dag": "prévision <x>", "task": "t"}))
    assert made["shareIdentifier"] == "research"
    assert made["schedulingPriorityOverride"] == 7
    tags: Any = made["tags"]
    assert tags["cost"] == "ml"
    assert tags["airflow-ml:dag"] == "prévision _x_"


def test_a_short_timeout_is_what_batch_can_do() -> None:
    (made,) = batch_requests(request(array(timeout_seconds=5)))
    assert made["timeout"] == {"attemptDurationSeconds": 60}


def test_a_profile_of_another_kind() -> None:
    with pytest.raises(ConfigurationError, match="Profile 'gpu' is not for Batch: kubernetes"):
        batch_requests(request(cluster()))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 60_000),
    st.fixed_dictionaries(
        {},
        optional={
            "cpus": st.floats(0.25, 192).map(lambda value: round(value, 2)),
            "memory_gib": st.floats(0.5, 2000),
            "gpus": st.integers(0, 8),
            "timeout_seconds": st.none() | st.floats(1, 1e6),
            "retries": st.integers(0, 9),
            "calls_per_index": st.integers(1, 500),
        },
    ),
    st.text(min_size=1, max_size=250),
)
def test_the_model_of_aws_accepts_every_request(calls: int, table: dict[str, Any], dag: str) -> None:
    import botocore.session
    from botocore.validate import validate_parameters

    shape = _shape(botocore.session)
    asked = request(array(**table), calls=calls, owner={"dag": dag, "task": "t"})
    made = batch_requests(asked)
    for one in made:
        validate_parameters(one, shape)
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", str(one["jobName"]))
        assert 1 <= one["retryStrategy"]["attempts"] <= 10  # type: ignore[index, call-overload, operator]
        assert 2 <= (one.get("arrayProperties") or {"size": 2})["size"] <= 10_000  # type: ignore[index, call-overload, operator]
        assert len(one["tags"]) <= 50  # type: ignore[arg-type]
        assert all(len(value) <= 256 for value in one["tags"].values())  # type: ignore[union-attr, arg-type]
    assert sum((one.get("arrayProperties") or {"size": 1})["size"] for one in made) == asked.indexes  # type: ignore[index, call-overload, misc]


_FOUND: dict[str, Any] = {}


def _shape(session: Any) -> Any:
    if not _FOUND:
        _FOUND["shape"] = session.get_session().get_service_model("batch").operation_model("SubmitJob").input_shape
    return _FOUND["shape"]
