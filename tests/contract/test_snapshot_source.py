import pytest

from airflow_ml.adapters.memory.source import MemorySource
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.core.ports import SnapshotSource
from airflow_ml.testing.contracts.snapshot_source import SnapshotSourceContract, rows

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

    def test_staging_leaves_nothing_behind(self, table: str, warehouse: SnowflakeSource) -> None:
        self.write(warehouse, f"ml.{SCHEMA}.{table}", rows())
        names = [row[1] for row in warehouse.run("SHOW TABLES", {}, tag={})]
        assert table.upper() in names
        assert not [name for name in names if name.startswith("AIRFLOW_ML_")]
