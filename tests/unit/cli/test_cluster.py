from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_ml.cli.main import main


def test_only_a_local_cluster_can_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster"]) == 1
    assert "--local" in capsys.readouterr().err


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_cluster_runs_pods_until_it_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    from kubernetes import client, config

    command = [sys.executable, "-m", "airflow_ml.cli.main", "cluster", "--local", "--output", "json"]
    command = [sys.executable, "-c", f"from airflow_ml.cli.main import main; raise SystemExit(main({command[3:]}))"]
    process = subprocess.Popen(
        [*command[:-1], command[-1].replace("'cluster'", f"'cluster', '--folder', {str(tmp_path / 'c')!r}")],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        core = client.CoreV1Api(config.new_client_from_config(said["kubeconfig"]))
        container = {"name": "main", "image": "x", "command": ["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 300"]}
        body = {"metadata": {"name": "one"}, "spec": {"restartPolicy": "Never", "containers": [container]}}
        core.create_namespaced_pod("default", body)
        pid = int(written(tmp_path / "pid"))
        process.send_signal(number)
        process.wait(30)
        deadline = time.monotonic() + 10
        while os.path.exists(f"/proc/{pid}"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if number == signal.SIGINT:
            assert process.returncode == 0
            assert not Path(said["kubeconfig"]).exists()
    finally:
        process.kill()
        process.wait()


def written(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text()
