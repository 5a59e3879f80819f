from pathlib import Path

import pyarrow.parquet as pq
import pytest

from airflow_ml.adapters.memory.source import MemorySource
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.core.ports import SnapshotSource
from airflow_ml.core.source_rows import TimeRange
from airflow_ml.testing.contracts.snapshot_source import AS_OF, SnapshotSourceContract, rows

SCHEMA = "test_snapshot_source"


class TestMemory(SnapshotSourceContract):
    @pytest.fixture
    def source(self) -> SnapshotSource:
        return MemorySource()


@pytest.mark.integration
class TestSnowflake(SnapshotSourceContract):
    @pytest.fixture
    def source(self, warehouse: SnowflakeSource) -> SnapshotSource:
        return warehouse

    def test_a_column_is_found_whatever_its_case(self, table: str, warehouse: SnowflakeSource, tmp_path: Path) -> None:
        """Loaders such as ``write_pandas`` quote the names of the tables that they make."""
        name = f"ml.{SCHEMA}.{table}"
        warehouse.run(f'CREATE TABLE {name} (ID INT, "at" TIMESTAMP_NTZ, "Share 100%" FLOAT)', {}, tag={})
        warehouse.run(f"INSERT INTO {name} VALUES (1, '2013-04-01 12:00:00', 0.5), (2, NULL, 0.25)", {}, tag={})
        into = tmp_path / "some.parquet"
        within = [TimeRange("at", AS_OF, AS_OF)]
        columns = ["id", '"share 100%"']
        warehouse.read_table(name, columns=columns, within=within, as_of=AS_OF, into=into, tag={})
        assert pq.read_table(into).to_pylist() == [{"id": 1, "share 100%": 0.5}]

    def test_staging_leaves_nothing_behind(self, table: str, warehouse: SnowflakeSource) -> None:
        self.write(warehouse, f"ml.{SCHEMA}.{table}", rows())
        names = [row[1] for row in warehouse.run("SHOW TABLES", {}, tag={})]
        assert table.upper() in names
        assert not [name for name in names if name.startswith("AIRFLOW_ML_")]
