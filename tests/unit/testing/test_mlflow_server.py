"""The launcher of the local MLflow server; that it serves is shown by the registry's contract tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_ml.testing.mlflow_server import MLflowServer


def test_it_must_be_started_first(tmp_path: Path) -> None:
    server = MLflowServer(tmp_path)
    with pytest.raises(RuntimeError, match="not started"):
        server.wait_ready()
    server.stop()
    assert server.pid is None


@pytest.mark.integration
def test_it_leaves_no_process_behind(tmp_path: Path) -> None:
    server = MLflowServer(tmp_path).start()
    pid = server.pid
    assert pid is not None
    assert os.getpgid(pid) == pid
    with pytest.raises(RuntimeError, match="started before"):
        server.start()
    with pytest.raises(TimeoutError, match=r"after 0\.1 s"):
        server.wait_ready(timeout_seconds=0.1)
    assert server.pid is None
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
