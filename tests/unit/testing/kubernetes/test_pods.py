from __future__ import annotations

import base64
import os
import sys
from typing import Any

import pytest
from kubernetes import client, watch

from airflow_ml.testing.kubernetes import KubernetesDouble

from .conftest import GPU_TAINT, ended_pod, pod, until

pytestmark = pytest.mark.integration


def run(core: client.CoreV1Api, body: dict[str, Any]) -> tuple[Any, str]:
    """Run a pod to its end; return it and its log."""
    core.create_namespaced_pod("default", body)
    done = ended_pod(core, body["metadata"]["name"])
    return done, log(core, body["metadata"]["name"])


def log(core: client.CoreV1Api, name: str, **query: Any) -> str:
    return str(core.read_namespaced_pod_log(name, "default", _preload_content=False, **query).data.decode())


def test_a_pod_runs_its_command_and_says_how_it_ended(core: client.CoreV1Api, name: str) -> None:
    done, text = run(core, pod(name, "sh", "-c", "echo here; echo there >&2; exit 7"))
    assert (done.status.phase, text) == ("Failed", "here\nthere\n")
    ended = done.status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.reason) == (7, "Error")


def test_the_environment_is_the_pods_and_nothing_of_this_process(
    core: client.CoreV1Api, cluster: KubernetesDouble, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_TEST", "1")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"key": "hidden"}}
    cluster.create(secret)
    env = [
        {"name": "PLAIN", "value": "1"},
        {"name": "EXPANDED", "value": "$(PLAIN)-$$(PLAIN)-$(NOT)"},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": name, "key": "key"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
    ]
    body = pod(name, "env", container={"env": env, "resources": {"limits": {"cpu": "1500m"}}})
    body["metadata"]["labels"] = {"team": "rates"}
    _, text = run(core, body)
    found = dict(line.partition("=")[::2] for line in text.splitlines())
    assert found["EXPANDED"] == "1-$(PLAIN)-$(NOT)"
    assert (found["LABEL"], found["SECRET"], found["CPU"], found["HOSTNAME"]) == ("rates", "hidden", "2", name)
    assert "OF_THE_TEST" not in found


def test_mounts_are_folders_that_the_containers_of_a_pod_share(core: client.CoreV1Api, name: str) -> None:
    mount = {"name": "work", "mountPath": "/work-of-the-pod"}
    first = {
        "name": "first",
        "image": "x",
        "command": ["sh", "-c", "echo written > /work-of-the-pod/file"],
        "volumeMounts": [mount],
    }
    body = pod(
        name,
        "cat",
        "/work-of-the-pod/file",
        container={"volumeMounts": [mount]},
        initContainers=[first],
        volumes=[{"name": "work", "emptyDir": {}}],
    )
    _, text = run(core, body)
    assert text == "written\n"
    assert not os.path.exists("/work-of-the-pod")


def test_a_missing_secret_keeps_the_container_waiting_until_it_is_there(
    core: client.CoreV1Api, cluster: KubernetesDouble, name: str
) -> None:
    source = {"secretKeyRef": {"name": name, "key": "key"}}
    body = pod(name, "sh", "-c", "echo $KEY", container={"env": [{"name": "KEY", "valueFrom": source}]})
    core.create_namespaced_pod("default", body)

    def waiting() -> Any:
        statuses = core.read_namespaced_pod(name, "default").status.container_statuses
        return statuses and statuses[0].state.waiting

    found = until(waiting)
    assert (found.reason, found.message) == ("CreateContainerConfigError", f'secret "{name}" not found')
    data = {"key": base64.b64encode(b"late").decode()}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
    ended_pod(core, name)
    assert log(core, name) == "late\n"


def test_a_program_that_does_not_exist(core: client.CoreV1Api, name: str) -> None:
    done, _ = run_without_log(core, pod(name, "no-such-program"))
    ended = done.status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.reason) == (128, "StartError")
    assert "no-such-program" in ended.message


def run_without_log(core: client.CoreV1Api, body: dict[str, Any]) -> tuple[Any, None]:
    core.create_namespaced_pod("default", body)
    return ended_pod(core, body["metadata"]["name"]), None


def test_more_memory_than_the_limit_is_an_out_of_memory_kill(core: client.CoreV1Api, name: str) -> None:
    script = "import time; held = b'x' * (200 << 20); time.sleep(30)"
    body = pod(name, sys.executable, "-c", script, container={"resources": {"limits": {"memory": "100Mi"}}})
    done, _ = run_without_log(core, body)
    ended = done.status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


def test_a_deleted_pod_gets_sigterm_and_then_is_gone(core: client.CoreV1Api, name: str, tmp_path: Any) -> None:
    script = f"trap 'echo bye > {tmp_path}/said; exit 0' TERM; echo > {tmp_path}/ready; while :; do sleep 0.1; done"
    core.create_namespaced_pod("default", pod(name, "sh", "-c", script))
    until((tmp_path / "ready").exists)
    core.delete_namespaced_pod(name, "default")
    until(lambda: not core.list_namespaced_pod("default", field_selector=f"metadata.name={name}").items)
    assert (tmp_path / "said").read_text() == "bye\n"


