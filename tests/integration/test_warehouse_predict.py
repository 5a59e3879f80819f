"""`predict` with a rollout in the warehouse: two versions score one batch, and it is written down who scored what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import airflow_ml.hooks.store
import airflow_ml.operators.batch_scoring as scoring
from airflow_ml import FeatureView, Label, PredictOperator
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.adapters.warehouse_router import WarehouseRouter
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import Traffic
from airflow_ml.core.variant_sql import assign_row
from airflow_ml.testing.served_models import identity_models, variant

pytestmark = pytest.mark.integration
VIEW = FeatureView(
    "batch", key="flight_id", predict_at="predict_at", label=Label("late", known_at="landed_at"), inputs=["x"]
)


class Batch:
    """`predict` over 40 rows of a real warehouse, with whatever division a test writes."""

    def __init__(self, source: SnowflakeSource, store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
        definition = store.put_bytes(canonical_json(VIEW.to_dict()), format="json").to_dict()

        def served(version: str, shift: float) -> dict[str, Any]:
            made = dict(variant(version, identity_models(store, shift=shift), ["x"]))
            return {**made, "view_digest": VIEW.digest, "view_definition": definition, "data": definition}

        self.source = source
        self.versions = [served("1", 0.0), served("2", 0.1), served("3", 0.2)]
        self.router = WarehouseRouter(source, store)
        registry = SimpleNamespace(by_alias=lambda name, alias: SimpleNamespace(name=name, version="1"))
        monkeypatch.setattr(scoring, "MLflowHook", lambda conn_id: SimpleNamespace(registry=lambda: registry))
        monkeypatch.setattr(scoring, "variant_of", lambda registered: self.versions[0])
        monkeypatch.setattr(scoring, "snapshot_source", lambda conn_id: source)
        monkeypatch.setattr("airflow_ml.operators.feature_building.snapshot_source", lambda conn_id: source)
        monkeypatch.setattr(scoring, "warehouse_router", lambda conn_id, store: self.router)
        monkeypatch.setattr(airflow_ml.hooks.store, "artifact_store", lambda: store)
        monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
        monkeypatch.setattr(airflow_ml.hooks.store, "namespace", lambda: "prod")
        monkeypatch.setattr(airflow_ml.hooks.store, "work_directory", lambda: None)

    def divide(self, epoch: int, weight_percent: float, **changes: Any) -> Traffic:
        traffic = Traffic(
            model="flights",
            epoch=epoch,
            champion=self.versions[0],
            challenger=self.versions[1],
            weight_percent=weight_percent,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
            salt="s",
        )
        traffic = replace(traffic, **changes)
        self.router.write(traffic)
        return traffic

    def score(self, prefix: str) -> tuple[Any, dict[str, float]]:
        """Score 40 rows; return the table and the scores that were written."""
        operator = PredictOperator(
            model="flights@champion",
            router_conn_id="snowflake_default",
            unit="tailnum",
            spine=(
                f"SELECT '{prefix}' || SEQ4() AS flight_id, 'N' || SEQ4() AS tailnum, 0.5::DOUBLE AS x,"
                " '2013-05-01 06:00:00+00:00'::TIMESTAMP_TZ AS predict_at FROM TABLE(GENERATOR(ROWCOUNT => 40))"
            ),
            into="scores",
            as_of="2013-05-02T00:00:00Z",
        )
        instance = SimpleNamespace(dag_id="d", run_id="r", task_id="predict", map_index=-1)
        table = operator.run({"ti": instance})  # type: ignore[typeddict-item]
        rows = self.source.run("SELECT FLIGHT_ID, SCORE FROM SCORES", {}, tag={})
        return table, {key: score for key, score in rows if key.startswith(prefix)}


@pytest.fixture
def batch(warehouse: SnowflakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Batch]:
    yield Batch(warehouse, FolderStore(tmp_path / "store"), monkeypatch)
    for table in ("AIRFLOW_ML_TRAFFIC", "AIRFLOW_ML_EXPOSURES", "AIRFLOW_ML_SHADOW_SCORES", "SCORES"):
        warehouse.run(f"DROP TABLE IF EXISTS {table}", {}, tag={})


@pytest.mark.long  # the shadow test beside it goes the same way: 16 s
def test_each_variant_scores_its_units(batch: Batch) -> None:
    batch.divide(3, 50.0)
    table, scores = batch.score("f")
    assert (table.rows, table.version) == (40, "1")
    exposed = "SELECT KEY, UNIT, ASSIGNED, VERSION, STEP, SCORE FROM AIRFLOW_ML_EXPOSURES"
    rows = batch.source.run(exposed, {}, tag={})
    assert len(rows) == len(scores) == 40
    assert {row[2] for row in rows} == {"champion", "challenger"}
    for key, unit, assigned, version, step, score in rows:
        assert assigned == assign_row("s", unit, 50.0)
        assert (version, step) == ("2" if assigned == "challenger" else "1", "50")
        assert score == scores[key] == pytest.approx(0.6 if assigned == "challenger" else 0.5)
    assert json.dumps(table.to_xcom())


@pytest.mark.long
def test_the_champion_scores_the_rows_of_a_stopped_challenger_which_stay_in_its_arm(batch: Batch) -> None:
    batch.divide(4, 30.0, others=(batch.versions[2],), stopped=("challenger",))
    _, scores = batch.score("g")
    exposed = "SELECT KEY, UNIT, ASSIGNED, VERSION, STEP, SCORE FROM AIRFLOW_ML_EXPOSURES"
    rows = batch.source.run(exposed, {}, tag={})
    assert {row[2] for row in rows} == {"champion", "challenger", "challenger-2"}
    for key, unit, assigned, version, _, score in rows:
        assert assigned == assign_row("s", unit, 30.0, ("challenger", "challenger-2"))
        assert version == ("3" if assigned == "challenger-2" else "1")
        assert score == scores[key] == pytest.approx(0.7 if assigned == "challenger-2" else 0.5)


def test_in_shadow_everybody_scores_and_the_champion_alone_is_heard(batch: Batch) -> None:
    lost = {**batch.versions[2]["view_definition"], "digest": f"sha256:{'1' * 64}"}
    broken = {**batch.versions[2], "view_definition": lost}
    batch.divide(5, 0.0, shadow=True, others=(broken,))
    table, scores = batch.score("h")
    assert (table.version, table.rows) == ("1", 40)
    assert set(scores.values()) == {0.5}
    exposed = batch.source.run("SELECT ASSIGNED, STEP, SCORE FROM AIRFLOW_ML_EXPOSURES", {}, tag={})
    assert set(exposed) == {("champion", "shadow", 0.5)}
    unheard = batch.source.run("SELECT KEY, ARM, VERSION, SCORE FROM AIRFLOW_ML_SHADOW_SCORES", {}, tag={})
    assert len(unheard) == 40, "the other one cannot score, and the batch is none the worse"
    assert {(arm, version, round(score, 6)) for _, arm, version, score in unheard} == {("challenger", "2", 0.6)}
