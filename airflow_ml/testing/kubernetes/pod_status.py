"""The status of a pod as a kubelet writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_ml.testing.kubernetes.resources import Object, now_text
from airflow_ml.testing.processes.launch import Ended

_MESSAGE_BYTES = 4096
_FALLBACK_BYTES = 2048


@dataclass(slots=True)
class ContainerRun:
    """A container of a pod that was bound to a node."""

    spec: Object
    base: Path
    #: Name in the launcher while it runs.
    process: str | None = None
    restarts: int = 0
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    started_at: str = ""
    #: Scripted: it ends as if the kernel had killed it.
    killed_for_memory: bool = False

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def log(self) -> Path:
        """File of the present attempt's output."""
        return self.base / f"{self.name}.{self.restarts}.log"

    @property
    def message_file(self) -> Path:
        """Where the container's termination message is on this machine."""
        return self.base / f"{self.name}.message"

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last attempt, None while it runs or waits."""
        code = (self.state.get("terminated") or {}).get("exitCode")
        return None if code is None else int(code)

    def ended(self, ended: Ended) -> None:
        """Take over how the process ended."""
        self.process = None
        reason = "Completed" if ended.exit_code == 0 else "Error"
        terminated: Object = {"exitCode": ended.exit_code, "reason": reason}
        if ended.error:
            message = f"failed to create containerd task: exec: {ended.error}"
            terminated = {"exitCode": 128, "reason": "StartError", "message": message}
        elif ended.memory_exceeded or self.killed_for_memory:
            terminated["reason"] = "OOMKilled"
        message = self._message(ended.exit_code)
        if message and not ended.error:
            terminated["message"] = message
        self.state = {"terminated": {**terminated, "startedAt": self.started_at, "finishedAt": now_text()}}

    def _message(self, exit_code: int) -> str:
        if self.message_file.exists():
            text = self.message_file.read_bytes()[:_MESSAGE_BYTES].decode(errors="replace")
            if text:
                return text
        if self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError" and exit_code and self.log.exists():
            return "\n".join(self.log.read_bytes()[-_FALLBACK_BYTES:].decode(errors="replace").splitlines()[-80:])
        return ""

    def status(self) -> Object:
        """Return the entry of ``containerStatuses``."""
        running = "running" in self.state
        return {
            "name": self.name,
            "image": self.spec.get("image", ""),
            "imageID": "",
            "ready": running,
            "started": running,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }


@dataclass(slots=True)
class Verdict:
    """Why a pod ends that did not end by itself."""

    reason: str | None = None
    message: str | None = None
    condition: Object | None = None
    #: A kubelet that evicts may leave no word of the containers.
    statuses_lost: bool = False


def disruption(reason: str, message: str) -> Object:
    """Return the condition by which a Job's failure policy knows a disruption."""
    return condition("DisruptionTarget", True, reason, message)


def condition(type: str, status: bool, reason: str = "", message: str = "") -> Object:
    """Return one condition."""
    made: Object = {"type": type, "status": str(status), "lastTransitionTime": now_text()}
    if reason:
        made["reason"] = reason
    if message:
        made["message"] = message
    return made


def conditions(pod: Object, **states: bool) -> list[Object]:
    """Return a pod's conditions with some of them set anew."""
    known = {one["type"]: one for one in pod["status"].get("conditions", [])}
    for name, value in states.items():
        if name not in known or known[name]["status"] != str(value):
            known[name] = condition(name, value)
    return list(known.values())


def pending(pod: Object) -> dict[str, Any]:
    """Return the status that a pod is made with."""
    return {"phase": "Pending", "qosClass": _quality(pod["spec"])}


def _quality(spec: Object) -> str:
    resources = [container.get("resources") or {} for container in spec["containers"]]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    for one in resources:
        limits, requests = one.get("limits") or {}, one.get("requests") or one.get("limits") or {}
        if not {"cpu", "memory"} <= limits.keys() or any(requests.get(name) != limits[name] for name in limits):
            return "Burstable"
    return "Guaranteed"
