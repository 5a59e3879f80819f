"""Secrets of the deployment, planted in connections and variables, reach neither user code nor what it leaves."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.log import mask_secret

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.runtime.environment import allowed_environment

#: Variable to value, as a worker's environment holds them.
PLANTED = {
    "AIRFLOW_CONN_SNOWFLAKE_DEFAULT": '{"conn_type": "snowflake", "login": "ann", "password": "planted-snowflake-1"}',
    "AIRFLOW_CONN_MLFLOW_DEFAULT": '{"conn_type": "mlflow", "host": "http://ml", "password": "planted-mlflow-2"}',
    "AIRFLOW_CONN_GATEWAY_DEFAULT": '{"conn_type": "airflow_ml_gateway", "password": "planted-gateway-3"}',
    "AIRFLOW_VAR_API_KEY": "planted-variable-4",
    "AIRFLOW__CORE__FERNET_KEY": "planted-fernet-5",
    "AIRFLOW__API_AUTH__JWT_SECRET": "planted-jwt-6",
    "AIRFLOW_ML_GATEWAY_TOKEN": "planted-token-7",
    "MLFLOW_TRACKING_PASSWORD": "planted-tracking-8",
    "SNOWFLAKE_PASSWORD": "planted-snowflake-9",
    "AWS_SECRET_ACCESS_KEY": "planted-aws-10",
    "DATABASE_URL": "postgresql://ann:planted-database-11@db/x",
}


def spy(rows: int) -> dict[str, Any]:
    """What code that looks for secrets finds in its process: variables, open sockets, Airflow."""
    import contextlib
    import os
    import sys

    print("variables:", dict(os.environ))
    open_files = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listed them
            open_files.append(os.readlink(f"/proc/self/fd/{name}"))
    return {
        "variables": dict(os.environ),
        "stdin": os.readlink("/proc/self/fd/0"),
        "sockets": [name for name in open_files if name.startswith("socket:")],
        "airflow": sorted(name for name in sys.modules if name.partition(".")[0] == "airflow"),
    }


def fail_with_everything(rows: int) -> None:
    import os

    raise RuntimeError(f"all I know: {dict(os.environ)}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    return tmp_path / "store"


def run(function: Any) -> Any:
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        operator = task.ml(compute="local")(function)(3).operator
    instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
    return operator.execute({"ti": instance})


def kept(folder: Path) -> str:
    """Every byte of the store, names included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files, "nothing was kept, so nothing is shown"
    return "\n".join(f"{path}\n{path.read_bytes().decode(errors='replace')}" for path in files)


def assert_clean(text: str) -> None:
    found = [line[:200] for line in text.splitlines() if "planted-" in line]
    assert found == []


def test_neither_variables_nor_results_nor_logs(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    value = run(spy)
    log = "".join(capfd.readouterr())
    assert_clean(json.dumps(value))
    assert_clean(kept(folder))
    assert "variables:" in log, "what the function prints is in the task's log"
    assert_clean(log)
    assert value["stdin"] == "/dev/null", "the task's own is the supervisor's socket"
    assert value["airflow"] == []
    assert [name for name in value["variables"] if name.startswith("AIRFLOW_") and name != "AIRFLOW_ML_RUNNER"] == []


def test_nor_a_socket_of_the_task(folder: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.set_inheritable(True)  # as a careless library would leave one
        held = {f"socket:[{os.fstat(end.fileno()).st_ino}]" for end in (ours, theirs)}
        found = run(spy)["sockets"]
    assert held & set(found) == set()
    assert len(found) <= 1, "its line to the runner"


def test_nor_an_error_that_tells_all_it_knows(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match="all I know") as caught:
        run(fail_with_everything)
    assert_clean("\n".join([str(caught.value), str(caught.value.__cause__), kept(folder), *capfd.readouterr()]))


def echo(rows: int, key: str) -> str:
    return key


def test_a_secret_is_no_argument_of_what_runs_elsewhere(folder: Path) -> None:
    """What runs in another process is written into the store first; in the task's own it is not."""
    mask_secret("planted-argument-12")
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        here, there = (
            task.ml(compute=compute)(echo)(3, "planted-argument-12").operator for compute in ("worker", "local")
        )
    instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
    assert here.execute({"ti": instance}) == "planted-argument-12"
    with pytest.raises(AirflowFailException, match=r"A secret is an argument .* key.*worker"):
        there.execute({"ti": instance})
    assert_clean(kept(folder))


def test_the_test_would_see_a_leak(folder: Path) -> None:
    """In the task's own process the same function does see them: the planting works."""
    seen = json.dumps(spy(3)["variables"])
    assert [secret for secret in PLANTED.values() if json.dumps(secret)[1:-1] not in seen] == []


def test_credentials_of_the_store_pass_only_to_a_store_that_needs_them(tmp_path: Path) -> None:
    environment = {**os.environ, **PLANTED}
    on_disk = allowed_environment(environment, store_uri=FolderStore(tmp_path).uri)
    on_s3 = allowed_environment(environment, store_uri="s3://bucket/ml")
    assert set(PLANTED) & set(on_disk) == set()
    assert set(PLANTED) & set(on_s3) == {"AWS_SECRET_ACCESS_KEY"}
