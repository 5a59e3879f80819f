"""Ctrl-C while `airflow-ml run --compute` waits for a remote job: real processes, a real signal, a double cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_ml.cli import dag_task
from airflow_ml.cli.dag_task import ask_dag
from airflow_ml.testing.kubernetes import KubernetesDouble, kubernetes_double

CLI = "import sys; from airflow_ml.cli.main import main; sys.exit(main())"
DAG_FILE = """
from datetime import UTC, datetime
from airflow.sdk import dag, task

@task.ml(compute="local")
def wait(seconds):
    import time
    print("at work", flush=True)
    time.sleep(seconds)

@dag(schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC))
def slow():
    wait(120)

slow()
"""


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """In the background, or under nohup, the tests and every process they start would ignore these."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
        signal.SIGTERM: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesDouble]:
    with kubernetes_double() as cluster:
        yield cluster


@pytest.fixture
def place(tmp_path: Path, cluster: KubernetesDouble) -> dict[str, str]:
    """The environment of a deployment with one profile."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "slow.py").write_text(DAG_FILE)
    (tmp_path / "compute.toml").write_text(
        f"""
[k8s]
kind = "kubernetes"
image = "python:here"
python = {json.dumps(sys.executable)}
cpus = 0.2
memory_gib = 0.5
kubernetes = {{ image_by_tag = true }}
"""
    )
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(cluster.kubeconfig)}}
    return {
        **os.environ,
        "AIRFLOW_ML_COMPUTE_PROFILES": str(tmp_path / "compute.toml"),
        "AIRFLOW__ML__ARTIFACT_STORE": f"file://{tmp_path}/store",
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
        "KUBECONFIG": str(cluster.kubeconfig),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
    }


def begin(folder: Path, environment: dict[str, str], *more: str) -> subprocess.Popen[str]:
    """Start the verb as a shell does: in a process group of its own, to which a terminal sends its signals."""
    return subprocess.Popen(
        [sys.executable, "-c", CLI, "run", "slow", "wait", "--dags", str(folder / "dags"), *more],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=(folder / "err").open("w"), process_group=0,
    )  # fmt: skip


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
@pytest.mark.parametrize("may_delete", [True, False])
def test_the_remote_job_is_ended_or_left_with_a_word_how(
    tmp_path: Path, place: dict[str, str], cluster: KubernetesDouble, may_delete: bool
) -> None:
    process = begin(tmp_path, place, "--compute", "k8s")
    until(lambda: [pod for pod in cluster.pods() if pod["status"].get("phase") == "Running"])
    [job] = [one["metadata"]["name"] for one in cluster.jobs()]
    if not may_delete:
        cluster.access.deny("delete", "jobs")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    said = (tmp_path / "err").read_text()
    assert "Traceback" not in said
    if may_delete:
        assert f"The remote job {job} is ended." in said
    else:
        assert f"The remote job {job} could not be ended" in said
        assert "`airflow-ml reap --yes` ends it." in said
        cluster.access.allow_all()
        reap = [sys.executable, "-c", CLI, "reap", "--yes", "--output", "json"]
        [row] = json.loads(subprocess.run(reap, env=place, check=True, capture_output=True, text=True).stdout)
        assert (row["job"], row["ended"]) == (job, "yes")
    until(lambda: not cluster.jobs() and not cluster.pods())


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_processes_of_this_machine_are_ended(tmp_path: Path, place: dict[str, str], number: signal.Signals) -> None:
    process = begin(tmp_path, place)
    until(lambda: "at work" in (tmp_path / "err").read_text())
    process.send_signal(number)
    assert process.wait(60) == 130
    store = f"file://{tmp_path}/store"
    until(lambda: not [one for one in Path("/proc").glob("[0-9]*/environ") if store in _text(one)])


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def test_an_interruption_is_over_when_the_process_has_ended_what_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "slow_answers.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    time.sleep(0.7)\n"  # longer than Python's own patience with an interrupted child
        f"    open({str(tmp_path / 'ended')!r}, 'w').close()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("airflow_ml.cli.dag_task._ANSWERS", "slow_answers")
    with pytest.raises(KeyboardInterrupt):
        ask_dag("run", "a", "b", dags=None)
    assert (tmp_path / "ended").exists()
    assert "Interrupted" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with dag_task._any_end_as_interrupt():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
