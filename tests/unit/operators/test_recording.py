"""Every operator writes down what it did, whatever came of it, and never fails by that."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.sdk.log import mask_secret

from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance, index_ref, task_ref
from airflow_ml.errors import JobFailed
from airflow_ml.operators.base import MLOperator
from airflow_ml.runtime.codecs import store_value

RUN = "scheduled__2026-01-01T00:00:00+00:00"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    uri = f"file://{tmp_path}/store"
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", uri)
    return open_store(uri)


class Stage(MLOperator):
    """Does what it is told."""

    template_fields = ("given", "password")

    def __init__(self, *, given: Any = None, password: str = "", answer: Any = None, **kwargs: Any) -> None:
        super().__init__(task_id="stage", **kwargs)
        self.given = given
        self.password = password
        self.answer = answer

    def run(self, context: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def context(task_id: str = "stage", *, run: str = RUN, map_index: int = -1, **more: Any) -> Any:
    instance = SimpleNamespace(dag_id="d", run_id=run, task_id=task_id, map_index=map_index, try_number=1)
    dag_run = SimpleNamespace(
        run_type="manual", triggering_user_name="ada", start_date=datetime(2026, 1, 1, tzinfo=UTC)
    )
    return {"ti": instance, "dag_run": dag_run, "params": {"depth": 3}, **more}


def newest(store: ArtifactStore, task_id: str = "stage", map_index: int = -1) -> Provenance:
    entry = store.latest(task_ref("prod", "d", RUN, task_id, map_index))
    assert entry is not None
    return Provenance.from_dict(entry.value)


def test_a_success_names_its_inputs_and_outputs(store: ArtifactStore) -> None:
    given, made = store.put_bytes(b"in", format="bytes"), store.put_bytes(b"out", format="bytes")
    result = Stage(given={"rows": given.to_dict(), "limit": 5}, answer=made).execute(context())
    found = newest(store)
    assert result == made.to_dict()
    assert [(item.name, item.record, item.digest) for item in found.inputs] == [
        ("given.rows", "Artifact", given.digest)
    ]
    assert [(item.name, item.digest) for item in found.outputs] == [("return", made.digest)]
    assert found.settings["given"] == {"rows": {"record": "Artifact", "digest": given.digest}, "limit": 5}
    assert (found.outcome, found.error, found.operator) == ("succeeded", "", "Stage")
    assert (found.params, found.triggered_by) == ({"depth": 3}, "manual by ada")
    assert found.started_at <= found.ended_at
    listed = store.get_bytes(Artifact(digest=found.environment, format="json", size_bytes=0, uri=""))
    assert b'"pandas"' in listed


def test_a_failure_is_written_and_raised(store: ArtifactStore) -> None:
    with pytest.raises(ValueError, match="no luck"):
        Stage(answer=ValueError("no luck")).execute(context())
    assert (newest(store).outcome, newest(store).error) == ("failed", "ValueError: no luck")
    assert (newest(store).remedy, newest(store).reasons) == ("", ())


def test_a_failure_of_ours_is_written_with_what_helps(store: ArtifactStore) -> None:
    """Also where Airflow's own exception stands before it, so that nothing is tried again."""
    for retryable in (True, False):
        error = JobFailed("It failed", 3, "Raise memory_gib.", reasons=["out_of_memory"], retryable=retryable)
        with pytest.raises(JobFailed if retryable else AirflowFailException):
            Stage(answer=error).execute(context())
        assert (newest(store).remedy, newest(store).reasons) == ("Raise memory_gib.", ("out_of_memory",))


