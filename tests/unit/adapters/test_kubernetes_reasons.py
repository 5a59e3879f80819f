"""Why thousands of indexes failed: told for the newest, at a cost that does not grow with each look."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

from airflow_ml.adapters.kubernetes_api import Answer, KubernetesApi
from airflow_ml.adapters.kubernetes_reasons import JobReasons
from airflow_ml.core.job import MAX_FAILURES, JobHandle

HANDLE = JobHandle(kind="kubernetes", names=("job",), epoch=1, place={"namespace": "default", "uid": "u"})


class Cluster:
    """Lists failed pods, the one of the last index first, as the API server parses them out of a page."""

    def __init__(self, failed: int, *, gone: int = 0) -> None:
        self.failed, self.gone, self.listed = failed, gone, 0

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        self.listed += 1
        return (self._pod(index) for index in reversed(range(self.gone, self.failed)))

    def _pod(self, index: int) -> dict[str, Any]:
        ended = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
        return {
            "metadata": {
                "name": f"job-{index}",
                "labels": {"batch.kubernetes.io/job-completion-index": str(index)},
                "creationTimestamp": f"2026-01-01T{index // 3600:02}:{index // 60 % 60:02}:{index % 60:02}Z",
                "managedFields": [f"{index} {number} " + "x" * 100 for number in range(60)],
            },
            "spec": {"containers": [{"resources": {"limits": {"memory": "64Mi"}}}]},
            "status": {"phase": "Failed", "containerStatuses": [ended]},
        }


class Starting:
    """Has one pod, which its node has not started yet."""

    pod: Any = {  # noqa: RUF012 - never changed
        "metadata": {"name": "job-0", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}],
        },
    }

    def __init__(self, *events: Any) -> None:
        self.events = [{"type": "Warning", "involvedObject": {"name": "job-0"}, **event} for event in events]

    def get(self, path: str, **query: Any) -> Answer:
        return Answer(200, {"items": self.events if path.endswith("/events") else [self.pod]}, {})


def reasons(cluster: Any) -> JobReasons:
    return JobReasons(cast(KubernetesApi, cluster))


def test_of_many_failures_the_newest_are_told_and_no_more_pods_are_kept() -> None:
    tracemalloc.start()
    told = reasons(Cluster(5_000)).failed(HANDLE, range(5_000), "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(one.index, one.reason) for one in told] == [(index, "out_of_memory") for index in range(4_900, 5_000)]
    assert peak < 5e6  # all pods would take 50 MB


def test_pods_that_are_gone_do_not_hide_why_others_failed() -> None:
    told = reasons(Cluster(150, gone=120)).failed(HANDLE, range(150), "")
    assert len(told) == MAX_FAILURES
    assert [one.reason for one in told] == ["no_result"] * 70 + ["out_of_memory"] * 30


def test_pods_are_listed_anew_where_there_are_many_more_failures_and_at_the_end() -> None:
    cluster = Cluster(0)
    explained = reasons(cluster)
    for cluster.failed in range(1, 5_000, 100):  # 50 looks
        explained.failed(HANDLE, range(cluster.failed), "")
    assert cluster.listed < 10
    before = cluster.listed
    explained.failed(HANDLE, range(cluster.failed), "FailedIndexes: the job has ended")
    assert cluster.listed == before + 1


def test_what_keeps_a_node_from_starting_a_pod_is_told() -> None:
    earlier = {"reason": "FailedScheduling", "message": "0/3 nodes", "lastTimestamp": "2026-01-01T00:09:00Z"}
    mount = {"reason": "FailedMount", "message": "timed out", "lastTimestamp": "2026-01-01T00:02:00Z"}
    sandbox = {"reason": "FailedCreatePodSandBox", "message": "no free IP", "lastTimestamp": "2026-01-01T00:03:00Z"}
    now = datetime(2026, 1, 1, 1, tzinfo=UTC)
    failures, words = reasons(Starting(earlier, sandbox, mount)).waiting(HANDLE, {"spec": {}}, now)
    assert (failures, words) == ((), "its pods are being started: FailedCreatePodSandBox: no free IP")
    assert reasons(Starting(earlier)).waiting(HANDLE, {"spec": {}}, now)[1] == "its pods are being started"
