"""A rollout without a serving system: the warehouse is router and metric source, a batch a day is divided in SQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.adapters.sql_metrics import SqlMetrics
from airflow_ml.adapters.warehouse_router import WarehouseRouter
from airflow_ml.core.arms import SHADOW_STEP, effective_weight, in_shadow
from airflow_ml.core.exposures import EXPOSURE_KEY, SHADOW_KEY
from airflow_ml.core.metric_query import SqlOutcomes
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.rollout_plan import RolloutPlan
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.core.served_name import served_name
from airflow_ml.core.variant_sql import SALT, VARIANT, assign_row, divided_spine
from airflow_ml.operators.prediction_split import (
    VariantRows,
    split_spine,
    write_exposures,
    write_shadow_scores,
)
from airflow_ml.runtime.rollout import RolloutDriver
from airflow_ml.testing.served_models import identity_models, variant

pytestmark = pytest.mark.integration
PLAN = parse_plan([(50, "1d"), 100], max_data_days=9, min_units=50)
MODEL, SPACE = "flights", "alice"
QUERY = SqlOutcomes(
    outcomes="SELECT FLIGHT AS KEY, LATE AS LABEL FROM FLOWN",
    watermark="SELECT MAX(COMPLETE_TO) FROM LOADS",
)


class Line:
    """300 airplanes with one flight a day, all late; the champion says 0.3, the challenger something else."""

    def __init__(self, warehouse: SnowflakeSource, folder: Path, challenger_score: float) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.day = datetime(2013, 5, 1, tzinfo=UTC)
        self.folder, self.challenger_score = folder, challenger_score
        #: Of each batch of a rollout the rows that were heard, by variant.
        self.scored: list[dict[str, int]] = []
        self.warehouse, self.store = warehouse, FolderStore(folder / "store")
        self.router = WarehouseRouter(warehouse, self.store)
        self.one, self.two = (
            variant("1", identity_models(self.store), ["x"]),
            variant("2", identity_models(self.store, shift=0.1), ["x"]),
        )
        for table in ("FLOWN (FLIGHT VARCHAR, LATE DOUBLE)", "LOADS (COMPLETE_TO TIMESTAMP_TZ)"):
            warehouse.run(f"CREATE OR REPLACE TABLE {table}", {}, tag={})

    def driver(self) -> RolloutDriver:
        metrics = SqlMetrics(self.warehouse, QUERY)
        return RolloutDriver(self.store, self.router, metrics, clock=lambda: self.now)

    def batch(self) -> dict[str, int]:
        """Score a day as `predict` does, load its outcomes, and return the rows of each variant."""
        traffic = self.router.read(served_name(MODEL, SPACE))
        assert traffic is not None
        weight, unheard = effective_weight(traffic, self.now), in_shadow(traffic, self.now)
        spine = (
            f"SELECT '{self.day:%m%d}-' || SEQ4() AS flight_id, 'N' || SEQ4() AS tailnum, "
            f"'{self.day:%Y-%m-%d} 06:00:00+00:00'::TIMESTAMP_TZ AS predict_at, 0.3 + SEQ4() / 3000 AS x "
            "FROM TABLE(GENERATOR(ROWCOUNT => 300))"
        )
        divided = divided_spine(spine, unit="tailnum", weight_percent=weight)
        salt = {SALT: traffic.salt} if SALT in divided else {}
        found = self.warehouse.read(divided, salt, as_of=self.day, into=self.folder / "spine.parquet", tag={})
        table = pq.read_table(found.path)
        for tailnum, chosen in zip(table["tailnum"].to_pylist(), table[VARIANT].to_pylist(), strict=True):
            assert chosen == assign_row(traffic.salt, tailnum, weight)
        whole = VariantRows(variant="", spine=found.path, rows=found.rows, columns=found.columns)
        parts = split_spine(whole, self.folder)
        for part in parts:
            self._score(part, traffic, weight, SHADOW_STEP if unheard else "")
        if unheard:
            self._shadow(parts[0], traffic)
        keys = table["flight_id"].to_pylist()
        statement = (
            "INSERT INTO FLOWN SELECT f.VALUE::VARCHAR, 1.0 FROM LATERAL FLATTEN(INPUT => SPLIT(%(keys)s, ',')) AS f"
        )
        self.warehouse.run(statement, {"keys": ",".join(keys)}, tag={})
        self.day += timedelta(days=1)
        self.warehouse.run("INSERT INTO LOADS SELECT %(day)s::TIMESTAMP_TZ", {"day": self.day}, tag={})
        return {part.variant: part.rows for part in parts}

    def _scores(self, spine: Path, variant: str) -> Path:
        """Days differ in how far the challenger is from the champion."""
        table, path = pq.read_table(spine), self.folder / f"scores-{variant}.parquet"
        wobble = 0.01 * (self.day.day % 3 - 1)
        shift = self.challenger_score - 0.3 + wobble if variant == "challenger" else 0.0
        scores = pa.array([float(x) + shift for x in table["x"].to_pylist()])
        pq.write_table(table.select(["flight_id", "predict_at"]).append_column("score", scores), path)
        return path

    def _shadow(self, whole: VariantRows, traffic: Any) -> None:
        assert whole.rows == 300
        scores, into = self._scores(whole.spine, "challenger"), self.folder / "shadow.parquet"
        write_shadow_scores(
            scores, into, model=traffic.model, epoch=traffic.epoch, arm="challenger", version="2", key="flight_id"
        )
        assert self.warehouse.write_table("AIRFLOW_ML_SHADOW_SCORES", into, key=SHADOW_KEY, tag={}) == 300

    def _score(self, part: VariantRows, traffic: Any, weight: float, step: str) -> None:
        scores, exposures = self._scores(part.spine, part.variant), self.folder / "exposures.parquet"
        write_exposures(
            part,
            scores,
            exposures,
            model=traffic.model,
            epoch=traffic.epoch,
            weight_percent=weight,
            version="1",
            key="flight_id",
            predict_at="predict_at",
            unit="TAILNUM",
            step=step,
        )
        assert self.warehouse.write_table("AIRFLOW_ML_EXPOSURES", exposures, key=EXPOSURE_KEY, tag={}) == part.rows

    def run(self, plan: RolloutPlan = PLAN) -> RolloutState:
        """Install version 1, score a day with it, and lead version 2 to its end."""
        self.driver().install(PLAN, MODEL, SPACE, self.one, "dag/r0/canary")
        assert self.batch() == {"champion": 300}
        state = self.driver().begin(plan, MODEL, SPACE, self.one, self.two, "dag/r1/canary")
        for _ in range(14):
            self.now += timedelta(seconds=60)
            state = self.driver().look(state)
            if not state.live:
                return state
            self.scored.append(self.batch())
        raise AssertionError(state)


def test_a_better_challenger_is_promoted_and_scores_everything(warehouse: SnowflakeSource, tmp_path: Path) -> None:
    line = Line(warehouse, tmp_path, challenger_score=0.6)
    state = line.run()
    assert (state.state, state.weights) == ("promoted", (50.0, 100.0))
    assert state.last_look is not None
    assert line.router.read("flights") is None, "another namespace's entry is its own"
    traffic = line.router.read("flights@alice")
    assert traffic is not None
    assert (traffic.champion["version"], traffic.challenger) == ("2", None)
    line.now += timedelta(hours=1)
    assert line.batch() == {"champion": 300}


@pytest.mark.long
def test_a_worse_challenger_goes_back_and_a_lost_one_expires(warehouse: SnowflakeSource, tmp_path: Path) -> None:
    line = Line(warehouse, tmp_path, challenger_score=0.05)
    assert line.run().state == "rolled_back"
    state = line.driver().begin(PLAN, MODEL, SPACE, line.one, line.two, "dag/r2/canary")
    state = line.driver().look(state)
    assert "challenger" in line.batch()
    line.now += timedelta(seconds=301)
    assert line.batch() == {"champion": 300}, "the table's own expiry holds, whoever is dead"
    end = line.driver().reconcile(MODEL, SPACE)
    assert end is not None
    assert end.state == "rolled_back"


@pytest.mark.long
def test_pairs_in_shadow_decide_and_a_split_follows(warehouse: SnowflakeSource, tmp_path: Path) -> None:
    """Each row is scored by both, nobody hears the challenger; then it answers half, and at the end everything."""
    plan = parse_plan([("shadow", "5d"), (50, "1d"), 100], design="paired_shadow", max_data_days=12, min_units=50)
    line = Line(warehouse, tmp_path, challenger_score=0.6)
    state = line.run(plan)
    assert (state.state, state.weights) == ("promoted", (50.0, 100.0))
    heard = ["shadow" if set(rows) == {"champion"} else "split" if len(rows) == 2 else "all" for rows in line.scored]
    assert heard == sorted(heard, key=["shadow", "split", "all"].index)
    assert heard.count("shadow") >= 5
    assert "split" in heard
    assert state.evidence is not None
    looks = [json.loads(row) for row in line.store.get_bytes(state.evidence).splitlines()]
    pairs = [look for look in looks if look["kind"] == "shadow" and look["effect"] is not None]
    # The loss is the square of what is missing to 1: 0.35 on average for the champion's scores of 0.3 to 0.4.
    assert all(look["effect"] < -0.2 for look in pairs)
    assert pairs[-1]["requests"] == {"champion": 300 * heard.count("shadow"), "challenger": 300 * heard.count("shadow")}
