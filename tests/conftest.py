"""What all tests share: an Airflow home of their own, quiet third parties, seeded property tests, and servers."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.warehouse import LocalWarehouse, connect

# Before anything imports airflow: its home, its database and its log folder are read at import.
_HOME = tempfile.mkdtemp(prefix="airflow-ml-tests-")
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for name in ("AIRFLOW__ML__ARTIFACT_STORE", "AIRFLOW__ML__NAMESPACE"):
    os.environ.pop(name, None)
# Hundreds of processes are started; without byte code each compiles this package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Nothing calls home, and the connector does not look for cloud metadata services.
os.environ.update(
    MLFLOW_DISABLE_TELEMETRY="true", GX_ANALYTICS_ENABLED="false", SNOWFLAKE_DISABLE_PLATFORM_DETECTION="true"
)

pytest.register_assert_rewrite("airflow_ml.testing.contracts")

# The same examples in every run, so that a red run is red again; these machines are shared, so no deadlines.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start an Airflow, then those with other servers; the small ones fill up the end."""
    ranks: dict[Path, int] = {}
    for item in items:
        rank = 0 if item.get_closest_marker("system") else 1 if item.get_closest_marker("integration") else 2
        ranks[item.path] = min(rank, ranks.get(item.path, 2))
    items.sort(key=lambda item: ranks[item.path])


def pytest_collection_finish() -> None:
    """Keep what collection made out of every later garbage collection: there are millions of objects that all stay."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Remove the home again."""
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def one_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalWarehouse]:
    with LocalWarehouse(tmp_path_factory.mktemp("warehouse"), plain_http=True) as running:
        yield running


@pytest.fixture(scope="module")
def warehouse(one_warehouse: LocalWarehouse, request: pytest.FixtureRequest) -> SnowflakeSource:
    """The one warehouse of this process, in a schema of the module's own."""
    extra = {**one_warehouse.connection_extra(), "protocol": "http"}
    schema = request.node.path.stem.upper()
    return SnowflakeSource(partial(connect, extra, schema=schema), source_name="snowflake:test")


@pytest.fixture(scope="session")
def served_store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """The store whose models the gateway serves."""
    return FolderStore(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def one_gateway(served_store: FolderStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    """The one gateway of this process: a model that one test has loaded is up for the next.

    Tests take names of models that no other test has. A model's process that one of them kills comes up again.
    """
    with LocalGateway(tmp_path_factory.mktemp("gateway"), served_store.uri, token="tests-token") as running:
        yield running
