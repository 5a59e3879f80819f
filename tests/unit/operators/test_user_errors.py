"""Every mistake a user can make ends in one message: what, the actual value, the remedy; and fails the task at once."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException

import airflow_ml as ml
from airflow_ml.adapters.memory.registry import MemoryRegistry
from airflow_ml.adapters.memory.source import MemorySource
from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import AirflowMLError, ConfigurationError, RegistryUnavailable
from airflow_ml.hooks.mlflow import MLflowHook

AS_OF = datetime(2024, 1, 31, tzinfo=UTC)
VIEW = ml.FeatureView(
    "v", key="id", predict_at="at", label=ml.Label("y", known_at="known_at"), inputs=[ml.Input("x", known_at="x_at")]
)
GOOD_VIEW = ml.FeatureView("v", key="id", predict_at="at", label=ml.Label("y", known_at="known_at"), inputs=["x"])


class Instance:
    dag_id, run_id, task_id, map_index = "dag", "run", "task", -1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context() -> Any:
    return {"ti": Instance(), "dag_run": SimpleNamespace(run_after=AS_OF)}


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemorySource:
    """A warehouse in memory with the table ``rows``: ten days, one row each, ``x`` known an hour too late."""
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    source = MemorySource()
    at = [datetime(2024, 1, day, tzinfo=UTC) for day in range(1, 31)]
    later = [moment.replace(hour=1) for moment in at]
    rows = pa.table(
        {"id": list(range(30)), "at": at, "x": [1.0] * 30, "x_at": later, "y": [0, 1] * 15, "known_at": later}
    )
    pq.write_table(rows, tmp_path / "rows.parquet")
    source.write_table("rows", tmp_path / "rows.parquet", key=["id"], tag={})
    for module in ("snapshot", "feature_building", "batch_scoring", "monitoring"):
        monkeypatch.setattr(f"airflow_ml.operators.{module}.snapshot_source", lambda conn_id: source)
    return source


def taken(**arguments: Any) -> Any:
    return ml.SnapshotDatasetOperator(**{"table": "rows", "task_id": "t", **arguments}).execute(context())


def gated(**arguments: Any) -> Any:
    return ml.GateDatasetOperator(**{"subject": taken(), "task_id": "t", **arguments}).execute(context())


def built(**arguments: Any) -> Any:
    settings = {"view": GOOD_VIEW, "spine": taken(), "split": ml.TimeSplit(validate="5d", test="5d"), **arguments}
    return ml.BuildFeaturesOperator(**settings, task_id="t").execute(context())


def test_what_every_instance_of_a_mapped_task_returns_is_a_list_of_records(warehouse: MemorySource) -> None:
    """One record is never mapped over, since Airflow would map over its keys."""
    with DAG("d", start_date=AS_OF):
        one = ml.SnapshotDatasetOperator(task_id="one", table="rows")

        @task
        def use(rows: Any) -> None: ...

        use.expand(rows=one.output)
    with pytest.raises(AirflowFailException, match="use is mapped over one DatasetSnapshot"):
        one.execute(context())
    of_several = context()
    of_several["ti"].map_index = 0
    assert one.execute(of_several)["record"] == "DatasetSnapshot"


def predicted(model: str, **arguments: Any) -> Any:
    settings = {"spine": "SELECT * FROM rows", "into": "scores", **arguments}
    return ml.PredictOperator(model=model, task_id="t", **settings).execute(context())


CASES: list[tuple[str, Callable[[], Any], str]] = [
    ("missing table", lambda: taken(table="no_such"), r"TableMissing: .*NO_SUCH"),
    ("missing column", lambda: taken(table=None, sql="SELECT nope FROM rows"), r"ColumnMissing: .*nope"),
    (
        "empty table",
        lambda: taken(table=None, sql="SELECT * FROM rows WHERE x > 5"),
        r"EmptyDataset: .*0 of at least 1",
    ),
    ("no select", lambda: taken(table=None, sql="DROP TABLE rows"), r"ConfigurationError: .*SELECT"),
    ("as_of without zone", lambda: taken(as_of="2024-01-31"), r"as_of is not a time: '2024-01-31'"),
    ("bad delay", lambda: taken(delay="two hours"), r"Not a duration: 'two hours'"),
    ("not a record", lambda: gated(subject={"a": 1}, expectations="{}"), r"Expected a DatasetSnapshot"),
    (
        "unknown expectation",
        lambda: gated(expectations=[{"type": "expect_column_values_to_not_be_nul", "kwargs": {"column": "x"}}]),
        r"UnknownExpectation: .*expect_column_values_to_not_be_null",
    ),
    (
        "expectation on a missing column",
        lambda: gated(expectations=[{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nope"}}]),
        r"ColumnMissing: .*nope",
    ),
    ("no expectations", lambda: gated(expectations=[]), r"holds no expectations"),
    ("suite is no JSON", lambda: gated(expectations="not json"), r"neither a list nor a readable JSON suite"),
    ("feature known too late", lambda: built(view=VIEW), r"FeatureKnownTooLate: .*x"),
    ("unknown view", lambda: built(view="w", views=[GOOD_VIEW]), r"No feature view has that name: 'w'. views= holds v"),
    (
        "view on a missing column",
        lambda: built(view=ml.FeatureView("v", key="id", predict_at="at", label=GOOD_VIEW.label, inputs=["nope"])),
        r"ColumnMissing: .*nope",
    ),
    ("empty split", lambda: built(split=ml.TimeSplit(validate="30d", test="30d")), r"EmptyDataset: .*train"),
    ("model without alias", lambda: predicted("churn"), r"Not a model: 'churn'"),
    ("alias to nothing", lambda: predicted("churn@champion"), r"ModelNotFound: .*churn@champion"),
]


@pytest.mark.parametrize(("call", "message"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_message(
    call: Callable[[], Any], message: str, warehouse: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MLflowHook, "registry", lambda self: MemoryRegistry())
    with pytest.raises((AirflowFailException, AirflowMLError), match=message) as caught:
        call()
    cause = caught.value if isinstance(caught.value, AirflowMLError) else caught.value.__cause__
    assert isinstance(cause, AirflowMLError)
    assert cause.remedy.rstrip().endswith((".", ")", "?"))
    assert "Traceback" not in str(caught.value)


def test_missing_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    with pytest.raises(AirflowFailException, match=r"ConnectionMissing: .*'nowhere'.*AIRFLOW_CONN_NOWHERE"):
        taken(snowflake_conn_id="nowhere")


def test_no_store(monkeypatch: pytest.MonkeyPatch, warehouse: MemorySource) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", "")
    with pytest.raises(AirflowFailException, match="AIRFLOW__ML__ARTIFACT_STORE"):
        taken()


def test_registry_down_is_retried(monkeypatch: pytest.MonkeyPatch, warehouse: MemorySource) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", f'{{"conn_type": "mlflow", "host": "http://127.0.0.1:{port}"}}')
    monkeypatch.setattr("airflow_ml.adapters.mlflow_session._FIRST_PAUSE_SECONDS", 0.01)
    with pytest.raises(RegistryUnavailable, match=f"127.0.0.1:{port}"):
        predicted("churn@champion")


def test_blocked_gate_leaves_its_report(warehouse: MemorySource) -> None:
    told = context()
    operator = ml.GateDatasetOperator(
        subject=taken(),
        expectations=[{"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 2}}],
        task_id="t",
    )
    with pytest.raises(AirflowFailException, match="GateBlocked"):
        operator.execute(told)
    assert told["ti"].pushed["report"]["verdict"] == "block"


def test_a_suite_of_many_checks_fits_into_its_report(warehouse: MemorySource) -> None:
    rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "max_value": 9}, "severity": "info"}
    broken = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 5}}
    suite = [{**rule, "kwargs": {**rule["kwargs"], "min_value": -number}} for number in range(60)]  # type: ignore[dict-item]
    told = context()
    operator = ml.GateDatasetOperator(
        subject=taken(), expectations=[*suite, {**broken, "severity": "warning"}], task_id="t"
    )
    assert operator.execute(told)["rows"] == 30
    report = told["ti"].pushed["report"]
    assert (report["checks_run"], report["checks_failed"], report["verdict"]) == (61, 1, "warn")
    assert report["checks"][0]["passed"] is False, "what failed comes first"
    assert len(json.dumps(report)) < 4096
    everything = json.loads(operator.store().get_bytes(Artifact.from_dict(report["report"])))
    assert len(everything["results"]) == 61


def test_a_wide_table_fits_into_its_record(warehouse: MemorySource, tmp_path: Path) -> None:
    columns = [f"a_rather_long_column_name_{number:04d}" for number in range(1000)]
    pq.write_table(pa.table({"id": [1], **{name: [0.5] for name in columns}}), tmp_path / "wide.parquet")
    warehouse.write_table("wide", tmp_path / "wide.parquet", key=["id"], tag={})
    snapshot = taken(table="wide")
    assert len(json.dumps(snapshot)) < 4096
    path = open_store(f"file://{tmp_path}/store").path(Artifact.from_dict(snapshot["artifact"]))
    assert set(columns) < set(pq.read_schema(path).names)


def test_a_version_is_never_registered_as_the_champion() -> None:
    with pytest.raises(ConfigurationError, match="canary"):
        ml.RegisterModelOperator(selection={}, name="churn", alias="champion")


def test_good_input_passes(warehouse: MemorySource) -> None:
    features = built()
    assert features["record"] == "FeatureSet"
    # Back from 31 January: 26 to 30 test, 21 to 25 validate, 1 to 20 train; each label is known an hour later.
    assert features["split_rows"] == {"train": 20, "validate": 5, "test": 5}
    assert "columns" not in features["artifact"]
    assert "columns" not in features["spine"]
