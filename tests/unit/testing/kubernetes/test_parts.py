from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.testing.kubernetes.job_indexes import Indexes, read_indexes
from airflow_ml.testing.kubernetes.job_policies import failure_action, success_rule
from airflow_ml.testing.kubernetes.patches import apply_patch
from airflow_ml.testing.kubernetes.quantities import amount
from airflow_ml.testing.kubernetes.resources import ApiError
from airflow_ml.testing.kubernetes.selectors import selector


@given(st.lists(st.integers(0, 300), max_size=120))
def test_indexes_are_written_as_intervals_and_read_again(numbers: list[int]) -> None:
    indexes = Indexes()
    for number in numbers:
        indexes.add(number)
    assert list(read_indexes(str(indexes))) == sorted(set(numbers))
    assert len(indexes) == len(set(numbers))
    parts = [part.split("-") for part in str(indexes).split(",") if part]
    assert all(int(after[0]) > int(before[-1]) + 1 for before, after in itertools.pairwise(parts))


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", 0.5), ("2Gi", 2 * 2**30), ("1e3", 1000), ("3k", 3000), (7, 7), ("0.5", 0.5), ("1Ei", 2**60)],
)
def test_quantities(text: object, value: float) -> None:
    assert amount(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "GB", "1GB"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ApiError):
        amount(text)


@pytest.mark.parametrize(
    ("query", "selected"),
    [
        ("a=1", True),
        ("a==1,b!=1", True),
        ("a in (1,2),b notin (3)", True),
        ("a", True),
        ("!a", False),
        ("!c", True),
        ("a!=1", False),
        ("c notin (1)", True),
    ],
)
def test_label_selectors(query: str, selected: bool) -> None:
    test = selector({"labelSelector": query})
    assert test is not None
    assert test({"metadata": {"labels": {"a": "1", "b": "2"}}}) is selected


def test_field_selectors() -> None:
    item = {"metadata": {"name": "x"}, "status": {"phase": "Failed"}}
    for query, selected in (("status.phase=Failed,metadata.name=x", True), ("status.phase!=Failed", False)):
        test = selector({"fieldSelector": query})
        assert test is not None
        assert test(item) is selected
    assert selector({}) is None


def test_a_strategic_merge_joins_lists_by_their_key_and_a_plain_one_replaces_them() -> None:
    item: dict[str, Any] = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}]}}
    body = {"spec": {"containers": [{"name": "a", "image": "2"}]}}
    strategic = apply_patch(item, body, "application/strategic-merge-patch+json")
    assert strategic["spec"]["containers"] == [{"name": "a", "image": "2"}, {"name": "b"}]
    assert apply_patch(item, body, "application/merge-patch+json") == body
    assert item["spec"]["containers"][0]["image"] == "1"
    with pytest.raises(ApiError):
        apply_patch(item, body, "text/plain")


def failed(code: int, *conditions: str) -> dict[str, Any]:
    status = {"name": "main", "state": {"terminated": {"exitCode": code}}}
    marks = [{"type": name, "status": "True"} for name in conditions]
    return {
        "metadata": {"namespace": "n", "name": "p"},
        "status": {"containerStatuses": [status], "conditions": marks},
    }


def test_the_first_rule_that_matches_decides() -> None:
    policy = {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [64]}},
            {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
        ]
    }
    assert failure_action(policy, failed(64, "DisruptionTarget"))[0] == "Ignore"
    assert failure_action(policy, failed(64))[0] == "FailIndex"
    action, why = failure_action(policy, failed(3))
    assert (action, why) == (
        "FailJob",
        "Container main for pod n/p failed with exit code 3 matching FailJob rule at index 2",
    )
    assert failure_action(policy, failed(1)) == ("Count", "")
    assert failure_action(None, failed(1)) == ("Count", "")


def test_rules_of_success() -> None:
    done = Indexes()
    for index in (0, 2, 3):
        done.add(index)
    assert success_rule({"rules": [{"succeededCount": 4}, {"succeededIndexes": "2-3"}]}, done) == 1
    assert success_rule({"rules": [{"succeededIndexes": "0-1,5", "succeededCount": 2}]}, done) is None
    assert success_rule(None, done) is None
