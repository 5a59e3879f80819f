"""The Job controller: pods for a Job's completions, and its status."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from airflow_ml.testing.kubernetes.admission import Admission
from airflow_ml.testing.kubernetes.job_policies import success_rule
from airflow_ml.testing.kubernetes.job_run import INDEX, JobRun
from airflow_ml.testing.kubernetes.objects import ADDED, DELETED, Change, Objects, changed
from airflow_ml.testing.kubernetes.pod_status import condition, pending
from airflow_ml.testing.kubernetes.pods import Kubelet
from airflow_ml.testing.kubernetes.resources import JOBS, PODS, ApiError, Object, now_text

#: A status is written at most this often while pods come and go.
_STATUS_SECONDS = 0.1
_BIGGEST_BURST = 500


class JobController:
    """Follows Jobs and their pods; used from the double's event loop."""

    def __init__(self, objects: Objects, kubelet: Kubelet, admission: Admission) -> None:
        self._objects = objects
        self._kubelet = kubelet
        self._admission = admission
        self._runs: dict[str, JobRun] = {}  # by uid
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._written: dict[str, float] = {}
        objects.collection(JOBS).listeners.append(self._job_changed)
        objects.collection(PODS).listeners.append(self._pod_changed)

    def delete(self, job: Object, propagation: str) -> Object:
        """Delete a Job and, unless they are to be orphaned, its pods."""
        self._objects.delete(JOBS, job)
        if propagation != "Orphan":
            self._end_pods(job["metadata"]["uid"], job["metadata"]["namespace"], None)
        return job

    # ---- what happens

    def _job_changed(self, change: Change) -> None:
        job = change.entry.item
        uid = job["metadata"]["uid"]
        if change.type == ADDED:
            self._runs[uid] = JobRun(job)
            if deadline := job["spec"].get("activeDeadlineSeconds"):
                asyncio.get_running_loop().call_later(deadline, self._deadline, uid)
            self._wake(uid, 0.0)
        elif change.type == DELETED:
            self._runs.pop(uid, None)
            timer = self._timers.pop(uid, None)
            if timer:
                timer.cancel()
            self._written.pop(uid, None)
        elif change.before is not None and change.before["spec"] != job["spec"]:
            if uid in self._runs:
                self._wake(uid, 0.0)
            elif job["spec"].get("ttlSecondsAfterFinished") is not None and _finished(job):
                self._expire_later(job)

    def _pod_changed(self, change: Change) -> None:
        pod = change.entry.item
        owner = next((one for one in pod["metadata"].get("ownerReferences") or [] if one.get("controller")), None)
        if owner is None or owner["uid"] not in self._runs:
            return
        run, name = self._runs[owner["uid"]], pod["metadata"]["name"]
        if change.type != DELETED and pod["status"].get("phase") not in ("Succeeded", "Failed"):
            if pod["status"].get("phase") == "Running" and name in run.active and name not in run.ready:
                run.ready.add(name)
                self._wake(run.uid, 0.0)
            return
        job = self._objects.find(JOBS, *run.key)
        if job is not None and name in run.active:
            run.pod_ended(pod, job["spec"].get("podFailurePolicy"), time.monotonic())
            self._wake(run.uid, 0.0)

    def _deadline(self, uid: str) -> None:
        run = self._runs.get(uid)
        if run is not None and not run.suspended:
            run.verdict = run.verdict or ("DeadlineExceeded", "Job was active longer than specified deadline")
            self._wake(uid, 0.0)

    def _wake(self, uid: str, wait_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.get(uid)
        if timer is not None:
            if timer.when() <= loop.time() + wait_seconds:
                return
            timer.cancel()
        self._timers[uid] = loop.call_later(wait_seconds, self._sync, uid)

    # ---- one look at a Job

    def _sync(self, uid: str) -> None:
        self._timers.pop(uid, None)
        run = self._runs.get(uid)
        job = self._objects.find(JOBS, *run.key) if run else None
        if run is None or job is None:
            return
        spec = job["spec"]
        run.completions = spec.get("completions")
        end = _end(run, spec)
        if end is not None:
            self._finish(run, job, end)
            return
        if spec.get("suspend"):
            self._suspend(run, job)
            return
        if run.suspended:
            run.suspended = False
            resumed = condition("Suspended", False, "JobResumed", "Job resumed")
            job = self._objects.put(JOBS, changed(job, conditions=[resumed], startTime=now_text()))
        now = time.monotonic()
        room = min(spec.get("parallelism", 1) - len(run.active), _BIGGEST_BURST)
        if room < 0:
            self._end_pods(run.uid, run.key[0], -room)
        refused = False
        for index in run.next_pods(room, now) if room > 0 else ():
            refused = refused or not self._create_pod(run, job, index)
            if refused:
                run.not_made(index, now)
        self._write_status(run, job)
        wait = run.next_time()
        if wait is not None and len(run.active) < spec.get("parallelism", 1):
            self._wake(uid, max(0.01, wait - time.monotonic()))

    def _create_pod(self, run: JobRun, job: Object, index: int | None) -> bool:
        template = job["spec"]["template"]
        given = template.get("metadata") or {}
        labels = {**(given.get("labels") or {}), **_labels(job)}
        annotations = dict(given.get("annotations") or {})
        spec = template["spec"]
        if index is not None:
            labels[INDEX] = annotations[INDEX] = str(index)
            if run.per_index is not None:
                annotations["batch.kubernetes.io/job-index-failure-count"] = str(run.failures[index])
            spec = {**spec, "hostname": f"{run.key[1]}-{index}"}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": run.key[1], "uid": run.uid}
        metadata = {
            "generateName": run.pod_name(index),
            "namespace": run.key[0],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        }
        pod: Object = {"metadata": metadata, "spec": spec}
        try:
            self._admission.admit(PODS, {**pod, "apiVersion": "v1", "kind": "Pod"}, run.key[0])
            pod = self._objects.create(PODS, {**pod, "status": pending(pod)})
        except ApiError as error:
            text = f"Error creating: {error.message}"
            self._objects.add_event(job, "FailedCreate", text, warning=True, source="job-controller")
            self._wake(run.uid, 0.5)
            return False
        run.active[pod["metadata"]["name"]] = index
        return True

    def _suspend(self, run: JobRun, job: Object) -> None:
        if not run.suspended:
            run.suspended = True
            suspended = condition("Suspended", True, "JobSuspended", "Job suspended")
            job = self._objects.put(JOBS, changed(job, conditions=[suspended], startTime=None))
            self._end_pods(run.uid, run.key[0], None)
        self._write_status(run, job)

    def _finish(self, run: JobRun, job: Object, end: tuple[str, str, str]) -> None:
        """Announce the end, end what is left, and conclude once nothing runs any more."""
        kind, reason, message = end
        target = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        known = job["status"].get("conditions") or []
        if run.active:
            if not any(one["type"] == target for one in known):
                announced = [*known, condition(target, True, reason, message)]
                self._objects.put(JOBS, changed(job, conditions=announced, **self._counts(run)))
                self._end_pods(run.uid, run.key[0], None)
            return
        if not any(one["type"] == target for one in known):
            known = [*known, condition(target, True, reason, message)]
        values = self._counts(run)
        if kind == "Complete":
            values["completionTime"] = now_text()
        final = changed(job, conditions=[*known, condition(kind, True, reason, message)], **values)
        del self._runs[run.uid]
        job = self._objects.put(JOBS, final)
        self._objects.add_event(
            job,
            "Completed" if kind == "Complete" else reason,
            message or "Job completed",
            warning=kind == "Failed",
            source="job-controller",
        )
        self._expire_later(job)

    def _expire_later(self, job: Object) -> None:
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is not None:
            uid, key = job["metadata"]["uid"], (job["metadata"]["namespace"], job["metadata"]["name"])
            asyncio.get_running_loop().call_later(seconds, self._expire, uid, key)

    def _expire(self, uid: str, key: tuple[str, str]) -> None:
        job = self._objects.find(JOBS, *key)
        if job is not None and job["metadata"]["uid"] == uid:
            self.delete(job, "Background")

    def _end_pods(self, uid: str, namespace: str, count: int | None) -> None:
        """Delete pods of a Job that have not ended, and with a Job that is gone all of them."""
        gone = uid not in self._runs
        for pod in self._objects.items(PODS, namespace):
            if count == 0:
                return
            owners = pod["metadata"].get("ownerReferences") or []
            if not any(one["uid"] == uid for one in owners):
                continue
            ended = pod["status"].get("phase") in ("Succeeded", "Failed")
            if not ended or (gone and self._objects.find(JOBS, namespace, owners[0]["name"]) is None):
                self._kubelet.delete(pod, 0 if ended else None)
                count = None if count is None else count - 1

    # ---- status

    def _write_status(self, run: JobRun, job: Object) -> None:
        """Write what changed; while pods come and go, not more often than needed."""
        now = time.monotonic()
        soon = self._written.get(run.uid, 0.0) + _STATUS_SECONDS - now
        if soon > 0 and run.active:
            self._wake(run.uid, soon)
            return
        counts = self._counts(run)
        if not run.suspended:
            counts["startTime"] = job["status"].get("startTime") or now_text()
        if any(job["status"].get(name) != value for name, value in counts.items()):
            self._written[run.uid] = now
            self._objects.put(JOBS, changed(job, **counts))

    def _counts(self, run: JobRun) -> dict[str, Any]:
        counts: dict[str, Any] = {
            "active": len(run.active),
            "ready": len(run.ready),
            "terminating": 0,
            "succeeded": run.succeeded,
            "failed": run.failed,
            "uncountedTerminatedPods": {},
        }
        if run.indexed:
            counts["completedIndexes"] = str(run.done)
            if run.per_index is not None:
                counts["failedIndexes"] = str(run.failed_indexes)
        return counts


def _end(run: JobRun, spec: Object) -> tuple[str, str, str] | None:
    """Return how a Job ends now: Complete or Failed, reason, message; None where it goes on."""
    if run.verdict is not None:
        return "Failed", *run.verdict
    limit = spec.get("backoffLimit", 6)
    if run.per_index is None and run.counted_failures > limit:
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    most = spec.get("maxFailedIndexes")
    if most is not None and len(run.failed_indexes) > most:
        return "Failed", "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if run.indexed:
        rule = success_rule(spec.get("successPolicy"), run.done)
        if rule is not None:
            return "Complete", "SuccessPolicy", f"Matched rules at index {rule}"
        if len(run.done) + len(run.failed_indexes) >= run.wanted:
            if run.failed_indexes:
                return "Failed", "FailedIndexes", "Job has failed indexes"
            return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    elif run.succeeded >= run.wanted and (run.completions is not None or not run.active):
        return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    return None


def _labels(job: Object) -> dict[str, str]:
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    return {
        "job-name": name,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "batch.kubernetes.io/controller-uid": uid,
    }


def _finished(job: Object) -> bool:
    return any(one["type"] in ("Complete", "Failed") for one in job["status"].get("conditions") or [])


def defaulted(job: Object) -> Object:
    """Return a new Job as the API stores it: with defaults, selector, and the index in each container's environment."""
    spec = {"parallelism": 1, "completionMode": "NonIndexed", "suspend": False, **job["spec"]}
    spec.setdefault("backoffLimit", 2147483647 if spec.get("backoffLimitPerIndex") is not None else 6)
    if "completions" not in spec and "parallelism" not in job["spec"]:
        spec["completions"] = 1
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    if spec["completionMode"] == "Indexed":
        variable = {
            "name": "JOB_COMPLETION_INDEX",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
        }
        pod = spec["template"]["spec"]
        containers = [{**one, "env": [*(one.get("env") or []), variable]} for one in pod["containers"]]
        spec["template"] = {**spec["template"], "spec": {**pod, "containers": containers}}
    return {**job, "spec": spec, "status": {}}
