"""Small jobs that run for real, for tests of backends."""

from __future__ import annotations

import importlib.util
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_ml.core.call import Call
from airflow_ml.core.compute import ComputeProfile, profile_from_dict
from airflow_ml.core.job import ENDED, JobHandle, JobRequest, JobStatus
from airflow_ml.core.ports import ArtifactStore, JobBackend
from airflow_ml.runtime.call import CallJob
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.work import store_work
from airflow_ml.runtime.zipapp import store_runtime

TEXT = """
def work(number, folder=None, seconds=0.0, memory=0):
    import os, time
    print("working on", number)
    if folder is not None:
        with open(os.path.join(folder, f"ran-{number}"), "a") as file:
            file.write("x")
    time.sleep(seconds)
    if number == 13:
        raise ValueError("an unlucky number")
    return number * number
"""


def work_function(folder: Path, text: str = TEXT) -> Callable[..., Any]:
    """Return ``work`` out of a file that is imported as Airflow imports a DAG file."""
    file = folder / "work_file.py"
    file.write_text(text)
    name = f"unusual_prefix_{abs(hash(str(folder)))}_work"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    found: Callable[..., Any] = loaded.work
    return found


def calls(folder: Path, store: ArtifactStore, arguments: Sequence[Mapping[str, Any]]) -> list[CallJob]:
    """Return jobs that call ``work``."""
    function = as_function_ref(capture(work_function(folder)), store)
    return [CallJob(call=Call(function=function, arguments=given, seed=1, environment="e")) for given in arguments]


def kubernetes_profile(**options: Any) -> ComputeProfile:
    """Return a profile whose image is this machine."""
    own = {"image_by_tag": True, "namespace": "default", **options.pop("kubernetes", {})}
    settings = {
        "kind": "kubernetes", "image": "python:here", "python": sys.executable, "cpus": 0.1, "memory_gib": 0.25,
        "ephemeral_gib": 0.1, "retries": 0, **options, "kubernetes": own,
    }  # fmt: skip
    return profile_from_dict("k8s", settings)


def request_of(
    store: ArtifactStore, jobs: Sequence[Any], profile: ComputeProfile, *, key: str, epoch: int = 1, **changes: Any
) -> JobRequest:
    """Return what asks for these jobs."""
    return JobRequest(
        key=key,
        epoch=epoch,
        work=store_work(jobs, store),
        calls=len(jobs),
        runtime=store_runtime(store),
        store_uri=store.uri,
        profile=profile,
        owner={"namespace": "test", "dag": "a_dag", "run": "r1", "task": "a_task"},
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        machine=platform.machine(),
        **changes,
    )


def ended(backend: JobBackend, handle: JobHandle, *, seconds: float = 40.0) -> JobStatus:
    """Return the status of a job when it has ended."""
    return until(backend, handle, lambda status: status.phase in ENDED, seconds=seconds)


def until(
    backend: JobBackend, handle: JobHandle, wanted: Callable[[JobStatus], bool], *, seconds: float = 40.0
) -> JobStatus:
    """Look until a status is as wanted."""
    deadline = time.monotonic() + seconds
    while True:
        status = backend.observe(handle)
        if wanted(status):
            return status
        assert time.monotonic() < deadline, f"still {status} after {seconds} s"
        time.sleep(0.1)


def batch_profile(definition: str, **options: Any) -> ComputeProfile:
    """Return a profile whose job definition's image is this machine."""
    own = {"queue": "queue", "job_definition": definition, **options.pop("batch", {})}
    settings = {
        "kind": "batch", "python": sys.executable, "cpus": 1, "memory_gib": 0.5, "retries": 0, **options, "batch": own,
    }  # fmt: skip
    return profile_from_dict("batch", settings)


def job_definition(client: Any) -> str:
    """Register a job definition and return its name."""
    client.register_job_definition(
        jobDefinitionName="calls",
        type="container",
        containerProperties={
            "image": "python:here",
            "command": ["true"],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
        },
    )
    return "calls"
