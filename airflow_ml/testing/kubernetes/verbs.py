"""Creating, changing and deleting objects, with what each kind asks for besides."""

from __future__ import annotations

import json
from typing import Any

from airflow_ml.testing.kubernetes.admission import Admission
from airflow_ml.testing.kubernetes.jobs import JobController, defaulted
from airflow_ml.testing.kubernetes.objects import Objects
from airflow_ml.testing.kubernetes.patches import apply_patch
from airflow_ml.testing.kubernetes.pod_status import pending
from airflow_ml.testing.kubernetes.pods import Kubelet
from airflow_ml.testing.kubernetes.resources import JOBS, PODS, ApiError, Kind, Object

#: What of a spec may be changed afterwards; a Job's template only while the Job is suspended.
_MUTABLE = {
    "jobs": {
        *("parallelism", "completions", "suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished"),
        *("backoffLimit", "maxFailedIndexes", "managedBy"),
    },
    "pods": {"activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"},
}


class Verbs:
    """Writes of the API."""

    def __init__(self, objects: Objects, kubelet: Kubelet, jobs: JobController, admission: Admission) -> None:
        self._objects = objects
        self.kubelet = kubelet
        self._jobs = jobs
        self._admission = admission

    def create(self, kind: Kind, namespace: str, body: Object, *, dry_run: bool) -> Object:
        """Store a new object.

        Raises:
            ApiError: 400, 403, 404, 409 or 422.
        """
        if not isinstance(body, dict) or body.get("kind") not in (None, kind.kind):
            raise ApiError(400, "BadRequest", f"a {kind.kind} was expected")
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        metadata = {**(body.get("metadata") or {})}
        if kind.namespaced:
            if metadata.get("namespace") not in (None, namespace):
                raise ApiError(400, "BadRequest", "the namespace of the object does not match that of the request")
            metadata["namespace"] = namespace
        for given in ("uid", "creationTimestamp", "resourceVersion", "generation"):
            metadata.pop(given, None)
        item = {**body, "metadata": metadata}
        item.pop("status", None)
        self._admission.check(kind, item)
        if kind.namespaced:
            self._admission.admit(kind, item, namespace)
        if kind is PODS:
            spec = {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, **item["spec"]}
            item = {**item, "spec": spec, "status": pending(item)}
        elif kind is JOBS:
            item = defaulted(item)
        elif body.get("status"):
            item["status"] = body["status"]
        if dry_run:
            taken = metadata.get("name") and self._objects.find(kind, namespace, metadata["name"])
            if taken:
                raise ApiError(409, "AlreadyExists", f'{kind.plural} "{metadata["name"]}" already exists')
            return item
        return self._objects.create(kind, item)

    def change(self, kind: Kind, item: Object, body: Any, content_type: str, *, part: str, dry_run: bool) -> Object:
        """Replace (no content type) or patch an object, or its status.

        Raises:
            ApiError: 409 where it is no longer the version that the caller saw, 422 for what cannot be changed.
        """
        new = apply_patch(item, body, content_type) if content_type else body
        old, metadata = item["metadata"], {**new["metadata"]}
        seen = (body.get("metadata") or {}).get("resourceVersion") if isinstance(body, dict) else None
        if seen and seen != old["resourceVersion"]:
            text = f'Operation cannot be fulfilled on {kind.plural} "{old["name"]}": the object has been modified'
            raise ApiError(409, "Conflict", f"{text}; please apply your changes to the latest version and try again")
        for fixed in ("uid", "name", "namespace", "creationTimestamp", "deletionTimestamp"):
            if metadata.get(fixed, old.get(fixed)) != old.get(fixed):
                raise ApiError(409 if fixed == "uid" else 422, "Invalid", f"metadata.{fixed}: field is immutable")
            if fixed in old:
                metadata[fixed] = old[fixed]
        if part == "status":
            new = {**item, "status": new.get("status", {})}
            metadata = dict(old)
        else:
            new = {**new, "metadata": metadata, **({"status": item["status"]} if "status" in item else {})}
            if new.get("spec") != item.get("spec"):
                _check_spec(kind, item, new)
                metadata["generation"] = old.get("generation", 1) + 1
        return {**new, "metadata": metadata} if dry_run else self._objects.put(kind, {**new, "metadata": metadata})

    def delete(self, kind: Kind, item: Object, options: Object) -> Object:
        """Delete an object.

        As with a real API server, the pods of a Job stay unless ``propagationPolicy`` is Background or Foreground.

        Raises:
            ApiError: 409 where it is not the one that ``preconditions`` name.
        """
        wanted = options.get("preconditions") or {}
        for field in ("uid", "resourceVersion"):
            found = item["metadata"].get(field)
            if wanted.get(field) not in (None, found):
                text = f"Precondition failed: {field} in precondition: {wanted[field]}, {field} in object meta: {found}"
                raise ApiError(409, "Conflict", text)
        if options.get("dryRun"):
            return item
        if kind is PODS:
            grace = options.get("gracePeriodSeconds")
            return self.kubelet.delete(item, None if grace is None else float(grace))
        if kind is JOBS:
            return self._jobs.delete(item, str(options.get("propagationPolicy") or "Orphan"))
        return self._objects.delete(kind, item)


def _check_spec(kind: Kind, item: Object, new: Object) -> None:
    mutable = _MUTABLE.get(kind.plural)
    if mutable is None:
        return
    if kind is JOBS and item["spec"].get("suspend"):
        mutable = mutable | {"template"}
    names = {*item["spec"], *new["spec"]}
    wrong = sorted(name for name in names - mutable if _text(item, name) != _text(new, name))
    if wrong:
        text = f'{kind.kind} "{item["metadata"]["name"]}" is invalid: spec.{wrong[0]}: field is immutable'
        raise ApiError(422, "Invalid", text)


def _text(item: Object, name: str) -> str:
    return json.dumps(item["spec"].get(name), sort_keys=True)
