"""The verbs of airflow-ml against a real store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from airflow_ml.adapters.object_store import open_store
from airflow_ml.cli import main


@pytest.fixture
def store(tmp_path: Path) -> str:
    uri = f"file://{tmp_path}/store"
    opened = open_store(uri)
    opened.append("models/prod/churn", {"record": "ModelVersion", "version": "1"}, after=0)
    opened.append("models/prod/churn", {"record": "ModelVersion", "version": "2"}, after=1)
    opened.append(
        "rollouts/prod/churn", {"model": "churn", "namespace": "prod", "epoch": 1, "state": "running"}, after=0
    )
    return uri


def test_refs(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refs", "models", "--store", store, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"ref": "models/prod/churn", "entries": 2, "record": "ModelVersion"}]


@pytest.mark.parametrize(("arguments", "version"), [([], "2"), (["--entry", "1"], "1")])
def test_show(store: str, arguments: list[str], version: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "models/prod/churn", "--store", store, *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == version


def test_rollouts_as_a_table(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollouts", "--store", store]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["model", "namespace"]
    assert row.split()[:4] == ["churn", "prod", "1", "running"]


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["refs", "--store", f"file://{tmp_path}/empty"]) == 0
    assert capsys.readouterr().out == "Nothing there.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["show", "no/such"], "No such entry: no/such"), (["show", "../x"], "Not a ref name")],
)
def test_errors_are_one_line(
    store: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--store", store]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_no_store(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("AIRFLOW__ML__ARTIFACT_STORE", raising=False)
    assert main(["refs", "--store", ""]) == 1
    assert "AIRFLOW__ML__ARTIFACT_STORE" in capsys.readouterr().err


def test_a_sound_store_is_said_to_be_one(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsck", "--store", store]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "2 refs with 3 entries, 0 blobs (0 B) in 256 of 256 slices: nothing wrong."
    assert second.startswith("All blobs were read since 20")
    assert main(["fsck", "--store", store, "--slices", "3", "--minutes", "5", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_damaged_store_is_exit_code_1(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    opened = open_store(store)
    artifact = opened.put_bytes(b"content", format="bytes")
    opened.append("data", artifact.to_dict(), after=0)
    blob = opened.path(artifact)
    blob.chmod(0o644)
    blob.write_bytes(b"c0ntent")
    assert main(["fsck", "--store", store]) == 1
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["finding", "what", "named", "by"]
    assert row.split() == ["corrupt", artifact.digest, "data"]


def test_garbage_is_listed_and_removed_when_told(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    opened = open_store(store)
    lone = opened.put_bytes(b"lone", format="bytes")
    blob = opened.path(lone)
    os.utime(blob, (0, 0))
    assert main(["gc", "--store", store, "--grace-days", "1"]) == 0
    said = capsys.readouterr().out
    assert f"trash  {lone.digest}  4" in said
    assert "Nothing was done. Give --yes to do it." in said
    assert blob.exists()
    assert main(["gc", "--store", store, "--yes", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"do": "trash", "digest": lone.digest, "size_bytes": 4}]
    assert not blob.exists()
    assert opened.get_bytes(lone) == b"lone", "a read brings it back"
    assert main(["gc", "--store", store, "--grace-days", "0"]) == 1
    assert "at least 1:00:00" in capsys.readouterr().err