def test_a_run_is_in_the_index_however_many_begin_at_the_same_time(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, append, others = index_ref("prod", "d"), type(store).append, iter(range(30))

    def overtaken(self: ArtifactStore, ref: str, value: Any, *, after: int) -> Any:
        if ref == index and (number := next(others, None)) is not None:
            append(self, ref, {**value, "run": f"other_{number}"}, after=after)
        return append(self, ref, value, after=after)

    monkeypatch.setattr(type(store), "append", overtaken)
    Stage(answer=None).execute(context())
    assert [entry.value["run"] for entry in store.history(index)] == [*(f"other_{n}" for n in range(30)), RUN]


class Gate(MLOperator):
    """Pushes a record beside what it returns, and may fail afterwards."""

    def __init__(self, *, beside: Artifact, answer: Any = None, **kwargs: Any) -> None:
        super().__init__(task_id="stage", **kwargs)
        self.given, self.answer = beside, answer

    def run(self, context: Any) -> Any:
        assert context["pushed"], "the links are there before the work begins"
        self.push_record(context, "report", self.given)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("answer", [None, ValueError("blocked")])
def test_a_record_pushed_beside_is_kept_whatever_comes_of_the_task(store: ArtifactStore, answer: Any) -> None:
    pushed: dict[str, Any] = {}
    report = store.put_bytes(b"{}", format="json")
    told = context(pushed=pushed)
    told["ti"].xcom_push = lambda key, value: pushed.update({key: value})
    operator = Gate(beside=report, answer=answer)
    if answer is None:
        operator.execute(told)
    else:
        with pytest.raises(ValueError, match="blocked"):
            operator.execute(told)
    link = pushed.pop("_link_TaskPageLink")
    assert link.startswith("/plugin/ml/task?dag_id=d&run_id=scheduled__2026-01-01")
    assert pushed == {"report": report.to_dict()}
    assert [(item.name, item.digest, item.value) for item in newest(store).beside] == [
        ("report", report.digest, report.to_dict())
    ]
    assert newest(store).outputs == ()


def test_attempts_are_kept_and_the_run_is_listed_once(store: ArtifactStore) -> None:
    for answer in (1, 2, 3):
        Stage(answer=answer).execute(context())
    Stage(answer=1).execute(context(map_index=2))
    assert len(list(store.history(task_ref("prod", "d", RUN, "stage")))) == 3
    assert newest(store, map_index=2).title == "stage[2]"
    assert [entry.value["run"] for entry in store.history(index_ref("prod", "d"))] == [RUN]


def test_secrets_are_masked(store: ArtifactStore) -> None:
    mask_secret("hunter2-planted")
    operator = Stage(given={"deep": [{"er": {"and": {"deeper": ["x hunter2-planted"]}}}]}, password="plain")
    operator.answer = RuntimeError("cannot log in with hunter2-planted")
    with pytest.raises(RuntimeError):
        operator.execute(context(params={"note": "hunter2-planted"}))
    entry = store.latest(task_ref("prod", "d", RUN, "stage"))
    assert entry is not None
    assert "hunter2" not in str(entry.value)
    assert newest(store).settings["password"] == "***"


def test_a_deferral_is_written_when_it_goes_on(store: ArtifactStore) -> None:
    deferred = TaskDeferred(trigger=None, method_name="finish")  # type: ignore[arg-type]  # nothing triggers it here
    operator = Stage(answer=deferred)
    with pytest.raises(TaskDeferred):
        operator.execute(context())
    assert store.latest(task_ref("prod", "d", RUN, "stage")) is None
    made = store.put_bytes(b"out", format="bytes").to_dict()
    operator.finish = lambda context: made  # type: ignore[attr-defined]
    assert operator.resume_execution("finish", None, context()) == made
    assert newest(store).outputs[0].digest == made["digest"]


def test_no_store_costs_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", "")
    with caplog.at_level(logging.WARNING):
        assert Stage(answer=7).execute(context()) == 7
    assert "provenance could not be stored" in caplog.text


def add(frame: Any, number: int) -> Any:
    return frame + number


def bound_to_its_process() -> str:
    return str(id(_LOCK))


_LOCK = __import__("threading").Lock()


def test_a_function_is_recorded_as_a_call(store: ArtifactStore) -> None:
    frame = store_value(pd.DataFrame({"a": [1, 2]}), store).to_dict()
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        operator: Any = task.ml(seed=5)(add)(frame, number=4).operator
        other: Any = task.ml()(bound_to_its_process)().operator
    returned = operator.execute(context("add"))
    found = newest(store, "add")
    assert found.call is not None
    assert found.call.arguments == {"frame": frame, "number": 4}
    assert found.function is not None
    assert (found.function.qualname, found.seed, found.operator) == ("add", 5, "@task.ml")
    assert found.outputs[0].digest == returned["digest"]
    assert other.execute(context("bound_to_its_process")) == str(id(_LOCK))
    alone = newest(store, "bound_to_its_process")
    assert (alone.call, alone.outcome) == (None, "succeeded")
    assert alone.not_portable.startswith("NotPortable: ")


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("x" * 300_000, "over 262144"),
        ([object()], "No safe way to store"),
        ("hunter3-planted", "holds a secret"),
    ],
)
def test_a_call_that_cannot_be_kept_says_why(store: ArtifactStore, argument: Any, reason: str) -> None:
    mask_secret("hunter3-planted")
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        operator: Any = task.ml()(length)([]).operator
    operator.op_args = [argument]
    assert operator.execute(context("length")) == len(argument)
    found = newest(store, "length")
    assert (found.call, found.outcome, found.returned) == (None, "succeeded", len(argument))
    assert reason in found.not_portable
    assert "hunter3" not in str(found.to_dict())


def length(value: Any) -> int:
    return len(value)
