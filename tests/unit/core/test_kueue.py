"""What Kueue says, as words: its documents' own examples of a Workload's status."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_ml.core.kueue import TOLD_AT_ONCE, never_admitted, queue_of, queue_words

QUEUED = "suspended until the queue team lets it go"
NO_QUOTA = {
    "type": "QuotaReserved",
    "status": "False",
    "reason": "Pending",
    "message": "couldn't assign flavors to pod set main: insufficient quota for cpu in flavor default-flavor",
}
RESERVED = {
    "type": "QuotaReserved",
    "status": "True",
    "reason": "QuotaReserved",
    "message": "Quota reserved in ClusterQueue dws",
}
PREEMPTED = {
    "type": "Evicted",
    "status": "True",
    "reason": "Preempted",
    "message": "Preempted to accommodate a higher priority Workload",
}


def pending(uid: str, place: int) -> dict[str, Any]:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": uid}
    where = {"positionInLocalQueue": place, "positionInClusterQueue": place + 2}
    return {"metadata": {"ownerReferences": [owner]}, "localQueueName": "team", **where}


@pytest.mark.fault("K6")
@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (None, ""),
        ({"spec": {}, "status": {}}, ""),  # StrictFIFO: nobody has looked at it
        ({"status": {"conditions": [NO_QUOTA]}}, f"; Pending: {NO_QUOTA['message']}"),
        (
            {"status": {"conditions": [NO_QUOTA, PREEMPTED]}},
            f"; Preempted: {PREEMPTED['message']}; Pending: {NO_QUOTA['message']}",
        ),
        (
            {"status": {"conditions": [RESERVED], "admissionChecks": [{"name": "prov", "state": "Pending"}]}},
            "; Quota reserved in ClusterQueue dws; check prov Pending",
        ),
        (
            {
                "status": {
                    "conditions": [RESERVED],
                    "admissionChecks": [
                        {"name": "done", "state": "Ready", "message": "yes"},
                        {"name": "prov", "state": "Retry", "message": "no stock"},
                    ],
                    "requeueState": {"count": 1, "requeueAt": "2026-11-23T10:00:00Z"},
                }
            },
            "; Quota reserved in ClusterQueue dws; check prov Retry: no stock; tried again at 2026-11-23T10:00:00Z",
        ),
        ({"spec": {"active": False}}, "; its Workload is deactivated: somebody must set spec.active"),
    ],
)
def test_why_it_is_held_back(workload: dict[str, Any] | None, words: str) -> None:
    assert queue_words("team", "me", workload, ()) == QUEUED + words


def test_its_place() -> None:
    line = [pending("a", 0), pending("me", 1), pending("b", 2)]
    assert queue_words("team", "me", None, line) == f"{QUEUED}; number 2 of 3 in it, number 4 for its quota"
    assert queue_words("team", "nobody", None, line) == QUEUED
    many = [pending(str(place), place) for place in range(TOLD_AT_ONCE)]
    assert "; number 8 of over 1000 in it" in queue_words("team", "7", None, many)


def test_whose_queue() -> None:
    assert queue_of({"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "team"}}}) == "team"
    assert queue_of({"metadata": {}}) == ""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("LocalQueue team doesn't exist", "refused"),
        ("ClusterQueue gpus doesn't exist", "refused"),
        ("LocalQueue team is inactive", ""),
        ("ClusterQueue gpus is inactive", ""),
        ("couldn't assign flavors to pod set main: insufficient quota for cpu in flavor a, request > maximum capacity "
         "(40 > 1)", "quota"),
        ("couldn't assign flavors to pod set main: insufficient quota for cpu in flavor a, request > maximum capacity "
         "(40 > 1), insufficient unused quota for cpu in flavor b, 2 more needed", ""),
        ("couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor a, 2 more needed", ""),
    ],
)  # fmt: skip
def test_what_waiting_does_not_help_is_told_apart(words: str, reason: str) -> None:
    condition = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": words}
    assert never_admitted({"status": {"conditions": [condition]}}) == reason
    assert never_admitted({"status": {"conditions": [{**condition, "status": "True"}]}}) == ""
    assert never_admitted(None) == ""
