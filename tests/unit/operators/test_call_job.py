"""One function over many inputs as one task, in processes here, in an Indexed Job and in a Batch array."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

sys.path.insert(0, str(Path(__file__).parent))
from test_remote import a_context, aws, batch, cluster, deferred_by, drive, event_of, k8s, places  # noqa: F401

from airflow_ml import CallResults, load, profile, read
from airflow_ml.core.record import Record
from airflow_ml.errors import CallFailed, ConfigurationError
from airflow_ml.hooks import job_backend
from airflow_ml.operators.call_job import CallJobOperator
from airflow_ml.runtime.codecs import store_value

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def square(number: int, folder: str, unlucky: int = -1) -> int:
    from pathlib import Path

    (Path(folder) / f"ran-{number}").open("a").write("x")
    if number == unlucky and not (Path(folder) / "luck").exists():
        raise ValueError("an unlucky number")
    return number * number


def drawn(number: int) -> float:
    import random

    return random.random()


def pair(number: int) -> dict[str, Any]:
    import numpy as np

    return {"number": number, "row": np.arange(number)}


def context(task_id: str = "calls", **more: Any) -> Any:
    made = a_context(task_id, **more)
    made["pushed"] = {}
    made["ti"].xcom_push = lambda key, value: made["pushed"].update({key: value})
    return made


def values(wire: Any) -> list[Any]:
    record = wire if isinstance(wire, Record) else load(wire)
    assert isinstance(record, CallResults)
    return read(record)  # type: ignore[no-any-return]  # the values


def times_run(folder: Path) -> list[int]:
    return [len(path.read_text()) for path in sorted(folder.glob("ran-*"), key=lambda one: int(one.name[4:]))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "seen").mkdir()
    return tmp_path / "seen"


@pytest.fixture
def here(places: Path) -> Iterator[None]:  # noqa: F811
    yield
    job_backend.forget_backends(at_once=True)


def test_values_come_in_the_order_of_the_inputs(here: None, folder: Path) -> None:
    operator = CallJobOperator(python_callable=square, inputs=[3, 1, 2, 1], constants={"folder": str(folder)})
    found = operator.run(context())
    assert isinstance(found, CallResults)
    assert (found.calls, found.succeeded, found.compute, found.function.qualname) == (4, 4, "local", "square")
    assert values(found) == [9, 1, 4, 1]
    assert len(json.dumps(found.to_xcom())) < 2000


def test_a_retry_runs_what_failed_and_a_clear_runs_all(here: None, folder: Path) -> None:
    settings = {"inputs": list(range(4)), "constants": {"folder": str(folder), "unlucky": 2}}
    around = context(max_tries=1)
    with pytest.raises(CallFailed, match=r"1 of 4 calls of square .* an unlucky number"):
        CallJobOperator(python_callable=square, **settings).run(around)
    assert values(around["pushed"]["partial"]) == [0, 1, None, 9]
    (folder / "luck").touch()
    assert values(CallJobOperator(python_callable=square, **settings).run(around)) == [0, 1, 4, 9]
    assert times_run(folder) == [1, 1, 2, 1]
    around["ti"].max_tries = 3
    CallJobOperator(python_callable=square, **settings).run(around)
    assert times_run(folder) == [2, 2, 3, 2]


def waiting(number: int, folder: str) -> int:
    import time
    from pathlib import Path

    (Path(folder) / f"ran-{number}").open("a").write("x")
    if number == 3 and not (Path(folder) / "luck").exists():
        time.sleep(60)
    return number


@pytest.mark.fault("A3")
def test_a_worker_that_is_ended_keeps_what_was_done(here: None, folder: Path) -> None:
    """The supervisor ends a task whose API server was away for too long as it ends any other: by ``on_kill``."""
    import threading
    import time

    settings = {"inputs": list(range(4)), "constants": {"folder": str(folder)}, "compute": "local"}
    around, operator = context(), CallJobOperator(python_callable=waiting, **settings)

    def end() -> None:
        while not (folder / "ran-3").exists():
            time.sleep(0.02)
        time.sleep(0.3)
        operator.on_kill()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(CallFailed, match="Stopped from outside"):
        operator.run(around)
    thread.join()
    (folder / "luck").touch()
    assert values(CallJobOperator(python_callable=waiting, **settings).run(around)) == [0, 1, 2, 3]
    assert times_run(folder)[3] == 2
    assert times_run(folder)[:2] == [1, 1]


def test_enough_successes_are_enough(here: None, folder: Path) -> None:
    constants = {"folder": str(folder), "unlucky": 0}
    operator = CallJobOperator(python_callable=square, completions="4", constants=constants, min_success_fraction=0.75)
    found = operator.run(context())
    assert found.succeeded == 3
    assert values(found) == [None, 1, 4, 9]


def test_each_call_has_its_own_seed_and_the_same_one_again(here: None) -> None:
    first = values(CallJobOperator(python_callable=drawn, completions=5).run(context()))
    assert len(set(first)) == 5
    assert values(CallJobOperator(python_callable=drawn, completions=5).run(context())) == first
    assert values(CallJobOperator(python_callable=drawn, completions=5, seed=1).run(context())) != first


def test_inputs_may_be_an_artifact_or_what_other_calls_returned(here: None, places: Path, folder: Path) -> None:  # noqa: F811
    from airflow_ml.adapters.folder_store import FolderStore

    constants = {"folder": str(folder)}
    stored = store_value(list(range(3)), FolderStore(places.parent / "store")).to_dict()
    first = CallJobOperator(python_callable=square, inputs=stored, constants=constants).run(context())
    again = CallJobOperator(python_callable=square, inputs=first, constants=constants)
    assert values(again.run(context())) == [0, 1, 16]
    assert values(CallJobOperator(python_callable=square, inputs=[], constants=constants).run(context())) == []


def test_large_values_are_artifacts_in_the_table_and_arrive_loaded(here: None) -> None:
    found = values(CallJobOperator(python_callable=pair, completions=3).run(context()))
    assert [one["row"].tolist() for one in found] == [[], [0], [0, 1]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"inputs": [1], "completions": 1}, "both"),
        ({}, "neither"),
        ({"inputs": [1], "constants": {"folders": "x"}}, "cannot be called"),
        ({"inputs": [1], "compute": 3}, "compute is not a profile"),
    ],
)
def test_a_mistake_shows_when_the_file_is_parsed(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        CallJobOperator(python_callable=square, **{"constants": {"folder": "x"}, **settings})


def test_inputs_that_are_no_list_are_refused(here: None) -> None:
    with pytest.raises(ConfigurationError, match="not a list"):
        CallJobOperator(python_callable=drawn, inputs={"a": 1}).run(context())
    with pytest.raises(ConfigurationError, match="completions"):
        CallJobOperator(python_callable=drawn, completions="many").run(context())


def test_a_secret_is_no_input(here: None) -> None:
    with pytest.raises(ConfigurationError, match="A secret is an argument"):
        CallJobOperator(python_callable=pair, inputs=[{"password": "hunter2-and-more"}]).run(context())


@pytest.mark.fault("K9")
def test_an_indexed_job_in_chunks_and_its_retry(k8s: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    settings: dict[str, Any] = {
        "python_callable": square,
        "inputs": list(range(5)),
        "constants": {"folder": str(folder), "unlucky": 3},
        "compute": profile("k8s", calls_per_index=2),
        "task_id": "chunks",
    }
    around = context("chunks", max_tries=2)
    deferral = deferred_by(CallJobOperator(**settings), around)
    event = event_of(deferral)
    [job] = [one for one in k8s.jobs() if one["metadata"]["annotations"]["airflow-ml/task"] == "chunks"]
    assert job["spec"]["completions"] == 3
    with pytest.raises(CallFailed, match="1 of 5 calls"):
        CallJobOperator(**settings).execute_complete(around, event)
    assert "call 3 failed: ValueError: an unlucky number" in capsys.readouterr().out
    (folder / "luck").touch()
    operator = CallJobOperator(**settings)
    assert values(drive(operator, around)) == [0, 1, 4, 9, 16]
    assert times_run(folder) == [1, 1, 1, 2, 1]
    assert values(drive(CallJobOperator(**settings), around)) == [0, 1, 4, 9, 16]  # a retry after the end


@pytest.mark.long
@pytest.mark.fault("K9")
def test_a_batch_array(batch: Any, folder: Path) -> None:  # noqa: F811
    operator = CallJobOperator(
        python_callable=square, inputs=[1, 2, 3], constants={"folder": str(folder)}, compute="batch"
    )
    assert values(drive(operator, context())) == [1, 4, 9]


@pytest.mark.long
def test_a_pod_that_dies_without_results_is_told_with_what_there_is(k8s: Any, folder: Path) -> None:  # noqa: F811
    k8s.faults.disrupt_pods("oom", name="*-1-*", times=1, after_seconds=0.0)
    settings: dict[str, Any] = {
        "python_callable": square, "inputs": [1, 2], "constants": {"folder": str(folder)}, "compute": "k8s",
        "task_id": "dies",
    }  # fmt: skip
    around = context("dies")
    with pytest.raises(AirflowFailException, match="out_of_memory"):
        drive(CallJobOperator(**settings), around)
    assert [value for value in values(around["pushed"]["partial"]) if value is None] == [None]
    enough = context("dies-enough")
    k8s.faults.disrupt_pods("oom", name="*-1-*", times=1, after_seconds=0.0)
    found = drive(CallJobOperator(**{**settings, "min_success_fraction": 0.5}), enough)
    assert values(found)[0] == 1
