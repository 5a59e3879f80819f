"""Features over tables of a real warehouse: what is read of them, and what the warehouse builds itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import airflow_ml.operators.feature_building as building
from airflow_ml.adapters.duckdb import DuckDBFeatures
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.feature_inputs import Join
from airflow_ml.core.feature_view import AsOf, FeatureView, Label, Lookup, Rolling
from airflow_ml.core.time_split import TimeSplit
from airflow_ml.errors import ColumnMissing, ConfigurationError, EmptyDataset, TableMissing
from airflow_ml.operators.feature_building import FeatureBuilding

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
    hours += hours[::6]  # observed twice: the greater value counts
    temps = [float(hour.hour + number // 4800) for number, hour in enumerate(hours)]
    weather = {"seen_at": [hour.replace(tzinfo=None) for hour in hours], "temp": temps}
    rows = {
        "trips": (trips(range(200)), ["trip"]),
        "weather": (pa.table({**weather, "city": ["a"] * len(hours)}), ["seen_at", "temp"]),
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

    def of(self, spine: Artifact, split: TimeSplit | None = None) -> FeatureBuilding:
        return FeatureBuilding(
            view=VIEW, spine=spine, as_of=AS_OF, split=split, store=self.store, conn_id="w", tag={}, folder=self.folder
        )

    def read(self, spine: Artifact, split: TimeSplit | None = None) -> dict[str, Artifact]:
        return self.of(spine, split).read_sources()

    def whole(self) -> dict[str, Artifact]:
        found = {}
        for table in VIEW.sources:
            into = self.folder / "whole.parquet"
            rows = self.source.read_table(table, columns=None, as_of=AS_OF, into=into, tag={})
            found[table] = self.store.put_file(into, format="parquet", rows=rows.rows)
        return found

    def from_whole_tables(self, spine: Artifact, split: TimeSplit | None = None) -> str:
        """Build from everything, and return the digest of the features."""
        sources = {table: self.store.path(artifact) for table, artifact in self.whole().items()}
        into = self.folder / "from_whole.parquet"
        DuckDBFeatures().build(VIEW, spine=self.store.path(spine), sources=sources, as_of=AS_OF, split=split, into=into)
        return self.store.put_file(into, format="parquet").digest


@pytest.fixture
def built(tables: SnowflakeSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Building:
    return Building(tables, tmp_path, monkeypatch)


def test_a_day_of_predictions_reads_days_of_history(built: Building) -> None:
    spine = built.spine(trips(range(150, 151)))
    read, whole = built.read(spine), built.whole()
    assert {table: artifact.rows for table, artifact in whole.items()} == {"weather": 5600, "cities": 3, "trips": 1200}
    assert read["cities"].rows == 3
    assert 0 < (read["weather"].rows or 0) < 120
    assert 0 < (read["trips"].rows or 0) < 70
    assert pq.read_schema(built.store.path(read["trips"])).names == ["city", "ended_at", "late"]
    assert built.of(spine).in_worker().artifact.digest == built.from_whole_tables(spine)


def test_training_reads_what_reaches_its_rows(built: Building) -> None:
    spine, split = built.spine(trips(range(100, 200))), TimeSplit(validate="14d", test="14d")
    features = built.of(spine, split).in_worker()
    assert (features.sources["trips"].rows or 0) < 700
    assert features.artifact.digest == built.from_whole_tables(spine, split)


def test_the_warehouse_builds_what_the_worker_builds(built: Building) -> None:
    spine, split = built.spine(trips(range(100, 200))), TimeSplit(validate="14d", test="14d")
    there, here = built.of(spine, split).in_warehouse(), built.of(spine, split).in_worker()
    assert (there.engine, dict(there.sources)) == ("snowflake", {})
    assert there.artifact.digest == here.artifact.digest
    assert (there.split_rows, there.split_at, there.excluded) == (here.split_rows, here.split_at, here.excluded)
    tables = [str(row[1]).lower() for row in built.source.run("SHOW TABLES", {}, tag={})]
    assert not [table for table in tables if table.startswith("airflow_ml")]


def test_the_warehouse_builds_only_what_has_a_split(built: Building) -> None:
    with pytest.raises(ConfigurationError, match="split"):
        built.of(built.spine(trips(range(150, 151)))).in_warehouse()


def test_tables_that_do_not_fit_are_refused_before_the_warehouse_builds(built: Building, tmp_path: Path) -> None:
    spine, split = built.spine(trips(range(100, 200))), TimeSplit(validate="14d", test="14d")

    def refused(*joins: Join) -> str:
        view = FeatureView("v", key="trip", predict_at="at", label=Label("late", known_at="ended_at"), joins=joins)
        with pytest.raises((ConfigurationError, ColumnMissing, TableMissing)) as caught:
            replace(built.of(spine, split), view=view).in_warehouse()
        return str(caught.value)

    assert "several rows for one key" in refused(Lookup("trips", by="city", static=True, columns=["driver"]))
    assert "nocol" in refused(Lookup("cities", by="city", static=True, columns=["nocol"]))
    assert "nowhere" in refused(Lookup("nowhere", by="city", static=True, columns=["size"])).lower()
    assert "cannot be summed" in refused(Rolling("trips", by="city", sum="driver", known_at="ended_at", window="1d"))
    assert "is not a timestamp" in refused(Rolling("trips", by="city", count=True, known_at="driver", window="1d"))


def test_a_spine_that_cannot_be_built_reads_nothing(built: Building, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "snapshot_source", lambda conn_id: pytest.fail("the warehouse was asked"))
    good = trips(range(100, 200))
    with pytest.raises(ColumnMissing, match="city"):
        built.read(built.spine(good.drop_columns(["city"])))
    with pytest.raises(EmptyDataset):
        built.read(built.spine(good.slice(0, 0)))
    with pytest.raises(EmptyDataset, match="validate"):
        built.read(built.spine(good.slice(0, 60)), TimeSplit(validate="14d", test="14d"))
