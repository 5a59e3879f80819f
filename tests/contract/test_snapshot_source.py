from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_ml.adapters.memory.source import MemorySource
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.core.ports import SnapshotSource
from airflow_ml.testing.contracts.snapshot_source import SnapshotSourceContract, rows
from airflow_ml.testing.warehouse import LocalWarehouse


class TestMemory(SnapshotSourceContract):
    @pytest.fixture
    def source(self) -> SnapshotSource:
        return MemorySource()


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWarehouse]:
    with LocalWarehouse(tmp_path_factory.mktemp("warehouse"), plain_http=True) as running:
        yield running


@pytest.mark.integration
class TestSnowflake(SnapshotSourceContract):
    @pytest.fixture
    def source(self, warehouse: LocalWarehouse) -> SnapshotSource:
        return SnowflakeSource(warehouse.connect, source_name="snowflake:test")

    def test_staging_leaves_nothing_behind(
        self, source: SnapshotSource, table: str, warehouse: LocalWarehouse, tmp_path: Path
    ) -> None:
        self.write(source, f"ml.flights.{table}", rows())
        connection = warehouse.connect()
        try:
            names = [row[1] for row in connection.cursor().execute("SHOW TABLES").fetchall()]  # type: ignore[union-attr, unused-ignore]
        finally:
            connection.close()
        assert table.upper() in names
        assert not [name for name in names if name.startswith("AIRFLOW_ML_")]
