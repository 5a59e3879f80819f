"""Indexed Jobs: what each option becomes, and that Kubernetes' own schemas accept every one of them."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_ml.core import far_side
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.indexed_job import indexed_job
from airflow_ml.core.job_names import job_name
from airflow_ml.errors import ConfigurationError

from .compute_cases import cluster, cluster_profiles, request

#: The newest minors whose schemas the validator holds.
MINORS = sorted({tuple(int(part) for part in one.split(".")[:2]) for one in kubernetes_validate.utils.all_versions()})[
    -3:
]


def spec_of(job: dict[str, Any]) -> dict[str, Any]:
    return job["spec"]  # type: ignore[no-any-return]


def test_indexes_and_what_becomes_of_a_failed_one() -> None:
    spec = spec_of(indexed_job(request(cluster(parallelism=50, calls_per_index=10, retries=3), calls=10_001)))
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 1001, 50)
    assert spec["backoffLimitPerIndex"] == 3
    ignore, fail = spec["podFailurePolicy"]["rules"]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert fail["action"] == "FailIndex"
    assert fail["onExitCodes"]["values"] == [64, 69, 137]
    assert "maxFailedIndexes" not in spec
    assert "successPolicy" not in spec
    assert spec["suspend"] is False


def test_the_container_runs_the_far_side() -> None:
    asked = request(cluster(), calls=4, python="3.12", machine="x86_64")
    (container,) = spec_of(indexed_job(asked))["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "-c", far_side.BOOTSTRAP]
    given_env = {one["name"]: one["value"] for one in container["env"]}
    assert far_side.environment(asked).items() <= given_env.items()


def test_queues_bounds_and_enough() -> None:
    options = {"kueue_queue": "gpu", "max_failed_indexes": 50, "success_fraction": 0.95, "ttl_seconds": 600}
    job: Any = indexed_job(request(cluster(options), calls=200))
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu"
    assert job["spec"]["suspend"] is True
    assert job["spec"]["maxFailedIndexes"] == 50
    assert job["spec"]["successPolicy"] == {"rules": [{"succeededCount": 190}]}
    assert job["spec"]["ttlSecondsAfterFinished"] == 600


def test_too_many_indexes() -> None:
    assert spec_of(indexed_job(request(cluster(), calls=100_000)))["completions"] == 100_000
    with pytest.raises(ConfigurationError, match="100001 calls by 1 make 100001"):
        indexed_job(request(cluster(), calls=100_001))


def test_whole_names_stand_in_the_annotations() -> None:
    asked = request(cluster(), owner={"dag": "Prévision/è" * 30, "task": "t", "run": "manual__2026", "map_index": "7"})
    job: Any = indexed_job(asked)
    assert job["metadata"]["annotations"]["airflow-ml/dag"] == "Prévision/è" * 30
    assert job["metadata"]["annotations"]["airflow-ml/request"] == asked.fingerprint
    assert job["metadata"]["labels"]["airflow-ml/map_index"] == "7"
    assert job["metadata"]["labels"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert job["metadata"]["name"] == job_name(asked)


@pytest.mark.parametrize("minor", MINORS, ids=str)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(profile=cluster_profiles(), calls=st.integers(1, 100_000))
def test_the_schemas_of_kubernetes_accept_every_manifest(
    minor: tuple[int, int], profile: ComputeProfile, calls: int
) -> None:
    job = indexed_job(request(profile, calls=calls))
    kubernetes_validate.validate(job, f"{minor[0]}.{minor[1]}", strict=True)


def test_the_schemas_refuse_what_is_wrong() -> None:
    job: Any = indexed_job(request(cluster()))
    job["spec"]["backoffLimitPerIndexes"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, f"{MINORS[-1][0]}.{MINORS[-1][1]}", strict=True)
