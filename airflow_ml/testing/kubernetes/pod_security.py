"""The Pod Security Standards in the API server's words, as far as pods of calls can violate them.

Written apart from ``core/pod_security.py``, which decides what we send: a test holds one against the other, and a
mistake in either shows.
"""

from __future__ import annotations

from typing import Any

from airflow_ml.testing.kubernetes.resources import Object

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_BASELINE_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP"),
    *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}


def violations(spec: Object, level: str) -> list[str]:
    """Return what a pod violates of a level (privileged, baseline or restricted), in the words of the API server."""
    if level == "privileged":
        return []
    found = _baseline(spec)
    return found + _restricted(spec) if level == "restricted" else found


def _baseline(spec: Object) -> list[str]:
    found = []
    if any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("host namespaces")
    paths = [volume["name"] for volume in spec.get("volumes") or [] if "hostPath" in volume]
    if paths:
        found.append(f"hostPath volumes ({', '.join(paths)})")
    for container in _containers(spec):
        context = container.get("securityContext") or {}
        if context.get("privileged"):
            found.append(f'privileged (container "{container["name"]}" must not set securityContext.privileged=true)')
        added = set((context.get("capabilities") or {}).get("add") or [])
        if added - _BASELINE_CAPABILITIES:
            found.append(f"non-default capabilities ({', '.join(sorted(added - _BASELINE_CAPABILITIES))})")
        if any(port.get("hostPort") for port in container.get("ports") or []):
            found.append("hostPort")
    return found


def _restricted(spec: Object) -> list[str]:
    pod: dict[str, Any] = spec.get("securityContext") or {}
    found = []
    for volume in spec.get("volumes") or []:
        kinds = set(volume) - {"name"}
        if kinds - _VOLUMES - {"hostPath"}:
            found.append(f'restricted volume types (volume "{volume["name"]}" uses {", ".join(sorted(kinds))})')
    if pod.get("runAsUser") == 0:
        found.append("runAsUser=0 (pod must not set runAsUser=0)")
    for container in _containers(spec):
        name, context = container["name"], container.get("securityContext") or {}
        where = f'container "{name}" must set securityContext.'
        if context.get("allowPrivilegeEscalation") is not False:
            found.append(f"allowPrivilegeEscalation != false ({where}allowPrivilegeEscalation=false)")
        capabilities = context.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or []) or set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
            found.append(f'unrestricted capabilities ({where}capabilities.drop=["ALL"])')
        if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
            found.append(f"runAsNonRoot != true (pod or {where}runAsNonRoot=true)")
        if context.get("runAsUser") == 0:
            found.append(f'runAsUser=0 (container "{name}" must not set runAsUser=0)')
        profile = (context.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
        if profile not in ("RuntimeDefault", "Localhost"):
            found.append(f'seccompProfile (pod or {where}seccompProfile.type to "RuntimeDefault" or "Localhost")')
    return found


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
