"""The verb ``render``: what would be sent to a cluster or to AWS Batch, without either of them."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_ml.cli.dag_task import ask_dag
from airflow_ml.cli.profiles import profile_meant
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.compute_choice import BATCH, KUBERNETES
from airflow_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_ml.core.job import JobRequest

#: Stands for what only a run knows.
_RUN, _NO_DIGEST = "render", "sha256:" + "0" * 64
_NO_STORE = "s3://your-bucket/airflow-ml"


def render(options: argparse.Namespace) -> int:
    """Print the manifest of a task's job as YAML, or its Batch requests as JSON."""
    if bool(options.dag) != bool(options.task):
        raise ConfigurationError("DAG and TASK belong together", options.dag, "Give both, or --compute alone.")
    if not options.dag and not options.compute:
        raise ConfigurationError("Nothing to render", "no DAG and no --compute", "Give DAG TASK, or --compute NAME.")
    task = ask_dag("describe", options.dag, options.task, dags=options.dags) if options.dag else {}
    profile = profile_meant(options.compute or task["compute"])
    calls = options.calls or int(task.get("calls", 1))
    if task.get("pod"):
        _print_pod(options, profile)
        return 0
    if profile.kind not in (KUBERNETES, BATCH):
        where = "the task's own process" if profile.kind == "worker" else "processes of the worker"
        print(f"Profile {profile.name} runs in {where}: nothing is sent anywhere.")
        return 0
    request = _request(options, profile, calls)
    if profile.kind == KUBERNETES:
        _print_manifest(options, request)
    else:
        from airflow_ml.core.batch_request import batch_requests

        print(json.dumps(batch_requests(request), indent=2, ensure_ascii=False))
    return 0


def _request(options: argparse.Namespace, profile: ComputeProfile, calls: int) -> JobRequest:
    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.fingerprint import digest_bytes, digest_json
    from airflow_ml.core.job import JobRequest
    from airflow_ml.runtime.zipapp import build_runtime

    owner = {"namespace": options.namespace, "dag": options.dag, "run": _RUN, "task": options.task}
    runtime = build_runtime()
    return JobRequest(
        key=digest_json([options.namespace, options.dag, _RUN, options.task, ""]),
        epoch=1,
        work=Artifact(uri="", digest=_NO_DIGEST, format="jsonl", size_bytes=0),
        calls=calls,
        runtime=Artifact(uri="", digest=digest_bytes(runtime), format="zip", size_bytes=len(runtime)),
        store_uri=options.store or _NO_STORE,
        profile=profile,
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        machine=platform.machine(),
        owner={key: value for key, value in owner.items() if value},
    )


def _print_pod(options: argparse.Namespace, profile: ComputeProfile) -> None:
    if profile.kind != KUBERNETES:
        raise ConfigurationError(f"{options.task} runs a pod", f"profile {profile.name} is of kind {profile.kind}",
                                 "Name a profile of kind kubernetes.")  # fmt: skip
    asked = {"profile": profile.to_dict()}
    manifest = ask_dag("pod", options.dag, options.task, dags=options.dags, settings=asked)["manifest"]
    if options.output == "json":
        print(json.dumps(manifest, indent=2, ensure_ascii=False))
        return
    print("# A run has five and more random letters behind the name, its own labels, and templates filled in.")
    print(as_yaml(manifest), end="")


def _print_manifest(options: argparse.Namespace, request: JobRequest) -> None:
    from airflow_ml.core.indexed_job import indexed_job

    manifest = indexed_job(request)
    if options.output == "json":
        print(json.dumps(manifest, indent=2, ensure_ascii=False))
        return
    print(f'# A run has its own id instead of "{_RUN}", and the digest of its own work instead of the zeros.')
    print(as_yaml(manifest), end="")


def as_yaml(value: Mapping[str, Any]) -> str:
    """Return plain data as YAML, texts of several lines as blocks."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)

    Dumper.add_representer(str, text)
    return yaml.dump(dict(value), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
