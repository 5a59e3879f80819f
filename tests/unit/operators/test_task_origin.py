"""Git, bundle, image: what a task's record says of where it ran; and what OpenLineage is told."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import DAG, task

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.provenance import Provenance, task_ref
from airflow_ml.operators.task_origin import origin_tags
from airflow_ml.runtime import code_state
from airflow_ml.runtime.codecs import store_value


def doubled(frame: Any) -> Any:
    return frame * 2


def broken(frame: Any) -> Any:
    raise ValueError("no luck")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose DAG file was changed by hand, with a password in it."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "dag.py").write_text("x = 1\n")
    for command in (
        ["init", "-q", "-b", "fix"], ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=folder, check=True)
    (folder / "dag.py").write_text('x = 2\npassword = "planted-in-a-file"\n')
    code_state.git_state.cache_clear()
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    store = FolderStore(tmp_path / "store")
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
    monkeypatch.setenv("AIRFLOW_ML_IMAGE", "registry.example/ml:3")
    return store


def run(store: FolderStore, file: Path, function: Any = doubled, **more: Any) -> tuple[Any, Provenance]:
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:
        operator: Any = task.ml(task_id="t")(function)(store_value(pd.DataFrame({"a": [1]}), store).to_dict()).operator
    dag.fileloc = str(file)
    instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, **more)
    try:
        operator.execute({"ti": instance, "params": {"depth": 3}})
    except ValueError:
        assert function is broken
    entry = store.latest(task_ref("prod", "d", "r", "t"))
    assert entry is not None
    return operator, Provenance.from_dict(entry.value)


def test_uncommitted_changes_are_kept_without_secrets(store: FolderStore, checkout: Path) -> None:
    _, found = run(store, checkout / "dag.py")
    assert (found.git.branch, found.git.dirty, found.image) == ("fix", "yes", "registry.example/ml:3")
    kept = store.get_bytes(Artifact(digest=found.git.changes, format="text", size_bytes=0, uri="")).decode()
    assert "+x = 2" in kept
    assert "+password =" in kept
    everything = b"".join(path.read_bytes() for path in (store._root).rglob("*") if path.is_file())
    assert b"planted-in-a-file" not in everything


def test_outside_of_git_nothing_is_known(store: FolderStore, tmp_path: Path) -> None:
    _, found = run(store, tmp_path / "dag.py")
    assert (found.git.commit, found.git.changes) == ("unknown", "")


def test_a_version_of_a_bundle_is_asked_for_once(
    store: FolderStore, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bundle = SimpleNamespace(name="dags", version="abc")
    _, first = run(store, checkout / "dag.py", bundle_instance=bundle)
    assert (first.bundle, first.bundle_version) == ("dags", "abc")
    monkeypatch.setattr(code_state, "git_state", lambda folder: pytest.fail("asked again"))
    _, second = run(store, checkout / "dag.py", bundle_instance=bundle)
    assert second.git.commit == first.git.commit != "unknown"


def test_tags_for_a_tracking_server(store: FolderStore, checkout: Path) -> None:
    operator, _ = run(store, checkout / "dag.py")
    tags = origin_tags(operator, {"params": {"depth": 3, "password": "planted"}})  # type: ignore[arg-type,typeddict-item]
    assert (tags["airflow_ml.git_branch"], tags["airflow_ml.image"]) == ("fix", "registry.example/ml:3")
    assert json.loads(tags["airflow_ml.params"]) == {"depth": 3, "password": "***"}
    assert "airflow_ml.bundle" not in tags, "what is unknown is no tag"


@pytest.mark.parametrize("function", [doubled, broken])
def test_openlineage_hears_of_inputs_outputs_and_cause(
    store: FolderStore, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Any
) -> None:
    """Through the real provider's extractor manager, as its listener asks it, and its client's file transport."""
    from airflow.providers.openlineage.extractors.manager import ExtractorManager
    from airflow.utils.state import TaskInstanceState
    from openlineage.client import OpenLineageClient
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.uuid import generate_new_uuid

    operator, record = run(store, checkout / "dag.py", function)
    state = TaskInstanceState.SUCCESS if function is doubled else TaskInstanceState.FAILED
    manager, of_run = ExtractorManager(), SimpleNamespace(run_id="r")
    assert manager.extract_metadata(of_run, operator, TaskInstanceState.RUNNING, None).run_facets == {}
    found = manager.extract_metadata(of_run, operator, state, None)
    log = tmp_path / "events.json"
    client = OpenLineageClient(transport=FileTransport(FileConfig(log_file_path=str(log), append=True)))
    client.emit(
        RunEvent(
            eventType=RunState.COMPLETE, eventTime=datetime.now(UTC).isoformat(), producer="https://example.org",
            run=Run(runId=str(generate_new_uuid()), facets=found.run_facets), job=Job(namespace="d", name="t"),
            inputs=found.inputs, outputs=found.outputs,
        )
    )  # fmt: skip
    event = json.loads(log.read_text().splitlines()[0])
    told = event["run"]["facets"]["airflow_ml"]["provenance"]
    assert (told["git"]["branch"], told["outcome"], told["params"]) == ("fix", record.outcome, {"depth": 3})
    assert [one["name"] for one in event["inputs"]] == [f"Artifact/{record.inputs[0].digest[7:]}"]
    assert event["inputs"][0]["namespace"] == store.uri
    if function is doubled:
        assert event["outputs"][0]["facets"]["version"]["datasetVersion"] == record.outputs[0].digest
        assert event["outputs"][0]["facets"]["schema"]["fields"][0]["name"] == "a"
    else:
        assert event["run"]["facets"]["errorMessage"]["message"] == "ValueError: no luck"
