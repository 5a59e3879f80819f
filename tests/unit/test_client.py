"""Runs out of a store, and the verbs that look at them, without Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import airflow_ml
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.cli import main
from airflow_ml.client import find_run, runs
from airflow_ml.core.call import Call, FunctionRef
from airflow_ml.core.provenance import Provenance, find_handles, index_ref, run_ref, task_ref
from airflow_ml.core.record import encode
from airflow_ml.errors import ArtifactNotFound, ConfigurationError, NotARecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNS = [f"scheduled__2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3)]


def call(limit: int, code: str) -> Call:
    function = FunctionRef(kind="source", module="dag.py", qualname="work", digest=code)
    return Call(function=function, arguments={"limit": limit}, seed=0, environment="e")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "store")
    for day, run in enumerate(RUNS):
        began = NOW + timedelta(days=day)
        head: dict[str, Any] = {"dag": "d", "run": run, "namespace": "prod", "started_at": encode(began)}
        store.append(index_ref("prod", "d"), head, after=2 * day)
        store.append(index_ref("prod", "d"), head, after=2 * day + 1)  # two tasks began the run together
        store.append(run_ref("prod", "d", run), head, after=0)
        made = store.put_bytes(f"day {day}".encode(), format="bytes")
        work = Provenance(
            dag="d", run=run, task="stage.work", namespace="prod", operator="@task.ml", airflow_ml="0", python="3",
            platform="p", cpu="c", cpus=2, environment="e", started_at=began, ended_at=began + timedelta(seconds=2),
            outcome="succeeded", outputs=tuple(find_handles("return", made)), cache="miss" if day != 1 else "hit",
            call=call(5 if day < 2 else 6, "sha256:code"),
        )  # fmt: skip
        mapped = replace(work, task="shards", map_index=day, outcome="failed", error="ValueError: x", call=None)
        for item in (work, mapped):
            store.append(task_ref("prod", "d", run, item.task, item.map_index), item.to_dict(), after=0)
    return store


def test_runs_are_listed_once_newest_first(store: FolderStore) -> None:
    assert [run.run for run in runs(store=store)] == RUNS[::-1]
    assert [run.run for run in airflow_ml.runs("d", store=store.uri)] == RUNS[::-1]
    assert runs("other", store=store) == runs(store=store, namespace="mine") == []


def test_a_run_gives_its_tasks(store: FolderStore) -> None:
    run = find_run("d", store=store)
    assert run.tasks == ("shards[2]", "stage.work")
    (made,) = run["work"].outputs
    assert isinstance(made, airflow_ml.Artifact)
    assert store.get_bytes(made) == b"day 2"
    assert run["stage.work"].outcome == "succeeded"
    assert run["shards[2]"].provenance.error == "ValueError: x"
    with pytest.raises(ArtifactNotFound, match=r"shards\[2\], stage.work"):
        run["features"]


def test_what_names_a_run(store: FolderStore) -> None:
    assert find_run("d", "before", store=store).run == RUNS[1]
    assert find_run("d", "scheduled__2026-01-01", store=store).run == RUNS[0]
    with pytest.raises(ConfigurationError, match="Several runs"):
        find_run("d", "scheduled__", store=store)
    with pytest.raises(ArtifactNotFound):
        find_run("d", "manual", store=store)


def test_an_output_by_its_address(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
    made = [airflow_ml.load(f"d/work@{run}") for run in (RUNS[0], "before", "latest")]
    assert [store.get_bytes(item) for item in made] == [b"day 0", b"day 1", b"day 2"]  # type: ignore[arg-type]  # artifacts
    assert airflow_ml.load("d/work") == made[2]
    for address, error in (("d", NotARecord), ("d/none@latest", ArtifactNotFound), ("d/work@manual", ArtifactNotFound)):
        with pytest.raises(error):
            airflow_ml.load(address)


def test_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__ML__ARTIFACT_STORE", raising=False)
    with pytest.raises(ConfigurationError, match="No artifact store"):
        runs()


def said(store: FolderStore, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--store", store.uri, "--output", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_runs_and_show(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    rows = said(store, capsys, "runs", "--limit", "2")
    assert [(row["run"], row["tasks"], row["failed"]) for row in rows] == [(RUNS[2], 2, 1), (RUNS[1], 2, 1)]
    shown = said(store, capsys, "show", "d/latest")
    assert [item["task"] for item in shown] == ["shards", "stage.work"]
    assert main(["show", f"d/{RUNS[0]}", "--store", store.uri]) == 0
    assert "ValueError: x" in capsys.readouterr().out


def test_diff(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(store, capsys, "diff", "d/latest", "d/latest") == {"changes": [], "code": [], "data": []}
    changes = said(store, capsys, "diff", "d/before", "d/latest")["changes"]
    assert [change["what"] for change in changes] == ["ran in the first run only", "ran in the second run only"]


def test_lineage(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    made = find_run("d", store=store)["work"].provenance.outputs[0].digest
    (row,) = said(store, capsys, "lineage", made)
    assert (row["digest"], row["run"], row["task"]) == (made, RUNS[2], "stage.work")
    assert main(["lineage", made, "--up", "--down", "--store", store.uri]) == 1


def test_why(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = (said(store, capsys, "why", "d", run, "stage.work") for run in RUNS)
    assert first == {"cache": "miss", "nearest": "", "changed": []}
    assert second == {"cache": "hit", "nearest": f"{RUNS[0]}, task stage.work", "changed": []}
    assert third == {"cache": "miss", "nearest": f"{RUNS[1]}, task stage.work", "changed": ["arguments.limit"]}
    assert main(["why", "d", "latest", "shards", "--store", store.uri]) == 1
    assert "shards[2] has no key" in capsys.readouterr().err


def test_neither_client_nor_command_imports_airflow(store: FolderStore) -> None:
    program = (
        "import sys, airflow_ml; from airflow_ml.cli import main; "
        f"airflow_ml.runs(store={store.uri!r}); main(['show', 'd/latest', '--store', {store.uri!r}]); "
        "sys.exit(any(name.partition('.')[0] in ('airflow', 'pandas', 'pyarrow') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL).returncode == 0
