"""The example profile files are read by the reader, and every profile in them makes a valid request."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest

from airflow_ml.core.batch_request import batch_requests
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.indexed_job import indexed_job
from airflow_ml.core.pod_security import violations
from airflow_ml.core.pod_template import pod_template
from airflow_ml.runtime.compute_profiles import read_profiles

from .compute_cases import request

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "dags_examples" / "compute_profiles").glob("*.toml"))
PROFILES = [
    pytest.param(profile, id=f"{path.stem}-{name}")
    for path in FILES
    for name, profile in (read_profiles(path) or {}).items()
]


@pytest.mark.parametrize("profile", PROFILES)
def test_it_makes_a_valid_request(profile: ComputeProfile) -> None:
    if profile.kind == "kubernetes":
        manifest = indexed_job(request(profile, calls=200))
        kubernetes_validate.validate(manifest, "1.37", strict=True)
        assert violations(pod_template(profile)["spec"], "restricted") == []  # type: ignore[arg-type]
    elif profile.kind == "batch":
        assert batch_requests(request(profile, calls=200))
    else:
        assert profile.kind == "local"


def test_the_places_that_are_told_of() -> None:
    assert {path.stem for path in FILES} == {"aks", "batch", "eks", "gke", "laptop", "on_premises"}


def test_names_are_shared_so_that_dags_run_unchanged() -> None:
    laptop = set(read_profiles(ROOT / "dags_examples" / "compute_profiles" / "laptop.toml") or {})
    for path in FILES:
        assert {"cpu", "gpu-large"} <= set(read_profiles(path) or {}), path.stem
    assert {"cpu", "gpu-small", "gpu-large"} <= laptop


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_page_shows_it(path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "compute.md").read_text(encoding="utf-8")
    assert f'--8<-- "dags_examples/compute_profiles/{path.name}"' in page
