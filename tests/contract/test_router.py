from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayRouter
from airflow_ml.adapters.memory.router import MemoryRouter
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.adapters.warehouse_router import WarehouseRouter
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import Router, Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError, FencedOut
from airflow_ml.testing.contracts.router import RouterContract
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import identity_models, variant

Variants = tuple[Mapping[str, JSON], Mapping[str, JSON]]


@pytest.fixture(scope="module")
def two_variants(served_store: FolderStore) -> Variants:
    store = served_store
    return variant("1", identity_models(store), ["x"]), variant("2", identity_models(store, shift=0.125), ["x"])


class _WithStore(RouterContract):
    @pytest.fixture
    def variants(self, two_variants: Variants) -> Variants:
        return two_variants

    @pytest.fixture
    def unloadable(self) -> Mapping[str, JSON]:
        nowhere = Artifact(digest=f"sha256:{'0' * 64}", format="json", size_bytes=1, uri="")
        return variant("9", nowhere, ["x"])


class TestMemory(_WithStore):
    @pytest.fixture
    def router(self, served_store: FolderStore) -> Router:
        return MemoryRouter(served_store)

    @pytest.fixture
    def another_client(self, router: Router) -> Router:
        return router


@pytest.mark.integration
class TestWarehouse(_WithStore):
    @pytest.fixture
    def router(self, warehouse: SnowflakeSource, served_store: FolderStore) -> Router:
        return WarehouseRouter(warehouse, served_store)

    @pytest.fixture
    def another_client(self, warehouse: SnowflakeSource, served_store: FolderStore) -> Router:
        return WarehouseRouter(warehouse, served_store)

    def test_of_writers_at_once_the_highest_epoch_wins(
        self, warehouse: SnowflakeSource, served_store: FolderStore, traffic: Traffic
    ) -> None:
        WarehouseRouter(warehouse, served_store).read(traffic.model)

        def write(epoch: int) -> None:
            with suppress(AirflowMLError):
                WarehouseRouter(warehouse, served_store).write(replace(traffic, epoch=epoch))

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(write, [3, 9, 5, 9, 1, 7]))
        router = WarehouseRouter(warehouse, served_store)
        write(9)  # who lost a race writes again, as the next look does
        held = router.read(traffic.model)
        assert held is not None
        assert held.epoch == 9
        with pytest.raises(FencedOut):
            router.write(replace(traffic, epoch=8))
        router.write(replace(traffic, epoch=20, weight_percent=50.0))
        held = router.read(traffic.model)
        assert held is not None
        assert (held.epoch, held.weight_percent) == (20, 50.0)


@pytest.mark.integration
class TestGateway(_WithStore):
    @pytest.fixture
    def router(self, one_gateway: LocalGateway) -> Router:
        return GatewayRouter(one_gateway.url, one_gateway.token)

    @pytest.fixture
    def another_client(self, one_gateway: LocalGateway) -> Router:
        return GatewayRouter(one_gateway.url, one_gateway.token)
