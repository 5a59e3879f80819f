"""`predict` with a rollout in the warehouse: two versions score one batch, and it is written down who scored what."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import airflow_ml.hooks.store
import airflow_ml.operators.prediction as prediction
from airflow_ml import FeatureView, Label, PredictOperator
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.adapters.warehouse_router import WarehouseRouter
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import Traffic
from airflow_ml.core.variant_sql import assign_row
from airflow_ml.testing.served_models import identity_models, variant
from airflow_ml.testing.warehouse import LocalWarehouse

pytestmark = pytest.mark.integration
VIEW = FeatureView(
    "batch", key="flight_id", predict_at="predict_at", label=Label("late", known_at="landed_at"), inputs=["x"]
)


def test_each_variant_scores_its_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path / "store")
    definition = store.put_bytes(canonical_json(VIEW.to_dict()), format="json").to_dict()

    def served(version: str, shift: float) -> dict[str, Any]:
        made = dict(variant(version, identity_models(store, shift=shift), ["x"]))
        return {**made, "view_digest": VIEW.digest, "view_definition": definition, "data": definition}

    one, two = served("1", 0.0), served("2", 0.1)
    with LocalWarehouse(tmp_path / "warehouse", plain_http=True) as local:
        source = SnowflakeSource(local.connect, source_name="snowflake:test")
        router = WarehouseRouter(source, store)
        traffic = Traffic(
            model="flights",
            epoch=3,
            champion=one,
            challenger=two,
            weight_percent=50.0,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
            salt="s",
        )
        router.write(traffic)
        registry = SimpleNamespace(by_alias=lambda name, alias: SimpleNamespace(name=name, version="1"))
        monkeypatch.setattr(prediction, "MLflowHook", lambda conn_id: SimpleNamespace(registry=lambda: registry))
        monkeypatch.setattr(prediction, "variant_of", lambda registered: one)
        monkeypatch.setattr(prediction, "snapshot_source", lambda conn_id: source)
        monkeypatch.setattr("airflow_ml.operators.features.snapshot_source", lambda conn_id: source)
        monkeypatch.setattr(prediction, "warehouse_router", lambda conn_id, store: router)
        monkeypatch.setattr(airflow_ml.hooks.store, "artifact_store", lambda: store)
        monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
        monkeypatch.setattr(airflow_ml.hooks.store, "namespace", lambda: "prod")
        monkeypatch.setattr(airflow_ml.hooks.store, "work_directory", lambda: None)
        operator = PredictOperator(
            model="flights@champion",
            router_conn_id="snowflake_default",
            unit="tailnum",
            spine=(
                "SELECT 'f' || SEQ4() AS flight_id, 'N' || SEQ4() AS tailnum, 0.5::DOUBLE AS x,"
                " '2013-05-01 06:00:00+00:00'::TIMESTAMP_TZ AS predict_at FROM TABLE(GENERATOR(ROWCOUNT => 40))"
            ),
            into="scores",
            as_of="2013-05-02T00:00:00Z",
        )
        instance = SimpleNamespace(dag_id="d", run_id="r", task_id="predict", map_index=-1)
        table = operator.run({"ti": instance})  # type: ignore[typeddict-item]
        assert (table.rows, table.version) == (40, "1")
        rows = source.run("SELECT KEY, UNIT, ASSIGNED, VERSION, STEP, SCORE FROM AIRFLOW_ML_EXPOSURES", {}, tag={})
        scores = dict(source.run("SELECT FLIGHT_ID, SCORE FROM SCORES", {}, tag={}))
    assert len(rows) == len(scores) == 40
    assert {row[2] for row in rows} == {"champion", "challenger"}
    for key, unit, assigned, version, step, score in rows:
        assert assigned == assign_row("s", unit, 50.0)
        assert (version, step) == ("2" if assigned == "challenger" else "1", "50")
        assert score == scores[key] == pytest.approx(0.6 if assigned == "challenger" else 0.5)
    assert json.dumps(table.to_xcom())
