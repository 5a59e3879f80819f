"""The profile file: read as a whole, and told where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_ml import profile
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.compute_profiles import compute_profile, read_profiles

FILE = """
[laptop]
cpus = 2

[array]
kind = "batch"
batch = { queue = "cpu", job_definition = "train" }
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "compute.toml"
    file.write_text(FILE)
    return str(file)


def test_profiles_by_name(path: str) -> None:
    assert {name: one.kind for name, one in (read_profiles(path) or {}).items()} == {
        "laptop": "local",
        "array": "batch",
    }
    assert compute_profile("array", path=path).kind == "batch"
    assert compute_profile(profile("laptop", cpus=1), path=path).resources.cpus == 1


def test_a_name_that_the_file_lacks_is_an_error(path: str) -> None:
    with pytest.raises(ConfigurationError, match="This deployment has array, laptop, local, worker"):
        compute_profile("gpu", path=path)


@pytest.mark.parametrize(("file", "why"), [("", "[ml] compute_profiles is empty"), ("/no/such.toml", "does not exist")])
def test_without_a_file_every_name_means_local_and_the_log_says_so(file: str, why: str) -> None:
    said: list[str] = []
    made = compute_profile(profile("gpu-large", cpus=4), path=file, log=said.append)
    assert (made.name, made.kind, made.resources.cpus) == ("gpu-large", "local", 4)
    assert why in said[0]
    assert compute_profile("worker", path=file, log=said.append).kind == "worker"
    assert compute_profile("local", path=file, log=said.append).kind == "local"
    assert len(said) == 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "compute.toml"
    file.write_text("[laptop\ncpus = 2")
    with pytest.raises(ConfigurationError, match=r"not TOML: .*compute\.toml: .*line 1"):
        read_profiles(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_profiles(tmp_path)
    file.write_text("cpus = 2")
    with pytest.raises(ConfigurationError, match=r"compute\.toml, \[cpus\] is not a table of options: 2"):
        read_profiles(file)
