"""Compute profiles: read strictly, overridden by single fields, refused with the remedy."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml import profile
from airflow_ml.core.compute import ComputeProfile, Gpus, grown, named_profile, profile_from_dict
from airflow_ml.core.compute_choice import BATCH, KUBERNETES, LOCAL
from airflow_ml.core.record import parse
from airflow_ml.errors import ConfigurationError

IMAGE = "registry.example.com/train@sha256:" + "0" * 64
CLUSTER = {"kind": "kubernetes", "image": IMAGE}
ARRAY = {"kind": "batch", "batch": {"queue": "gpu", "job_definition": "train:3"}}


def test_a_whole_profile() -> None:
    table = {
        **CLUSTER,
        "cpus": 8,
        "memory_gib": 64,
        "shm_gib": 16,
        "gpus": {"count": 2, "memory_gib": 80},
        "timeout_seconds": 14400,
        "kubernetes": {"namespace": "training", "tolerations": [{"key": "team", "operator": "Exists"}]},
    }
    made = profile_from_dict("gpu-large", table)
    assert made.kind == KUBERNETES
    assert made.resources.cpus == 8.0
    assert made.resources.gpus == Gpus(count=2, memory_gib=80)
    assert made.options["namespace"] == "training"
    assert parse(json.loads(json.dumps(made.to_dict()))) == made


def test_defaults_are_the_workers_own_processes() -> None:
    assert profile_from_dict("small", {}) == ComputeProfile(name="small", kind=LOCAL)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"kind": "slurm"}, "compute.toml, [p]: kind is none of its choices: 'slurm'. Use worker or local or kubernetes"),
    ({"cpu": 2}, "compute.toml, [p] has no option: cpu. Did you mean cpus?"),
    ({"cpus": "2"}, "compute.toml, [p]: cpus is not a number: '2'. Give a number."),
    ({"cpus": True}, "compute.toml, [p]: cpus is not a number: True"),
    ({"cpus": 0}, "compute.toml, [p]: cpus is out of range: 0. It must be 0.01 or more."),
    ({"cpus": float("nan")}, "cpus is out of range: nan. It must be finite"),
    ({"calls_per_index": 1.5}, "calls_per_index is not a whole number: 1.5"),
    ({"gpus": "many"}, "[p]: gpus: count is not a whole number: 'many'"),
    ({"gpus": {"counts": 2}}, "[p]: gpus has no option: counts. Did you mean count?"),
    ({"gpus": {"mig": "half"}}, "gpus: mig cannot be: 'half'. It is a MIG profile such as 1g.10gb."),
    ({"kubernetes": {}}, "[p] has no option: kubernetes"),
    ({**CLUSTER, "kubernetes": 7}, "compute.toml, [p.kubernetes] is not a table of options: 7"),
    (
        {**CLUSTER, "kubernetes": {"name_space": "x"}},
        "[p] kubernetes has no option: name_space. Did you mean namespace?",
    ),
    ({**CLUSTER, "kubernetes": {"namespace": "My Team"}}, "namespace cannot be: 'My Team'. It is a name of Kubernetes"),
    ({**CLUSTER, "kubernetes": {"spot": "sometimes"}}, "Use any or prefer or only or never."),
    (
        {**CLUSTER, "kubernetes": {"tolerations": {"key": "x"}}},
        "tolerations is not a list: {'key': 'x'}. Write it in",
    ),
    ({**CLUSTER, "kubernetes": {"env": {"DB_PASSWORD": "x"}}}, "env would show a secret: DB_PASSWORD"),
    ({**CLUSTER, "kubernetes": {"env": {"AIRFLOW__CORE__FERNET_KEY": "x"}}}, "env cannot set the variable: AIRFLOW__"),
    ({**CLUSTER, "kubernetes": {"env": {"A": "1"}, "secrets": {"A": "s/k"}}}, "env and secrets both set: A"),
    (
        {**CLUSTER, "kubernetes": {"secrets": {"KEY": "no-slash"}}},
        "secrets.KEY cannot be: 'no-slash'. It is secret/key",
    ),
    ({**CLUSTER, "kubernetes": {"run_as_user": 0}}, 'run_as_user is root: 0. Give another user, or pod_security = "b'),
    ({**CLUSTER, "kubernetes": {"labels": {"airflow-ml/dag": "x"}}}, "labels has a key of airflow-ml's own"),
    ({**CLUSTER, "kubernetes": {"labels": {"a b": "x"}}}, "labels has a key that Kubernetes refuses: a b"),
    ({**CLUSTER, "kubernetes": {"claims": {"../etc": "x"}}}, "claims has a folder that is not absolute: ../etc"),
    ({"kind": "kubernetes"}, "compute.toml, [p] lacks: image. Name one with Python >= 3.11"),
    ({"kind": "kubernetes", "image": "train:latest"}, "image is not named by its digest: train:latest"),
    (
        {**CLUSTER, "gpus": {"mig": "1g.10gb", "resource": "amd.com/gpu"}},
        "mig is NVIDIA's, the resource is: amd.com/gpu",
    ),
    ({**CLUSTER, "memory_gib": 8, "max_memory_gib": 4}, "max_memory_gib is below memory_gib: 4"),
    ({"kind": "batch"}, "[p] batch lacks: queue, job_definition. Add it."),
    ({**ARRAY, "image": IMAGE}, "a Batch job cannot choose its image"),
    ({**ARRAY, "shm_gib": 8}, "a Batch job cannot choose its /dev/shm: 8 GiB"),
    ({**ARRAY, "gpus": {"product": "A100"}}, "a Batch job can choose the number of its GPUs only: product"),
    ({**ARRAY, "batch": {**ARRAY["batch"], "scheduling_priority": 3}}, "scheduling_priority needs a share: 3"),  # type: ignore[dict-item]
]


@pytest.mark.parametrize(("table", "message"), WRONG, ids=[message[-40:] for _, message in WRONG])
def test_a_mistake_is_named_with_its_remedy(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        profile_from_dict("p", table, source="compute.toml")


def test_a_tag_is_taken_when_the_deployment_says_so() -> None:
    made = profile_from_dict("k", {"kind": "kubernetes", "image": "train:1", "kubernetes": {"image_by_tag": True}})
    assert made.image == "train:1"


def test_an_override_changes_one_field() -> None:
    base = profile_from_dict("gpu", {**CLUSTER, "cpus": 4, "gpus": {"count": 1, "product": "A100"}})
    made = named_profile(profile("gpu", gpus=4), {"gpu": base})
    assert made.resources.gpus == Gpus(count=4, product="A100")
    assert made.resources.cpus == 4
    assert named_profile(profile("gpu", gpus=0), {"gpu": base}).resources.gpus is None
    assert named_profile(profile("gpu", gpus={"count": 2}), {"gpu": base}).resources.gpus == Gpus(count=2)
    assert named_profile("gpu", {"gpu": base}) is base


def test_an_override_says_its_mistake_when_the_dag_is_parsed() -> None:
    with pytest.raises(ConfigurationError, match=r"profile\('gpu'\) has no option: gpu\. Did you mean gpus\?"):
        profile("gpu", gpu=4)
    for field in ("kind", "kubernetes", "options", "name"):
        with pytest.raises((ConfigurationError, TypeError)):
            profile("gpu", **{field: {}})


def test_an_override_is_checked_as_a_whole_where_it_meets_the_profile() -> None:
    base = profile_from_dict("gpu", CLUSTER)
    with pytest.raises(ConfigurationError, match="not named by its digest"):
        named_profile(profile("gpu", image="other:latest"), {"gpu": base})


def test_an_unknown_profile_names_those_there_are() -> None:
    base = profile_from_dict("gpu-large", ARRAY)
    with pytest.raises(
        ConfigurationError, match=r"'gpu-larg'\. Did you mean gpu-large\? This deployment has gpu-large, l"
    ):
        named_profile("gpu-larg", {"gpu-large": base})
    assert named_profile("worker", {}).kind == "worker"
    assert base.kind == BATCH
    with pytest.raises(ConfigurationError, match="compute is not a profile: 7"):
        named_profile(7, {})  # type: ignore[arg-type]


def test_memory_grows_once_and_no_further_than_allowed() -> None:
    base = profile_from_dict("gpu", {**CLUSTER, "memory_gib": 8, "max_memory_gib": 10})
    bigger = grown(base)
    assert bigger is not None
    assert bigger.resources.memory_gib == 10
    assert grown(bigger) is None
    assert grown(profile_from_dict("gpu", CLUSTER)) is None


@given(
    st.dictionaries(
        st.sampled_from(["kind", "cpus", "gpus", "image", "retries", "kubernetes", "batch", "python", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["batch"]),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
            max_leaves=4,
        ),
    )
)
def test_whatever_is_written_is_a_profile_or_an_explained_mistake(table: dict[str, Any]) -> None:
    mistake = ""
    try:
        made = profile_from_dict("p", table)
    except ConfigurationError as error:
        mistake = str(error)
    assert "[p" in mistake if mistake else parse(json.loads(json.dumps(made.to_dict()))) == made
