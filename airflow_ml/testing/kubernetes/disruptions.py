"""What befalls pods: evictions, preemption, lost nodes, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_ml.testing.kubernetes.objects import changed
from airflow_ml.testing.kubernetes.pod_status import Verdict, condition, disruption
from airflow_ml.testing.kubernetes.resources import Object, now_text

if TYPE_CHECKING:
    from airflow_ml.testing.kubernetes.pods import Kubelet, PodRun

_PRESSURE = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 92000Ki. "
#: Reason of the condition DisruptionTarget, message, reason of the event, grace in seconds.
_DISPLACED = {
    "preempt": (
        "PreemptionByScheduler",
        "default-scheduler: preempting to accommodate a higher priority pod",
        "Preempted",
        2,
    ),
    "evict_by_api": ("EvictionByEvictionAPI", "Eviction API: evicting", "Killing", 2),
    "node_lost": ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", "NodeNotReady", 0),
}


def befall(kubelet: Kubelet, run: PodRun, pod: Object, what: str) -> None:
    """Let one of ``faults.DISRUPTIONS`` happen to a running pod."""
    if what == "oom":
        first = run.main[0]
        if first.process is not None:
            first.killed_for_memory = True
            kubelet.processes.kill(first.process)
    elif what in ("evict", "evict_without_statuses"):
        target = disruption("TerminationByKubelet", _PRESSURE)
        kubelet.event(run, "Evicted", _PRESSURE, warning=True)
        lost = what == "evict_without_statuses"
        kubelet.stop(run, 0.0, Verdict("Evicted", _PRESSURE, target, statuses_lost=lost))
    elif what == "kill":
        kubelet.stop(run, 0.0)
    else:
        _displace(kubelet, run, pod, what)


def _displace(kubelet: Kubelet, run: PodRun, pod: Object, what: str) -> None:
    """Delete a pod that is in the way, or whose node nobody hears of."""
    reason, text, event, grace = _DISPLACED[what]
    kubelet.event(run, event, text, warning=True)
    lost, target = what == "node_lost", disruption(reason, text)
    known = pod["status"].get("conditions", [])
    others = [one for one in known if one["type"] not in ("Ready", "DisruptionTarget")]
    ready = condition("Ready", False, "NodeLost" if lost else "")
    marked = changed(pod, conditions=[*others, ready, target], reason="NodeLost" if lost else None)
    marks = {"deletionTimestamp": now_text(), "deletionGracePeriodSeconds": grace}
    kubelet.put({**marked, "metadata": {**pod["metadata"], **marks}})
    verdict = Verdict("NodeLost" if lost else None, text if lost else None, target, statuses_lost=lost)
    kubelet.stop(run, float(grace), verdict)


def judged(pod: Object, verdict: Verdict) -> Object:
    """Return a pod that ended as something befell it."""
    others = [one for one in pod["status"].get("conditions", []) if one["type"] != "DisruptionTarget"]
    values: Object = {"reason": verdict.reason, "message": verdict.message}
    if verdict.condition is not None:
        values["conditions"] = [*others, verdict.condition]
    if verdict.statuses_lost:
        values["containerStatuses"] = None
    return changed(pod, **values)
