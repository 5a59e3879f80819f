"""Jobs on Kubernetes: one Indexed Job for a request, watched by its own counts and by no more pods than it needs.

An observation is one request while all goes well, whatever the number of pods: the Job's status has the counts. Pods
are listed only where nothing runs (to say why) and where indexes have failed for good (to say why, once).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_ml.adapters.kubernetes_api import KubernetesApi, refused
from airflow_ml.adapters.kubernetes_pods import INDEX, JOB_NAME, created, job_end, parse_indexes, pods_path
from airflow_ml.adapters.kubernetes_reasons import LOOKED_AT, JobReasons
from airflow_ml.core.compute_choice import KUBERNETES
from airflow_ml.core.indexed_job import CONTAINER, indexed_job
from airflow_ml.core.job import (
    CANCELLED,
    FAILED,
    LOST,
    MAX_FAILURES,
    RUNNING,
    SUCCEEDED,
    WAITING,
    IndexFailure,
    JobHandle,
    JobRequest,
    JobStatus,
)
from airflow_ml.core.job_log import LOG_URL
from airflow_ml.core.job_names import EPOCH, MANAGED_BY, REQUEST
from airflow_ml.core.pod_template import kubernetes_options
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError, BackendUnavailable, ConfigurationError, JobConflict

_LOG_BYTES = 1 << 20


class KubernetesJobs:
    """A ``JobBackend`` on one cluster.

    Args:
        api: The connection.
        conn_id: Its name, put into handles so that another process opens the same one.
    """

    def __init__(self, api: KubernetesApi, *, conn_id: str = "kubernetes_default") -> None:
        self.api = api
        self._reasons = JobReasons(api)
        self._conn_id = conn_id

    def render(self, request: JobRequest) -> Mapping[str, JSON]:
        """Return the manifest."""
        return indexed_job(request)

    def submit(self, request: JobRequest) -> JobHandle:
        """Create the Job, or adopt the one of this very request.

        Raises:
            JobConflict: a Job of that name is not of this request.
            ConfigurationError: the API server finds the manifest invalid; its words say where.
            BackendUnavailable: it cannot be reached, or refuses.
        """
        manifest: Mapping[str, Any] = indexed_job(request)
        name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
        answer = self.api.call("POST", _jobs(namespace), body=manifest)
        if answer.status == 409:
            answer = self.api.get(_job(namespace, name))
            if answer.status == 404:  # it went in between
                answer = self.api.call("POST", _jobs(namespace), body=manifest)
            elif answer.status == 200:
                _check_ours(answer.body, request)
        if answer.status in (400, 404, 422):  # 404: there is no such namespace
            raise ConfigurationError(
                f"The cluster refuses the job {name}", answer.message, f"Mend the profile {request.profile.name!r}."
            )
        if answer.status not in (200, 201, 202):
            raise refused(f"create job {name} in namespace {namespace}", answer)
        options = kubernetes_options(request.profile)
        return JobHandle(
            kind=KUBERNETES,
            names=(name,),
            epoch=request.epoch,
            place={
                "conn_id": self._conn_id,
                "namespace": namespace,
                "uid": answer.body["metadata"]["uid"],
                "schedule_timeout_seconds": str(options.schedule_timeout_seconds),
                "start_timeout_seconds": str(options.start_timeout_seconds),
                **({LOG_URL: options.log_url} if options.log_url else {}),
            },
        )

    def observe(self, handle: JobHandle) -> JobStatus:
        """Return what is known now.

        Raises:
            BackendUnavailable: nothing is known.
        """
        namespace, name = handle.place["namespace"], handle.names[0]
        answer = self.api.get(_job(namespace, name))
        if answer.status == 404 or (answer.status == 200 and answer.body["metadata"]["uid"] != handle.place["uid"]):
            return JobStatus(phase=LOST, indexes=0, waiting_for=f"job {name} is not in namespace {namespace} any more")
        if answer.status != 200:
            raise refused(f"read job {name} in namespace {namespace}", answer)
        job, status = answer.body, answer.body.get("status") or {}
        indexes = int(job["spec"].get("completions") or 1)
        lost = parse_indexes(status.get("failedIndexes"))
        phase, reason = job_end(job)
        active = int(status.get("active") or 0)
        if phase is None and job["metadata"].get("deletionTimestamp"):
            phase = CANCELLED
        failures: tuple[IndexFailure, ...] = ()
        waiting_for = ""
        if lost or phase == FAILED:
            failures = self._reasons.failed(handle, lost, reason)
            if phase == SUCCEEDED:  # enough did; what was ended for it has no pod, or says that it was told to end
                failures = tuple(one for one in failures if one.reason not in ("no_result", "stopped"))
        if phase is None:
            phase = RUNNING if int(status.get("ready") or 0) or int(status.get("succeeded") or 0) else WAITING
            if not int(status.get("ready") or 0):
                found, waiting_for = self._reasons.waiting(handle, job, answer.at)
                if found:
                    phase, failures = FAILED, (*failures, *found)
                elif active and not waiting_for:
                    phase = RUNNING
            else:
                self._reasons.begun(handle, answer.at)
        return JobStatus(
            phase=phase,
            indexes=indexes,
            active=active,
            succeeded=int(status.get("succeeded") or 0),
            failed=len(failures) if phase == SUCCEEDED else len(lost),
            waiting_for=waiting_for,
            failures=failures[-MAX_FAILURES:],
        )

    def log(self, handle: JobHandle, index: int, *, tail_lines: int = 200) -> Iterator[str]:
        """Yield the last lines of an index's newest pod; nothing where it is gone."""
        try:
            pods = list(
                self.api.pages(
                    pods_path(handle), limit=LOOKED_AT, labelSelector=f"{JOB_NAME}={handle.names[0]},{INDEX}={index}"
                )
            )
            if not pods:
                return
            newest = max(pods, key=created)
            answer = self.api.get(
                f"{pods_path(handle)}/{newest['metadata']['name']}/log",
                container=CONTAINER,
                tailLines=tail_lines,
                limitBytes=_LOG_BYTES,
            )
        except (AirflowMLError, KeyError, ValueError, TypeError):
            return
        if answer.status == 200:
            yield from str(answer.body).splitlines()[-tail_lines:]

    def cancel(self, handle: JobHandle) -> None:
        """Delete this very Job and its pods; one of the same name with another uid is left alone.

        Raises:
            BackendUnavailable: it cannot be reached, or refuses.
        """
        body: dict[str, JSON] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": handle.place["uid"]},
        }
        path = _job(handle.place["namespace"], handle.names[0])
        answer = self.api.call("DELETE", path, body=body)
        if answer.status not in (200, 202, 404, 409):
            raise refused(f"delete job {handle.names[0]}", answer)

    def found(self, namespace: str) -> Iterator[tuple[JobHandle, Mapping[str, str]]]:
        """Yield all jobs of airflow_ml in a namespace that have not ended, with their annotations.

        Raises:
            BackendUnavailable: it cannot be reached, or refuses.
        """
        listed = self.api.pages(_jobs(namespace), labelSelector=f"{MANAGED_BY}=airflow-ml")
        for job in {job["metadata"]["uid"]: job for job in listed}.values():
            metadata = job["metadata"]
            if job_end(job)[0] is None and not metadata.get("deletionTimestamp"):
                place = {"conn_id": self._conn_id, "namespace": namespace, "uid": metadata["uid"]}
                epoch = int((metadata.get("labels") or {}).get(EPOCH, 0))
                handle = JobHandle(kind=KUBERNETES, names=(metadata["name"],), epoch=epoch, place=place)
                yield handle, dict(metadata.get("annotations") or {})


def _check_ours(job: Mapping[str, Any], request: JobRequest) -> None:
    metadata = job["metadata"]
    if metadata.get("deletionTimestamp"):
        raise BackendUnavailable(
            f"Job {metadata['name']} is being deleted", metadata["deletionTimestamp"], "Try again when it is gone."
        )
    found = (metadata.get("annotations") or {}).get(REQUEST)
    if found != request.fingerprint:
        raise JobConflict(
            f"Another job has the name {metadata['name']}",
            f"request {found}, created {metadata.get('creationTimestamp')}",
            "Remove it if nobody needs it: kubectl delete job.",
        )


def _jobs(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"


def _job(namespace: str, name: str) -> str:
    return f"{_jobs(namespace)}/{name}"
