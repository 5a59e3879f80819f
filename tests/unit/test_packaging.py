"""What `pip install airflow-ml` brings: light, with floors, locked with hashes, and nothing else in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
#: Oldest versions without known holes that concern us: SQL injection, secrets in trigger rows, unsafe model files.
SECURITY_FLOORS = {
    "apache-airflow": "3.3.0",
    "apache-airflow-providers-snowflake": "6.4",
    "apache-airflow-providers-amazon": "9.38",
    "apache-airflow-providers-cncf-kubernetes": "10.17",
    "mlflow": "3.17",
}


def requirements() -> list[Requirement]:
    extras = [item for name, items in EXTRAS.items() if name != "all" for item in items]
    return [Requirement(item) for item in [*PROJECT["dependencies"], *extras]]


def floor(requirement: Requirement) -> Version:
    (only,) = [item.version for item in requirement.specifier if item.operator == ">="]
    return Version(only)


def test_base_install_is_light() -> None:
    assert sorted(Requirement(item).name for item in PROJECT["dependencies"]) == ["apache-airflow", "pyarrow"]


def test_extras() -> None:
    assert {"snowflake", "amazon", "kubernetes", "mlflow", "gx", "optuna", "all"} <= set(EXTRAS)
    (everything,) = (Requirement(item) for item in EXTRAS["all"])
    assert everything.extras == set(EXTRAS) - {"all"}


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_dependency_has_a_floor_and_no_ceiling(requirement: Requirement) -> None:
    assert [item.operator for item in requirement.specifier] == [">="]
    assert floor(requirement) >= Version(SECURITY_FLOORS.get(requirement.name, "0"))


def test_lock_has_hashes_and_no_address() -> None:
    lock = (ROOT / "constraints.txt").read_text()
    assert "://" not in lock
    assert not re.search(r"^\s*--(index|extra|find|trusted)", lock, re.MULTILINE)
    pinned = re.findall(r"^([a-z0-9][a-z0-9._-]*)==\S+ \\$", lock, re.MULTILINE)
    hashed = re.findall(r"^([a-z0-9][a-z0-9._-]*)==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    assert pinned == hashed
    assert {"apache-airflow", "mlflow", "great-expectations", "fakesnow"} <= set(pinned)
    assert not re.search(r"^[a-z0-9][^=\n]*==[^\\\n]*$", lock, re.MULTILINE)


def test_wheel_holds_the_package_only(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith("METADATA"))
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
        described = archive.read(metadata).decode()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"airflow_ml"}
    assert "airflow_ml/py.typed" in names
    pages = {name.removeprefix("airflow_ml/plugin/www/") for name in names if "/www/" in name}
    built = {"airflow_ml.js", "icon-dark.svg", "icon-light.svg", "LICENSES.md", "SOURCES.sha256"}
    assert pages == {f"dist/{name}" for name in built}
    assert "[apache_airflow_provider]" in entry_points
    assert "[airflow.plugins]" in entry_points
    assert "License-Expression: Apache-2.0" in described
