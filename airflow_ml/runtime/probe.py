"""An end-to-end check of a compute profile: submit one call, let it run there, read its result from the store."""

from __future__ import annotations

import platform
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from airflow_ml.core.call import Call
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.far_side import IndexResult, index_ref
from airflow_ml.core.finding import Finding, missing, present
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.job import ENDED, JobRequest, JobStatus
from airflow_ml.core.ports import ArtifactStore, JobBackend
from airflow_ml.core.record import parse_as
from airflow_ml.errors import AirflowMLError
from airflow_ml.runtime.call import CallJob
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.environment import environment_digest
from airflow_ml.runtime.host_facts import host_facts
from airflow_ml.runtime.work import store_work
from airflow_ml.runtime.zipapp import store_runtime

#: Pause between two looks at the job.
POLL_SECONDS = 2.0


def probe(
    profile: ComputeProfile,
    *,
    store: ArtifactStore,
    backend: JobBackend,
    timeout_seconds: float,
    log: Callable[[str], None],
    poll_seconds: float = POLL_SECONDS,
) -> Iterator[Finding]:
    """Yield how one call fared there. Whatever happens, its job is ended and removed.

    Args:
        profile: Of kind ``kubernetes`` or ``batch``.
        store: That the pods or jobs must reach, too.
        backend: That runs the profile.
        timeout_seconds: How long to wait for the result.
        log: Called when what is waited for changes.
        poll_seconds: Pause between two looks.
    """
    request = _request(profile, store)
    began = time.monotonic()
    try:
        handle = backend.submit(request)
    except AirflowMLError as error:
        yield missing("a call there", f"{error.what}: {error.actual}", error.remedy)
        return
    try:
        status = _wait(backend, handle, timeout_seconds, log, poll_seconds)
        entry = store.latest(index_ref(request.key, request.epoch, 0))
    except AirflowMLError as error:
        yield missing("a call there", f"{error.what}: {error.actual}", error.remedy)
        return
    finally:
        backend.cancel(handle)
    if entry is None:
        yield missing("a call there", _why(status, timeout_seconds), "See the reason; airflow-ml render shows the job.")
        return
    result: Any = parse_as(IndexResult, entry.value).results[0]
    if result is None or result["status"] != "succeeded":
        yield missing("a call there", str((result or {}).get("error") or "no result"), "See the log of the pod or job.")
        return
    yield from _findings(profile, result["value"], time.monotonic() - began)


def _request(profile: ComputeProfile, store: ArtifactStore) -> JobRequest:
    call = Call(
        function=as_function_ref(capture(host_facts), store),
        arguments={},
        seed=0,
        environment=environment_digest(),
        compute=profile.name,
        namespace=f"doctor-{uuid.uuid4().hex[:12]}",  # so that no earlier answer counts
    )
    return JobRequest(
        key=digest_json(["doctor", call.namespace]),
        epoch=1,
        work=store_work([CallJob(call=call, timeout_seconds=120.0)], store),
        calls=1,
        runtime=store_runtime(store),
        store_uri=store.uri,
        profile=profile,
        owner={"dag": "doctor", "task": profile.name},
        python=f"{sys.version_info[0]}.{sys.version_info[1]}",
        machine=platform.machine(),
    )


def _wait(
    backend: JobBackend, handle: Any, timeout_seconds: float, log: Callable[[str], None], poll_seconds: float
) -> JobStatus:
    deadline, said = time.monotonic() + timeout_seconds, ""
    while True:
        status = backend.observe(handle)
        words = f"{status.phase}: {status.waiting_for}" if status.waiting_for else status.phase
        if words != said:
            said = words
            log(words)
        if status.phase in ENDED or time.monotonic() > deadline:
            return status
        time.sleep(poll_seconds)


def _why(status: JobStatus, timeout_seconds: float) -> str:
    if status.failures:
        return f"{status.failures[-1].reason}: {status.failures[-1].message}"
    if status.phase not in ENDED:
        return f"{status.phase} for {timeout_seconds:g} seconds: {status.waiting_for or 'no words'}"
    return f"the job {status.phase} and left no result: {status.waiting_for or 'no words'}"


def _findings(profile: ComputeProfile, found: Any, seconds: float) -> Iterator[Finding]:
    yield present(
        "a call there",
        f"Python {found['python']} on {found['machine']}, {found['cpus']} CPUs, {found['packages']} packages, "
        f"{found['shm_mib']} MiB of shared memory, user {found['user']}; its result came back after {seconds:.0f} s",
    )
    if profile.resources.gpus is not None:
        if found["gpus"]:
            yield present("GPUs there", "; ".join(found["gpus"]))
        else:
            yield missing(
                "GPUs there",
                "nvidia-smi shows none",
                "Check runtime_class and the device plugin.",
            )
