"""What all tests share: an Airflow home of their own, quiet third parties, and seeded property tests."""

from __future__ import annotations

import gc
import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports airflow: its home, its database and its log folder are read at import.
_HOME = tempfile.mkdtemp(prefix="airflow-ml-tests-")
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
for name in ("AIRFLOW__ML__ARTIFACT_STORE", "AIRFLOW__ML__NAMESPACE"):
    os.environ.pop(name, None)
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
    """Begin with those that start an Airflow: they take minutes, and beside them the other worker goes on."""
    items.sort(key=lambda item: item.get_closest_marker("system") is None)


def pytest_collection_finish() -> None:
    """Keep what collection made out of every later garbage collection: there are millions of objects that all stay."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Remove the home again."""
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)
