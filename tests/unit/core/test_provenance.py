"""Refs that any run id fits into, and records found wherever they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.artifact import Artifact, check_ref
from airflow_ml.core.provenance import (
    VALUE_BYTES,
    Provenance,
    bounded,
    find_handles,
    index_ref,
    record_digest,
    run_ref,
    task_ref,
    without_records,
)
from airflow_ml.errors import InvalidKey

NAMES = st.text(min_size=1, max_size=250)
DIGEST = "sha256:" + "a" * 64


def artifact(digit: str = "a") -> Artifact:
    return Artifact(digest="sha256:" + digit * 64, format="bytes", size_bytes=1, uri="file:///somewhere")


@given(NAMES, NAMES, NAMES, NAMES, st.integers(min_value=-1, max_value=5000))
def test_every_name_has_a_ref(namespace: str, dag: str, run: str, task: str, map_index: int) -> None:
    ref = task_ref(namespace, dag, run, task, map_index)
    assert check_ref(ref) == ref
    assert ref.startswith(run_ref(namespace, dag, run) + "/")
    assert check_ref(index_ref(namespace, dag))


def test_different_tasks_have_different_refs() -> None:
    run = "manual__2026-01-01T00:00:00+00:00"
    names = [("a", -1), ("a", 3), ("a.3", -1), ("a@3", -1), ("A", -1), ("_a", -1), ("a.", -1)]
    refs = {task_ref("prod", "d", run, task, index) for task, index in names}
    assert len(refs) == len(names)
    assert run_ref("prod", "d", run) != run_ref("prod", "d", run.replace("+", "-"))
    with pytest.raises(InvalidKey):
        task_ref("prod", "", run, "a")


def test_records_are_found_wherever_they_are() -> None:
    outer = {"record": "Unheard", "schema": 9, "inner": [artifact().to_dict()], "n": 1}
    handles = list(find_handles("x", {"a": [1, artifact("b")], "b": {"c": outer}, "d": "text"}))
    assert [(item.name, item.record) for item in handles] == [("x.a.1", "Artifact"), ("x.b.c", "Unheard")]
    assert handles[0].digest == "sha256:" + "b" * 64
    assert handles[1].contains == {"inner.0": DIGEST}
    assert handles[1].digest == record_digest(outer) != DIGEST


def test_settings_name_records_by_digest() -> None:
    value = without_records({"data": artifact(), "list": (1, None, datetime(2026, 1, 1, tzinfo=UTC))})
    assert value == {"data": {"record": "Artifact", "digest": DIGEST}, "list": [1, None, "2026-01-01 00:00:00+00:00"]}


def test_a_large_value_is_kept_as_its_digest() -> None:
    assert bounded({"a": 1}) == {"a": 1}
    found: Any = bounded("x" * VALUE_BYTES)
    assert found["bytes"] == VALUE_BYTES + 2
    assert bounded("x" * VALUE_BYTES) == found != bounded("y" * VALUE_BYTES)


def test_it_survives_the_wire() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    record = Provenance(
        dag="d", run="r", task="t", map_index=4, namespace="prod", operator="x", airflow_ml="0", python="3",
        platform="p", cpu="c", cpus=2, environment=DIGEST, started_at=now, ended_at=now, outcome="succeeded",
        inputs=tuple(find_handles("x", artifact())), returned={"a": [1]},
    )  # fmt: skip
    assert Provenance.from_dict(record.to_dict()) == record
    assert (record.title, record.seconds) == ("t[4]", 0.0)