def test_the_grace_ends_with_sigkill(core: client.CoreV1Api, name: str, tmp_path: Any) -> None:
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"
    core.create_namespaced_pod("default", pod(name, "sh", "-c", script))
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    core.delete_namespaced_pod(name, "default", grace_period_seconds=1)
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_gpu_that_is_taken_makes_the_next_pod_wait_with_the_schedulers_words(
    core: client.CoreV1Api, name: str
) -> None:
    settings: dict[str, Any] = {
        "container": {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
        "tolerations": [{"key": GPU_TAINT["key"], "operator": "Exists"}],
    }
    core.create_namespaced_pod("default", pod(f"{name}-a", "sleep", "60", **dict(settings)))
    until(lambda: core.read_namespaced_pod(f"{name}-a", "default").status.phase == "Running")
    settings["container"] = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    core.create_namespaced_pod("default", pod(f"{name}-b", "true", **settings))

    def message() -> Any:
        conditions = core.read_namespaced_pod(f"{name}-b", "default").status.conditions or []
        return next((one.message for one in conditions if one.reason == "Unschedulable"), None)

    assert until(message).startswith("0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    events = core.list_namespaced_event("default", field_selector=f"involvedObject.name={name}-b").items
    assert "FailedScheduling" in {one.reason for one in events}
    core.delete_namespaced_pod(f"{name}-a", "default", grace_period_seconds=0)
    assert ended_pod(core, f"{name}-b").spec.node_name == "gpu-1"


def test_a_node_is_chosen_by_labels(core: client.CoreV1Api, name: str) -> None:
    terms = [{"matchExpressions": [{"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["200000"]}]}]
    node = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    body = pod(name, "true", affinity={"nodeAffinity": node}, tolerations=[{"operator": "Exists"}])
    core.create_namespaced_pod("default", body)
    reason = until(lambda: (core.read_namespaced_pod(name, "default").status.conditions or [None])[0])
    assert "2 node(s) didn't match Pod's node affinity/selector" in reason.message
    core.delete_namespaced_pod(name, "default")


def test_an_image_that_cannot_be_pulled(healthy: KubernetesDouble, core: client.CoreV1Api, name: str) -> None:
    healthy.faults.refuse_images("*:missing")
    body = pod(name, "true", container={"image": "registry/model:missing"})
    core.create_namespaced_pod("default", body)
    seen = set()

    def backed_off() -> bool:
        statuses = core.read_namespaced_pod(name, "default").status.container_statuses
        seen.add(statuses and statuses[0].state.waiting.reason)
        return "ImagePullBackOff" in seen

    until(backed_off)
    core.delete_namespaced_pod(name, "default")
    until(lambda: not core.list_namespaced_pod("default", field_selector=f"metadata.name={name}").items)


def test_an_evicted_pod_without_a_word_of_its_containers(
    cluster: KubernetesDouble, core: client.CoreV1Api, name: str
) -> None:
    core.create_namespaced_pod("default", pod(name, "sleep", "60"))
    until(lambda: core.read_namespaced_pod(name, "default").status.phase == "Running")
    cluster.disrupt(name, "evict_without_statuses")
    done = ended_pod(core, name)
    assert (done.status.reason, done.status.container_statuses) == ("Evicted", None)
    condition = next(one for one in done.status.conditions if one.type == "DisruptionTarget")
    assert condition.reason == "TerminationByKubelet"


def test_a_lost_node_takes_its_pods_with_it(core: client.CoreV1Api, cluster: KubernetesDouble, name: str) -> None:
    core.create_namespaced_pod("default", pod(name, "sleep", "60"))
    until(lambda: core.read_namespaced_pod(name, "default").status.phase == "Running")
    seen = []
    try:
        version = core.list_namespaced_pod("default").metadata.resource_version
        cluster.lose_node("node-1")
        stream = watch.Watch().stream(
            core.list_namespaced_pod,
            "default",
            field_selector=f"metadata.name={name}",
            resource_version=version,
            timeout_seconds=10,
        )
        for event in stream:
            seen.append((event["type"], event["object"].status.phase, event["object"].status.reason))
            if event["type"] == "DELETED":
                break
    finally:
        cluster.recover_node("node-1")
    assert seen[0] == ("MODIFIED", "Running", "NodeLost")
    assert seen[-1] == ("DELETED", "Failed", "NodeLost")


def test_containers_restart_as_the_policy_says(core: client.CoreV1Api, name: str, tmp_path: Any) -> None:
    script = f"mkdir {tmp_path}/once 2>/dev/null && exit 1; exit 0"
    done, _ = run_without_log(core, pod(name, "sh", "-c", script, restartPolicy="OnFailure"))
    assert (done.status.phase, done.status.container_statuses[0].restart_count) == ("Succeeded", 1)
