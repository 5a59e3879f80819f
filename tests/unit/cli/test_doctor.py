"""`doctor` without a profile: what is installed, whether the store works, whether connections answer."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from airflow_ml.cli import doctor
from airflow_ml.cli.main import main
from airflow_ml.core.finding import MISSING, OK, UNKNOWN
from airflow_ml.hooks.connection_checks import examine_connections
from airflow_ml.runtime import installation


def found(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, tuple[str, str]]:
    assert main(["doctor", "--output", "json", *arguments]) == code
    return {row["check"]: (row["state"], row["seen"]) for row in json.loads(capsys.readouterr().out)}


def test_an_installation_is_told_with_its_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = found(capsys, "--store", str(tmp_path / "store"))
    assert rows["airflow-ml"][0] == OK
    assert f"mlflow {metadata.version('mlflow')}" in rows["extra mlflow"][1]
    assert rows["store from here"][0] == OK
    assert not [check for check in rows if check.startswith("connection")], "those are Airflow's"


def test_what_is_absent_or_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def other(name: str) -> str:
        if name == "great-expectations":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "optuna" else version(name)

    monkeypatch.setattr(installation.metadata, "version", other)
    rows = {finding.check: finding for finding in installation.examine_installation()}
    assert (rows["extra gx"].state, rows["extra gx"].seen) == (UNKNOWN, "not installed: great-expectations")
    assert (rows["extra optuna"].state, rows["extra optuna"].seen) == (MISSING, "too old: optuna 0.1")
    assert 'pip install "airflow-ml[optuna]"' in rows["extra optuna"].remedy


def test_a_store_or_a_profile_file_that_does_not_work_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "profiles.toml").write_text("[gpu]\nkind = 'kubernets'\n")
    monkeypatch.setenv("AIRFLOW__ML__COMPUTE_PROFILES", str(tmp_path / "profiles.toml"))
    rows = found(capsys, "--store", str(tmp_path / "file"), code=doctor.EXIT_MISSING)
    assert rows["store from here"][0] == MISSING
    assert rows["compute profiles"][0] == MISSING
    assert "kubernets" in rows["compute profiles"][1]


def test_connections_are_asked_where_airflow_knows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", "mlflow://127.0.0.1:9")
    monkeypatch.delenv("AIRFLOW_CONN_GATEWAY_DEFAULT", raising=False)
    monkeypatch.setattr(doctor, "airflow_side", examine_connections)
    rows = found(capsys, "--store", str(tmp_path / "store"), code=doctor.EXIT_MISSING)
    assert rows["connection mlflow_default"][0] == MISSING
    assert "refused" in rows["connection mlflow_default"][1]
    assert rows["connection gateway_default"] == (UNKNOWN, "not defined")


def test_a_probe_needs_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--probe", "--store", str(tmp_path / "store")]) == 1
    assert "--compute NAME" in capsys.readouterr().err
