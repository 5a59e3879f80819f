"""The verb reap, on jobs of a cluster: told first, ended when asked, and nothing that somebody waits for."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
from job_parts import calls, kubernetes_profile

from airflow_ml.adapters import batch_connection
from airflow_ml.adapters.batch import REQUEST_TAG
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.kubernetes import KubernetesJobs
from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.cli import main, reap
from airflow_ml.core.job import FAILED, LOST, JobStatus
from airflow_ml.core.job_attempt import JobAttempt
from airflow_ml.runtime.remote_job import RemoteJobs
from airflow_ml.testing.kubernetes import KubernetesDouble, Node, kubernetes_double

PROFILES = """
[here]
[k8s]
kind = "kubernetes"
image = "python:here"
kubernetes = { image_by_tag = true }
[k8s-large]
kind = "kubernetes"
image = "python:here"
memory_gib = 64
kubernetes = { image_by_tag = true }
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesDouble]:
    with kubernetes_double(nodes=[Node()]) as double:
        yield double


@pytest.fixture
def remote(cluster: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteJobs:
    (tmp_path / "compute.toml").write_text(PROFILES)
    monkeypatch.setenv("AIRFLOW_ML_COMPUTE_PROFILES", str(tmp_path / "compute.toml"))
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    backend = KubernetesJobs(KubernetesApi(cluster.client()))
    return RemoteJobs(FolderStore(tmp_path / "store"), lambda place: backend)


def begin(remote: RemoteJobs, folder: Path, task: str) -> JobAttempt:
    """Begin a job that stays as it is: it is suspended."""
    owner = {"namespace": "test", "dag": "d", "run": "r", "task": task}
    profile = kubernetes_profile(kubernetes={"suspend": True})
    return remote.begin(f"{folder}/{task}", calls(folder, remote.store, [{"number": 1}]), profile, owner=owner,
                        generation="0")  # fmt: skip


def reaped(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["reap", "--output", "json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_what_lost_its_owner_is_told_and_ended_when_asked(
    remote: RemoteJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, kept = begin(remote, tmp_path, "lost"), begin(remote, tmp_path, "kept")
    assert lost.handle is not None
    remote.end(lost, JobStatus(phase=FAILED, indexes=1))  # and the worker died before it ended the job
    [row] = reaped(capsys)
    assert (row["job"], row["task"], row["ended"]) == (lost.handle.names[0], "d/r/lost", "no")
    assert "its attempt is ended" in row["reason"]
    assert main(["reap"]) == 0
    assert "1 job lost its owner.\nNothing was done. Give --yes to end them." in capsys.readouterr().out
    assert remote.look(lost).phase != LOST
    [row] = reaped(capsys, "k8s", "--yes")
    assert row["ended"] == "yes"
    assert remote.look(lost).phase == LOST
    assert reaped(capsys, "--yes") == []
    assert remote.look(kept).phase != LOST
    assert remote.cancel(kept.key, 1, 1, "the end of the test")


def test_airflows_own_command_asks_for_the_task_too(
    remote: RemoteJobs, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = begin(remote, tmp_path, "failed")
    begin(remote, tmp_path, "runs")
    states = {"failed": "failed"}
    side = reap.AirflowSide(backend=remote._backend, final_state=lambda owner: states.get(owner["task"], ""))
    monkeypatch.setattr(reap, "airflow_side", side)
    [row] = reaped(capsys, "--yes")
    assert (row["task"], row["reason"]) == ("d/r/failed", "its task is failed")
    assert remote.look(failed).phase == LOST
    states["runs"] = "removed"
    assert len(reaped(capsys, "--yes")) == 1


def test_a_place_that_cannot_be_seen_is_an_error_and_names_itself(
    remote: RemoteJobs, cluster: KubernetesDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.access.deny("list", "jobs")
    try:
        assert main(["reap"]) == 1
    finally:
        cluster.access.allow_all()
    assert "kubernetes default could not be checked" in capsys.readouterr().err


def test_without_profiles_there_is_nothing_to_look_at(
    remote: RemoteJobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_ML_COMPUTE_PROFILES", "/no/such.toml")
    assert main(["reap"]) == 1
    assert "There are no compute profiles to look at: /no/such.toml" in capsys.readouterr().err


class Region:
    """Batch in one region, with one job in its queue, or none."""

    def __init__(self, tags: dict[str, str] | None) -> None:
        self.jobs = [{"jobId": "1", "jobName": "one", "status": "RUNNING", "tags": tags}] if tags else []
        self.ended: list[str] = []

    def list_jobs(self, jobStatus: str, **asked: str) -> Any:
        return {"jobSummaryList": [job for job in self.jobs if job["status"] == jobStatus]}

    def describe_jobs(self, jobs: list[str]) -> Any:
        return {"jobs": [job for job in self.jobs if job["jobId"] in jobs]}

    def terminate_job(self, jobId: str, reason: str) -> Any:
        self.ended.append(jobId)
        return {}


def test_jobs_of_batch_are_looked_for_and_ended_in_the_region_of_their_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, remote: RemoteJobs
) -> None:
    lost = begin(remote, tmp_path, "abroad")
    remote.cancel(lost.key, 1, 1, "the user")
    tags = {"airflow-ml:key": lost.key, "airflow-ml:epoch": "1", REQUEST_TAG: lost.request.fingerprint}
    regions = {"eu-central-1": Region(None), "us-west-2": Region(tags)}
    (tmp_path / "compute.toml").write_text(
        "".join(
            f'[{name}]\nkind = "batch"\nbatch = {{ queue = "q", job_definition = "d", region = "{name}" }}\n'
            for name in regions
        )
    )
    monkeypatch.setattr(batch_connection, "open_batch", lambda region: lambda service: regions[region])
    [row] = reaped(capsys, "--yes")
    assert (row["job"], row["ended"]) == ("1", "yes")
    assert [one.ended for one in regions.values()] == [[], ["1"]]
