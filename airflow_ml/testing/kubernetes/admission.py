"""What the API refuses to store: malformed objects, insecure pods, and what is above a quota."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from typing import Any

from airflow_ml.testing.kubernetes.objects import ADDED, DELETED, Change, Objects
from airflow_ml.testing.kubernetes.pod_security import violations
from airflow_ml.testing.kubernetes.quantities import amount
from airflow_ml.testing.kubernetes.resources import JOBS, NAMESPACES, PODS, QUOTAS, ApiError, Kind, Object

_NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_LABEL_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_LABEL_NAME = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_ENFORCE = "pod-security.kubernetes.io/enforce"


class Admission:
    """Checks what is to be stored.

    Args:
        schema_version: Kubernetes minor whose OpenAPI schema objects must fulfil, for example ``1.34``; None checks
            no schema. Needs the package kubernetes-validate.
    """

    def __init__(self, objects: Objects, *, schema_version: str | None) -> None:
        self._objects = objects
        self._schema_version = schema_version
        self._usage: dict[str, Counter[str]] = {}
        self._counted: dict[str, dict[str, float]] = {}
        objects.collection(PODS).listeners.append(self._pod_changed)

    def check(self, kind: Kind, item: Object) -> None:
        """Refuse a malformed object.

        Raises:
            ApiError: 422 or 400.
        """
        self._check_schema(kind, item)
        try:
            self._check_rules(kind, item)
        except (TypeError, AttributeError, KeyError) as error:
            raise ApiError(400, "BadRequest", f"{kind.kind} cannot be read: {error}") from error

    def _check_rules(self, kind: Kind, item: Object) -> None:
        metadata = item.get("metadata") or {}
        name = metadata.get("name") or metadata.get("generateName", "").rstrip("-") or None
        problems = [] if name else ["metadata.name: Required value: name or generateName is required"]
        if name and (not _NAME.match(name) or len(name) > 253):
            problems.append(f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain is required')
        problems += _label_problems(metadata.get("labels") or {}, "metadata.labels")
        if kind is PODS:
            problems += _pod_problems(item.get("spec") or {}, "spec")
        if kind is JOBS:
            problems += _job_problems(item.get("spec") or {}, name or "")
        if problems:
            raise ApiError(422, "Invalid", f'{kind.kind} "{name}" is invalid: {"; ".join(problems)}')

    def admit(self, kind: Kind, item: Object, namespace: str) -> None:
        """Refuse what the namespace does not allow.

        Raises:
            ApiError: 403 or 404.
        """
        place = self._objects.find(NAMESPACES, "", namespace)
        if place is None:
            raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found')
        if kind is not PODS:
            return
        level = (place["metadata"].get("labels") or {}).get(_ENFORCE)
        found = violations(item["spec"], level) if level else []
        name = item["metadata"].get("name") or item["metadata"].get("generateName", "")
        if found:
            text = f'pods "{name}" is forbidden: violates PodSecurity "{level}:latest": {", ".join(found)}'
            raise ApiError(403, "Forbidden", text)
        asked = _charge(item["spec"])
        for quota in self._objects.items(QUOTAS, namespace):
            hard = quota["spec"].get("hard") or {}
            used = self._usage.get(namespace, Counter())
            over = [one for one in hard if one in asked and used[one] + asked[one] > amount(hard[one]) + 1e-9]
            if over:
                parts = [
                    "requested: " + ",".join(f"{one}={asked[one]:g}" for one in over),
                    "used: " + ",".join(f"{one}={used[one]:g}" for one in over),
                    "limited: " + ",".join(f"{one}={hard[one]}" for one in over),
                ]
                text = f'pods "{name}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, {", ".join(parts)}'
                raise ApiError(403, "Forbidden", text)

    def used(self, namespace: str) -> dict[str, float]:
        """Return what the pods of a namespace that have not ended take of a quota."""
        return dict(self._usage.get(namespace, Counter()))

    def _pod_changed(self, change: Change) -> None:
        pod = change.entry.item
        uid, usage = pod["metadata"]["uid"], self._usage.setdefault(pod["metadata"]["namespace"], Counter())
        if change.type == ADDED:
            self._counted[uid] = _charge(pod["spec"])
            usage.update(self._counted[uid])
        elif change.type == DELETED or pod["status"].get("phase") in ("Succeeded", "Failed"):
            usage.subtract(self._counted.pop(uid, {}))

    def _check_schema(self, kind: Kind, item: Object) -> None:
        if self._schema_version is None or kind.api_version.startswith("kueue"):
            return
        validator: Any = importlib.import_module("kubernetes_validate")
        try:
            validator.validate(item, self._schema_version, strict=False)
        except validator.ValidationError as error:
            path = ".".join(str(step) for step in error.path)
            raise ApiError(
                400, "BadRequest", f"{kind.kind} in version {kind.api_version}: {path}: {error.message}"
            ) from error


def _charge(spec: Object) -> dict[str, float]:
    charged: Counter[str] = Counter({"pods": 1, "count/pods": 1})
    for container in spec["containers"]:
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        requests = {**limits, **(resources.get("requests") or {})}
        charged.update({f"limits.{name}": amount(value) for name, value in limits.items()})
        charged.update({f"requests.{name}": amount(value) for name, value in requests.items()})
    for short in ("cpu", "memory"):
        if f"requests.{short}" in charged:
            charged[short] = charged[f"requests.{short}"]
    return dict(charged)


def _label_problems(labels: Object, where: str) -> list[str]:
    problems = []
    for name, value in labels.items():
        prefix, _, last = name.rpartition("/")
        if len(last) > 63 or not _LABEL_NAME.match(last) or len(prefix) > 253:
            problems.append(f'{where}: Invalid value: "{name}": a qualified name of at most 63 characters is required')
        if len(str(value)) > 63:
            problems.append(f'{where}: Invalid value: "{value}": must be no more than 63 characters')
        elif not _LABEL_VALUE.match(str(value)):
            problems.append(f'{where}: Invalid value: "{value}": a valid label must be alphanumeric at both ends')
    return problems


def _pod_problems(spec: Object, where: str) -> list[str]:
    problems = [] if spec.get("containers") else [f"{where}.containers: Required value"]
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    names = [
        container.get("name") for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    ]
    problems += [f'{where}.containers: Duplicate value: "{name}"' for name in set(names) if names.count(name) > 1]
    for number, container in enumerate(spec.get("containers") or []):
        place = f"{where}.containers[{number}]"
        if not container.get("image"):
            problems.append(f"{place}.image: Required value")
        for mount in container.get("volumeMounts") or []:
            if mount.get("name") not in volumes:
                problems.append(f'{place}.volumeMounts: Not found: "{mount.get("name")}"')
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        for name, value in requests.items():
            if name in limits and amount(value) > amount(limits[name]):
                problems.append(
                    f'{place}.resources.requests: Invalid value: "{value}": must be no more than {name} limit'
                )
            if "/" in name and name not in limits:
                problems.append(f"{place}.resources.limits: Required value: limit must be set for {name}")
    return problems


def _job_problems(spec: Object, name: str) -> list[str]:
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    problems = _pod_problems(pod, "spec.template.spec")
    problems += _label_problems((template.get("metadata") or {}).get("labels") or {}, "spec.template.labels")
    policy, indexed = pod.get("restartPolicy"), spec.get("completionMode") == "Indexed"
    if policy not in ("Never", "OnFailure"):
        problems.append('spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"')
    if spec.get("podFailurePolicy") and policy != "Never":
        problems.append('spec.podFailurePolicy: only "Never" is supported as restartPolicy of the template')
    if indexed and spec.get("completions") is None:
        problems.append("spec.completions: Required value: when completion mode is Indexed")
    if indexed and len(f"{name}-{(spec.get('completions') or 1) - 1}") > 63:
        problems.append(f'metadata.name: Invalid value: "{name}": pods would have hostnames above 63 characters')
    for field in ("backoffLimitPerIndex", "successPolicy"):
        if spec.get(field) is not None and not indexed:
            problems.append(f"spec.{field}: Invalid value: requires indexed completion mode")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        problems.append("spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified")
    if indexed and (spec.get("parallelism") or 0) > 100_000:
        problems.append("spec.parallelism: Invalid value: must be less than or equal to 100000")
    if spec.get("backoffLimitPerIndex") is not None and (spec.get("completions") or 0) > 100_000:
        problems.append("spec.completions: Invalid value: must be less than or equal to 100000")
    return problems
