"""A compute profile as the template of its pods: plain data, as Kubernetes takes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from airflow_ml.core.compute import ComputeProfile, Gpus, check_profile
from airflow_ml.core.compute_choice import KUBERNETES
from airflow_ml.core.kubernetes_options import ANY, NEVER, PREFER, PRIVILEGED, RESTRICTED, KubernetesOptions
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError

#: A device may report so much less memory than its name says: "24 GB" of an A10G are 23,028 MiB.
_MEMORY_TOLERANCE = 0.1
#: The writable folder of a container whose own files cannot be written.
SCRATCH = "/tmp"  # noqa: S108 - in the pod, not here


def kubernetes_options(profile: ComputeProfile) -> KubernetesOptions:
    """Return the options of a profile of kind ``kubernetes``, all checked.

    Raises:
        ConfigurationError: it is of another kind, or something in it cannot work.
    """
    if profile.kind != KUBERNETES:
        raise ConfigurationError(f"Profile {profile.name!r} runs no pods", profile.kind, 'Give kind = "kubernetes".')
    check_profile(profile)
    return KubernetesOptions.read(profile.options, where=f"[{profile.name}.kubernetes]")


def pod_template(
    profile: ComputeProfile,
    *,
    command: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    container: str = "call",
) -> dict[str, JSON]:
    """Return ``{"metadata": ..., "spec": ...}`` of the pods that a profile asks for.

    Requests are the limits. The container is as Kubernetes' restricted standard wants it, its own files are read-only,
    and no token of the cluster is in it, unless the profile loosens that by name.

    Args:
        profile: Of kind ``kubernetes``.
        command: The container's command; none for the image's own.
        env: Variables beside the profile's.
        labels, annotations: Beside the profile's.
        container: Name of the container.

    Raises:
        ConfigurationError: the profile is of another kind, or something in it cannot work.
    """
    options = kubernetes_options(profile)
    quantities = _quantities(profile)
    main: dict[str, JSON] = {
        "name": container,
        "image": profile.image,
        "imagePullPolicy": "IfNotPresent",
        "env": _env(options, env or {}),
        "resources": {"requests": dict(quantities), "limits": dict(quantities)},
        "securityContext": _container_security(options),
        "volumeMounts": _mounts(profile, options),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if command:
        main["command"] = list(command)
    spec: dict[str, JSON] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": options.grace_seconds,
        "securityContext": _pod_security(options),
        "containers": [main],
        "volumes": _volumes(profile, options),
        "tolerations": _tolerations(profile, options),
    }
    optional: dict[str, JSON] = {
        "activeDeadlineSeconds": math.ceil(profile.timeout_seconds) if profile.timeout_seconds else None,
        "serviceAccountName": options.service_account,
        "runtimeClassName": options.runtime_class,
        "priorityClassName": options.priority_class,
        "nodeSelector": dict(options.node_selector),
        "affinity": _affinity(profile, options),
        "imagePullSecrets": [{"name": name} for name in options.image_pull_secrets],
    }
    spec.update({key: value for key, value in optional.items() if value})
    return {
        "metadata": {
            "labels": {**options.labels, **(labels or {})},
            "annotations": {**options.annotations, **(annotations or {})},
        },
        "spec": spec,
    }


def gpu_resource(gpus: Gpus) -> str:
    """Return the name of the extended resource: of whole devices, or of one kind of MIG slice."""
    return f"nvidia.com/mig-{gpus.mig}" if gpus.mig else gpus.resource


def _quantities(profile: ComputeProfile) -> dict[str, JSON]:
    wanted = profile.resources
    milli = math.ceil(wanted.cpus * 1000)
    quantities: dict[str, JSON] = {
        "cpu": str(milli // 1000) if milli % 1000 == 0 else f"{milli}m",
        # What lies in /dev/shm is counted against the container's memory.
        "memory": _mebibytes(wanted.memory_gib + wanted.shm_gib),
        "ephemeral-storage": _mebibytes(wanted.ephemeral_gib),
    }
    if wanted.gpus is not None:
        quantities[gpu_resource(wanted.gpus)] = str(wanted.gpus.count)
    return quantities


def _mebibytes(gib: float) -> str:
    return f"{math.ceil(gib * 1024)}Mi"


def _env(options: KubernetesOptions, given: Mapping[str, str]) -> list[JSON]:
    plain = {"HOME": SCRATCH, "TMPDIR": SCRATCH, "PYTHONUNBUFFERED": "1", **options.env, **given}
    found: list[JSON] = [{"name": name, "value": value} for name, value in plain.items()]
    for name, address in options.secrets.items():
        secret, _, key = address.partition("/")
        found.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return found


def _pod_security(options: KubernetesOptions) -> JSON:
    user = options.run_as_user
    found: dict[str, JSON] = {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    if options.pod_security != PRIVILEGED:
        found["seccompProfile"] = {"type": "RuntimeDefault"}
    if options.pod_security == RESTRICTED:
        found["runAsNonRoot"] = True
    if user == 0:
        del found["fsGroup"]
    return found


def _container_security(options: KubernetesOptions) -> JSON:
    read_only = not options.writable_root_filesystem
    if options.pod_security == PRIVILEGED:
        return {"privileged": True, "readOnlyRootFilesystem": read_only}
    found: dict[str, JSON] = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": read_only}
    if options.pod_security == RESTRICTED:
        found |= {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    return found


def _volumes(profile: ComputeProfile, options: KubernetesOptions) -> list[JSON]:
    found: list[JSON] = [{"name": "scratch", "emptyDir": {"sizeLimit": _mebibytes(profile.resources.ephemeral_gib)}}]
    if profile.resources.shm_gib:
        limit = _mebibytes(profile.resources.shm_gib)
        found.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": limit}})
    for number, claim in enumerate(options.claims.values()):
        found.append({"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}})
    return found


def _mounts(profile: ComputeProfile, options: KubernetesOptions) -> list[JSON]:
    found: list[JSON] = [{"name": "scratch", "mountPath": SCRATCH}]
    if profile.resources.shm_gib:
        found.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 - in the pod, not here
    for number, path in enumerate(options.claims):
        found.append({"name": f"claim-{number}", "mountPath": path})
    return found


def _tolerations(profile: ComputeProfile, options: KubernetesOptions) -> list[JSON]:
    found: list[JSON] = [dict(one) for one in options.tolerations]
    if profile.resources.gpus is not None:
        # GPU nodes carry a taint with the resource's name, MIG or not.
        found.append({"key": profile.resources.gpus.resource, "operator": "Exists", "effect": "NoSchedule"})
    if options.spot not in (ANY, NEVER):
        key, _, value = options.spot_label.partition("=")
        found.append({"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"})
    return [one for at, one in enumerate(found) if one not in found[:at]]


def _affinity(profile: ComputeProfile, options: KubernetesOptions) -> dict[str, JSON]:
    key, _, value = options.spot_label.partition("=")
    required: list[JSON] = [*_gpu_expressions(profile.resources.gpus, options)]
    node: dict[str, JSON] = {}
    if options.spot == PREFER:
        spot: JSON = {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
        node["preferredDuringSchedulingIgnoredDuringExecution"] = [{"weight": 100, "preference": spot}]
    elif options.spot != ANY:
        required.append({"key": key, "operator": "NotIn" if options.spot == NEVER else "In", "values": [value]})
    if required:
        terms: list[JSON] = [{"matchExpressions": required}]
        node["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    return {"nodeAffinity": node} if node else {}


def _gpu_expressions(gpus: Gpus | None, options: KubernetesOptions) -> list[JSON]:
    found: list[JSON] = []
    if gpus is not None and gpus.memory_gib is not None:
        least = math.floor(gpus.memory_gib * 1024 * (1 - _MEMORY_TOLERANCE)) - 1
        found.append({"key": options.gpu_memory_label, "operator": "Gt", "values": [str(least)]})
    if gpus is not None and gpus.product is not None:
        found.append({"key": options.gpu_product_label, "operator": "In", "values": [gpus.product]})
    return found
