"""A registration with planted passwords: XCom, store, MLflow's database and files, links and logs hold none of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import airflow_ml as ml
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.selection import Selection
from airflow_ml.errors import AirflowMLError
from airflow_ml.hooks import warehouse
from airflow_ml.links import ModelVersionLink
from airflow_ml.testing.feature_sets import FEATURES, flights, store_feature_set
from airflow_ml.testing.mlflow_server import MLflowServer
from airflow_ml.testing.served_models import store_models

PASSWORD = "planted-mlflow-password"
DIGEST = "sha256:" + "1" * 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    with MLflowServer(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


def selection(store: FolderStore) -> Selection:
    from sklearn.dummy import DummyClassifier

    frame = flights(200)
    features = store_feature_set(store, frame)
    numbers = [name for name in FEATURES if name != "carrier"]
    model = DummyClassifier().fit(frame[numbers].astype("float64"), frame["late"])
    return Selection(
        sweep=DIGEST,
        metric="brier",
        direction="minimize",
        value=0.2,
        reason="the only one",
        models=store_models(store, model, numbers),
        leaderboard=store.put_bytes(b"rows", format="parquet"),
        refit="train",
        groups=1,
        data=features.to_dict(),
        code_digest=DIGEST,
    )


def holds(folder: Path, secret: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files, f"{folder} is empty, so nothing is shown"
    return [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.long  # an MLflow server and a model: 40 s
@pytest.mark.integration
def test_a_registration(
    server: MLflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = FolderStore(tmp_path / "store")
    connection = {"conn_type": "mlflow", "host": "127.0.0.1", "port": server.port, "login": "ann", "password": PASSWORD}
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
    operator = ml.RegisterModelOperator(selection=selection(store).to_dict(), name="churn", task_id="t")
    pushed: dict[str, Any] = {}
    events: Any = defaultdict(SimpleNamespace)
    instance = SimpleNamespace(
        dag_id="d",
        run_id="r",
        task_id="t",
        map_index=-1,
        try_number=1,
        xcom_push=lambda key, value: pushed.update({key: value}),
    )
    returned = operator.execute({"ti": instance, "outlet_events": events})  # type: ignore[arg-type]
    again = operator.execute({"ti": instance, "outlet_events": events})  # type: ignore[arg-type]
    assert (returned["version"], again["version"]) == ("1", "1"), "the task again makes no second version"
    link = ModelVersionLink().get_link(operator, ti_key=None)  # type: ignore[arg-type]
    assert link.startswith(f"http://127.0.0.1:{server.port}/")
    told = json.dumps([returned, pushed, link, [vars(event) for event in events.values()]])
    assert (server.directory / "mlflow.db").exists()
    assert PASSWORD not in told
    assert PASSWORD not in "".join(capfd.readouterr())
    assert holds(store_folder := tmp_path / "store", PASSWORD) == [], store_folder
    assert holds(server.directory, PASSWORD) == []


def test_a_warehouse_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The connector's own message names the address; never the password."""
    extra = {"account": "a", "host": "127.0.0.1", "port": 9, "protocol": "http"}
    connection = {"conn_type": "snowflake", "login": "ann", "password": "planted-snowflake", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_SNOWFLAKE_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(warehouse, "LOGIN_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(warehouse, "NETWORK_TIMEOUT_SECONDS", 1)
    context: Any = {
        "ti": SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1),
        "dag_run": SimpleNamespace(run_after=None),
    }
    operator = ml.SnapshotDatasetOperator(table="flights", as_of="2024-01-01T00:00:00Z", task_id="t")
    with pytest.raises(AirflowMLError, match="Connecting to snowflake:snowflake_default") as caught:
        operator.execute(context)
    assert "planted-snowflake" not in f"{caught.value}{caught.value.__cause__!r}{''.join(capfd.readouterr())}"
