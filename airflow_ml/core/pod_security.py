"""Kubernetes' Pod Security Standards, as far as they can be broken by a pod of ours or of a user's making."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_ml.core.kubernetes_options import BASELINE, PRIVILEGED

#: Kinds of volumes that the restricted standard allows.
_VOLUMES = frozenset(
    ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
)
#: Capabilities that the baseline standard lets be added.
_BASELINE_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip


def violations(spec: Mapping[str, Any], level: str) -> list[str]:
    """Return what in a pod's specification breaks a level of the standards, in words; empty where nothing does.

    Args:
        spec: ``spec`` of a pod or of a pod template, as plain data.
        level: ``restricted``, ``baseline`` or ``privileged``; the last one allows everything.
    """
    if level == PRIVILEGED:
        return []
    found = [*_of_baseline(spec)]
    if level != BASELINE:
        found += _of_restricted(spec)
    return found


def _containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield str(container.get("name", "")), container, container.get("securityContext") or {}


def _of_baseline(spec: Mapping[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"{name} is true"
    for volume in spec.get("volumes") or ():
        if "hostPath" in volume:
            yield f"volume {volume.get('name')} is a folder of the node"
    if _seccomp(spec.get("securityContext") or {}) == "Unconfined":
        yield "the pod's seccompProfile is Unconfined"
    for name, container, context in _containers(spec):
        added = set((context.get("capabilities") or {}).get("add") or ())
        if context.get("privileged"):
            yield f"container {name} is privileged"
        if added - _BASELINE_CAPABILITIES:
            yield f"container {name} adds {', '.join(sorted(added - _BASELINE_CAPABILITIES))}"
        if _seccomp(context) == "Unconfined":
            yield f"container {name} has the seccompProfile Unconfined"
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            yield f"container {name} takes a port of the node"
        if context.get("procMount") not in (None, "Default"):
            yield f"container {name} has procMount {context['procMount']}"


def _of_restricted(spec: Mapping[str, Any]) -> Iterator[str]:
    pod = spec.get("securityContext") or {}
    for volume in spec.get("volumes") or ():
        if not (set(volume) - {"name"}) <= _VOLUMES:
            yield f"volume {volume.get('name')} is of a kind that is not allowed"
    if pod.get("runAsUser") == 0:
        yield "the pod runs as root"
    for name, _, context in _containers(spec):
        capabilities = context.get("capabilities") or {}
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"container {name} does not refuse privilege escalation"
        if "ALL" not in (capabilities.get("drop") or ()):
            yield f"container {name} does not drop all capabilities"
        if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
            yield f"container {name} adds capabilities"
        if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            yield f"container {name} may run as root"
        if context.get("runAsUser") == 0:
            yield f"container {name} runs as root"
        if (_seccomp(context) or _seccomp(pod)) not in ("RuntimeDefault", "Localhost"):
            yield f"container {name} has no seccompProfile"


def _seccomp(context: Mapping[str, Any]) -> str | None:
    kind = (context.get("seccompProfile") or {}).get("type")
    return str(kind) if kind is not None else None
