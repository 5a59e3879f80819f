"""What a build of features reads from a real warehouse, beside reading the tables whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import airflow_ml.operators.feature_building as building
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.feature_view import AsOf, FeatureView, Label, Lookup, Rolling
from airflow_ml.core.time_split import TimeSplit
from airflow_ml.errors import ColumnMissing, EmptyDataset

pytestmark = pytest.mark.integration
UTC_MICRO = pa.timestamp("us", tz="UTC")
START = datetime(2013, 1, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=200)
VIEW = FeatureView(
    "trips",
    key="trip",
    predict_at="at",
    label=Label("late", known_at="ended_at"),
    joins=[
        AsOf("weather", by="city", time="seen_at", delay="20min", max_age="3h", columns=["temp"]),
        Lookup("cities", by="city", static=True, columns=["size"]),
        Rolling("trips", by="city", mean="late", known_at="ended_at", window="7d", name="late_7d"),
        Rolling("trips", by="city", count=True, known_at="ended_at", window="2d", name="ended_2d"),
    ],
)


def trips(days: range) -> pa.Table:
    moments = [START + timedelta(days=day, hours=hour) for day in days for hour in range(0, 24, 4)]
    return pa.table(
        {
            "trip": [f"{moment:%j-%H}" for moment in moments],
            "at": pa.array(moments, UTC_MICRO),
            "ended_at": pa.array([moment + timedelta(hours=2) for moment in moments], UTC_MICRO),
            "late": [moment.hour % 3 == 0 for moment in moments],
            "city": ["a" if moment.day % 2 else "b" for moment in moments],
            "driver": ["somebody"] * len(moments),
        }
    )


@pytest.fixture(scope="module")
def tables(warehouse: SnowflakeSource, tmp_path_factory: pytest.TempPathFactory) -> SnowflakeSource:
    hours = [START + timedelta(hours=hour) for hour in range(24 * 200)]
    weather = {"seen_at": [hour.replace(tzinfo=None) for hour in hours], "temp": [float(h.hour) for h in hours]}
    rows = {
        "trips": (trips(range(200)), ["trip"]),
        "weather": (pa.table({**weather, "city": ["a"] * len(hours)}), ["seen_at"]),
        "cities": (pa.table({"city": ["a", "b", "c"], "size": [1, 2, 3], "mayor": ["x", "y", "z"]}), ["city"]),
    }
    for name, (table, key) in rows.items():
        file = tmp_path_factory.mktemp("rows") / f"{name}.parquet"
        pq.write_table(table, file)
        warehouse.write_table(name, file, key=key, tag={})
    return warehouse


class Building:
    """Reads and builds as the operators do."""

    def __init__(self, source: SnowflakeSource, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(building, "snapshot_source", lambda conn_id: source)
        self.source, self.folder = source, folder
        self.store = FolderStore(folder / "store")

    def spine(self, table: pa.Table) -> Artifact:
        pq.write_table(table, self.folder / "spine.parquet")
        return self.store.put_file(self.folder / "spine.parquet", format="parquet", rows=table.num_rows)

    def read(self, spine: Artifact, split: TimeSplit | None = None) -> dict[str, Artifact]:
        return building.source_tables(
            VIEW, self.store, spine=spine, conn_id="w", as_of=AS_OF, split=split, folder=self.folder, tag={}
        )

    def whole(self) -> dict[str, Artifact]:
        found = {}
        for table in VIEW.sources:
            into = self.folder / "whole.parquet"
            rows = self.source.read_table(table, columns=None, as_of=AS_OF, into=into, tag={})
            found[table] = self.store.put_file(into, format="parquet", rows=rows.rows)
        return found

    def features(self, spine: Artifact, sources: dict[str, Artifact], split: TimeSplit | None = None) -> str:
        return building.feature_set(
            VIEW, self.store, spine=spine, sources=sources, as_of=AS_OF, split=split, folder=self.folder, parents=()
        ).artifact.digest


@pytest.fixture
def built(tables: SnowflakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Building:
    return Building(tables, tmp_path, monkeypatch)


def test_a_day_of_predictions_reads_days_of_history(built: Building) -> None:
    spine = built.spine(trips(range(150, 151)))
    read, whole = built.read(spine), built.whole()
    assert {table: artifact.rows for table, artifact in whole.items()} == {"weather": 4800, "cities": 3, "trips": 1200}
    assert read["cities"].rows == 3
    assert 0 < (read["weather"].rows or 0) < 100
    assert 0 < (read["trips"].rows or 0) < 70
    assert pq.read_schema(built.store.path(read["trips"])).names == ["city", "ended_at", "late"]
    assert built.features(spine, read) == built.features(spine, whole)


def test_training_reads_what_reaches_its_rows(built: Building) -> None:
    spine, split = built.spine(trips(range(100, 200))), TimeSplit(validate="14d", test="14d")
    read, whole = built.read(spine, split), built.whole()
    assert (read["trips"].rows or 0) < 700
    assert built.features(spine, read, split) == built.features(spine, whole, split)


def test_a_spine_that_cannot_be_built_reads_nothing(built: Building, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "snapshot_source", lambda conn_id: pytest.fail("the warehouse was asked"))
    good = trips(range(100, 200))
    with pytest.raises(ColumnMissing, match="city"):
        built.read(built.spine(good.drop_columns(["city"])))
    with pytest.raises(EmptyDataset):
        built.read(built.spine(good.slice(0, 0)))
    with pytest.raises(EmptyDataset, match="validate"):
        built.read(built.spine(good.slice(0, 60)), TimeSplit(validate="14d", test="14d"))
