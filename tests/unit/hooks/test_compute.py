"""The deployment's setting names the profile file."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_ml.hooks.compute import compute_profile


def test_the_setting_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "compute.toml"
    file.write_text('[array]\nkind = "batch"\nbatch = { queue = "cpu", job_definition = "train" }\n')
    monkeypatch.setenv("AIRFLOW__ML__COMPUTE_PROFILES", str(file))
    assert compute_profile("array").options["queue"] == "cpu"


def test_without_the_setting_a_name_means_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__ML__COMPUTE_PROFILES", raising=False)
    assert compute_profile("gpu-large").kind == "local"
