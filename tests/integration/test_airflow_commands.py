"""What a user sees at Airflow's own command line once the package is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_ml import __version__
from airflow_ml.adapters.folder_store import FolderStore

pytestmark = pytest.mark.integration


def airflow(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command in a home of its own, free of the caller's Airflow settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return subprocess.run(
        [sys.executable, "-m", "airflow", *arguments],
        env={**inherited, "AIRFLOW_HOME": str(home), **settings},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_provider_is_listed(tmp_path: Path) -> None:
    found = airflow(tmp_path, "providers", "list", "--output", "json")
    assert found.returncode == 0, found.stderr
    listed = {one["package_name"]: one for one in json.loads(found.stdout[found.stdout.index("[{") :])}
    assert listed["airflow-ml"]["version"] == __version__


def test_airflow_ml_reads_the_store_of_the_configuration(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    store.append("models/prod/churn", {"version": "7"}, after=0)
    found = airflow(tmp_path, "ml", "refs", "--output", "json", AIRFLOW__ML__ARTIFACT_STORE=store.uri)
    assert found.returncode == 0, found.stderr
    (ref,) = json.loads(found.stdout[found.stdout.index("[") :])
    assert ref["ref"] == "models/prod/churn"


@pytest.mark.long  # what is said is seen in tests/unit/cli/test_main.py
def test_airflow_ml_without_a_store_says_what_to_set(tmp_path: Path) -> None:
    found = airflow(tmp_path, "ml", "refs")
    assert found.returncode == 1
    assert "AIRFLOW__ML__ARTIFACT_STORE" in found.stderr
