"""Profiles and requests for the tests of manifests: hand-made ones, and strategies over all that a file may say."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.compute import ComputeProfile, profile_from_dict
from airflow_ml.core.job import JobRequest

IMAGE = "registry.example.com/train@sha256:" + "0" * 64


def artifact(letter: str = "a") -> Artifact:
    return Artifact(uri="file:///store/x", digest="sha256:" + letter * 64, format="zip", size_bytes=1)


def request(profile: ComputeProfile, *, calls: int = 3, **changes: Any) -> JobRequest:
    owner = {"namespace": "prod", "dag": "flights", "run": "manual__2026-11-23T10:00:00+00:00", "task": "train.shards"}
    fields: dict[str, Any] = {
        "key": "sha256:" + "c" * 64,
        "epoch": 1,
        "work": artifact("a"),
        "runtime": artifact("b"),
        "store_uri": "s3://bucket/prefix",
        "owner": owner,
    }
    return JobRequest(calls=calls, profile=profile, **(fields | changes))


def cluster(kubernetes: dict[str, Any] | None = None, **table: Any) -> ComputeProfile:
    return profile_from_dict(
        "gpu", {"kind": "kubernetes", "image": IMAGE, "kubernetes": kubernetes or {}, **table}, source="compute.toml"
    )


def array(batch: dict[str, Any] | None = None, **table: Any) -> ComputeProfile:
    own = {"queue": "gpu", "job_definition": "train:3", **(batch or {})}
    return profile_from_dict("array", {"kind": "batch", "batch": own, **table}, source="compute.toml")


_names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
_label_values = st.from_regex(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?)?", fullmatch=True)
_gib = st.integers(1, 65_536).map(lambda sixteenths: sixteenths / 16)
_label_keys = st.builds(lambda domain, name: f"{domain}.example/{name}", _names, _names)
_gpus = st.fixed_dictionaries(
    {},
    optional={
        "count": st.integers(1, 16),
        "mig": st.sampled_from([None, "1g.10gb", "3g.40gb"]),
        "memory_gib": st.none() | st.integers(1, 192),
        "product": st.sampled_from([None, "NVIDIA-A100-SXM4-80GB"]),
    },
)
_options = st.fixed_dictionaries(
    {},
    optional={
        "namespace": _names,
        "service_account": st.none() | _names,
        "node_selector": st.dictionaries(_label_keys, _label_values, max_size=2),
        "tolerations": st.lists(st.just({"key": "team", "operator": "Exists"}), max_size=2),
        "runtime_class": st.none() | _names,
        "priority_class": st.none() | _names,
        "kueue_queue": st.none() | _names,
        "image_pull_secrets": st.lists(_names, max_size=2),
        "spot": st.sampled_from(["any", "prefer", "only", "never"]),
        "env": st.dictionaries(st.sampled_from(["NCCL_DEBUG", "MODE"]), st.text(max_size=9), max_size=2),
        "secrets": st.dictionaries(
            st.sampled_from(["AWS_SECRET_ACCESS_KEY", "HF_TOKEN"]), st.just("team/key"), max_size=2
        ),
        "claims": st.dictionaries(st.sampled_from(["/mnt/store", "/data"]), _names, max_size=2),
        "labels": st.dictionaries(_label_keys, _label_values, max_size=2),
        "annotations": st.dictionaries(_label_keys, st.text(max_size=9), max_size=2),
        "max_failed_indexes": st.none() | st.integers(0, 100_000),
        "success_fraction": st.none() | st.floats(0.001, 1),
        "ttl_seconds": st.integers(60, 10**6),
        "suspend": st.booleans(),
        "grace_seconds": st.integers(1, 3600),
        "run_as_user": st.integers(1, 2**31 - 1),
        "writable_root_filesystem": st.booleans(),
    },
)


@st.composite
def cluster_profiles(draw: st.DrawFn) -> ComputeProfile:
    """All that a file may say for kind ``kubernetes``, but ``pod_security``."""
    table = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "cpus": st.floats(0.01, 128).map(lambda value: round(value, 3)),
                "memory_gib": _gib,
                "ephemeral_gib": _gib,
                "shm_gib": _gib,
                "gpus": _gpus | st.integers(0, 8),
                "timeout_seconds": st.none() | st.floats(1, 1e6),
                "retries": st.integers(0, 9),
                "parallelism": st.integers(1, 100_000),
                "calls_per_index": st.integers(1, 1000),
            },
        )
    )
    return cluster(draw(_options), **table)
