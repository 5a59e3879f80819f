from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayRouter
from airflow_ml.adapters.memory.router import MemoryRouter
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import Router
from airflow_ml.core.record import JSON
from airflow_ml.testing.contracts.router import RouterContract
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import identity_models, variant

Variants = tuple[Mapping[str, JSON], Mapping[str, JSON]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    return FolderStore(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def two_variants(store: FolderStore) -> Variants:
    return variant("1", identity_models(store), ["x"]), variant("2", identity_models(store, shift=0.125), ["x"])


@pytest.fixture(scope="module")
def gateway(store: FolderStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    with LocalGateway(tmp_path_factory.mktemp("gateway"), store.uri, token="a control token") as gateway:
        yield gateway


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
    def router(self, store: FolderStore) -> Router:
        return MemoryRouter(store)

    @pytest.fixture
    def another_client(self, router: Router) -> Router:
        return router


@pytest.mark.integration
class TestGateway(_WithStore):
    @pytest.fixture
    def router(self, gateway: LocalGateway) -> Router:
        return GatewayRouter(gateway.url, gateway.token)

    @pytest.fixture
    def another_client(self, gateway: LocalGateway) -> Router:
        return GatewayRouter(gateway.url, gateway.token)
