from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3
from kubernetes import client, watch
from kubernetes.stream import stream

from airflow_ml.testing.kubernetes import KubernetesDouble

from .conftest import ended_job, job, pod, until

pytestmark = pytest.mark.integration


@pytest.fixture
def sleeper(core: client.CoreV1Api, name: str) -> Iterator[str]:
    """A running pod."""
    core.create_namespaced_pod(
        "default", pod(name, "sh", "-c", "echo begun; trap 'exit 5' INT; while :; do sleep 0.05; done")
    )
    until(lambda: core.read_namespaced_pod(name, "default").status.phase == "Running")
    yield name
    core.delete_namespaced_pod(name, "default", grace_period_seconds=0)


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"of": "test"}}, "data": data}


# ---- objects


def test_the_same_name_twice_is_a_conflict(core: client.CoreV1Api, name: str) -> None:
    core.create_namespaced_config_map("default", config_map(name))
    with pytest.raises(client.ApiException) as refused:
        core.create_namespaced_config_map("default", config_map(name))
    assert (refused.value.status, json.loads(refused.value.body)["reason"]) == (409, "AlreadyExists")


def test_a_change_of_an_old_version_is_a_conflict(core: client.CoreV1Api, name: str) -> None:
    seen = core.create_namespaced_config_map("default", config_map(name, a="1"))
    core.patch_namespaced_config_map(name, "default", {"data": {"b": "2"}})
    seen.data["a"] = "3"
    with pytest.raises(client.ApiException) as refused:
        core.replace_namespaced_config_map(name, "default", seen)
    assert refused.value.status == 409
    assert core.read_namespaced_config_map(name, "default").data == {"a": "1", "b": "2"}


def test_json_patches(core: client.CoreV1Api, name: str) -> None:
    core.create_namespaced_config_map("default", config_map(name, a="1"))
    core.patch_namespaced_config_map(name, "default", [{"op": "replace", "path": "/data/a", "value": "2"}])
    assert core.read_namespaced_config_map(name, "default").data == {"a": "2"}
    with pytest.raises(client.ApiException) as refused:
        core.patch_namespaced_config_map(name, "default", [{"op": "remove", "path": "/data/none"}])
    assert refused.value.status == 422


def test_a_finalizer_holds_an_object(core: client.CoreV1Api, name: str) -> None:
    body = config_map(name)
    body["metadata"]["finalizers"] = ["tests/wait"]
    core.create_namespaced_config_map("default", body)
    core.delete_namespaced_config_map(name, "default")
    assert core.read_namespaced_config_map(name, "default").metadata.deletion_timestamp
    core.patch_namespaced_config_map(name, "default", [{"op": "remove", "path": "/metadata/finalizers"}])
    assert not core.list_namespaced_config_map("default", field_selector=f"metadata.name={name}").items


def test_lists_in_pages_by_label(core: client.CoreV1Api, name: str) -> None:
    for number in range(5):
        body = config_map(f"{name}-{number}")
        body["metadata"]["labels"] = {"page": name, "odd": str(number % 2)}
        core.create_namespaced_config_map("default", body)
    found, token, pages = [], None, 0
    while pages == 0 or token:
        page = core.list_namespaced_config_map("default", label_selector=f"page={name}", limit=2, _continue=token)
        found += [one.metadata.name for one in page.items]
        token, pages = page.metadata._continue, pages + 1
    assert (found, pages) == ([f"{name}-{number}" for number in range(5)], 3)
    odd = core.list_namespaced_config_map("default", label_selector=f"page in ({name}),odd!=0,odd")
    assert len(odd.items) == 2


def test_a_dry_run_stores_nothing(batch: client.BatchV1Api, name: str) -> None:
    made = batch.create_namespaced_job("default", job(name, "true"), dry_run="All")
    assert made.spec.completion_mode == "Indexed"
    assert not batch.list_namespaced_job("default", field_selector=f"metadata.name={name}").items


# ---- who may


def test_strangers_are_turned_away(cluster: KubernetesDouble) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{cluster.url}/api/v1/pods", context=trusting)
    assert refused.value.code == 401
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0


def test_what_is_taken_away_is_forbidden_and_reviewed(
    healthy: KubernetesDouble, batch: client.BatchV1Api, name: str
) -> None:
    healthy.access.deny("create", "jobs", namespace="default")
    with pytest.raises(client.ApiException) as refused:
        batch.create_namespaced_job("default", job(name, "true"))
    assert refused.value.status == 403
    review = client.AuthorizationV1Api(healthy.client())
    for verb, allowed in (("create", False), ("get", True)):
        asked = {"verb": verb, "group": "batch", "resource": "jobs", "namespace": "default"}
        body = {"spec": {"resourceAttributes": asked}}
        assert review.create_self_subject_access_review(body).status.allowed is allowed


def test_a_quota_keeps_pods_from_being_made(
    cluster: KubernetesDouble, core: client.CoreV1Api, batch: client.BatchV1Api, name: str
) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    quota = {"metadata": {"name": "small", "namespace": name}, "spec": {"hard": {"pods": "1"}}}
    cluster.create({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    batch.create_namespaced_job(name, job(name, "sleep 0.3", completions=3, parallelism=3))

    def said() -> list[str]:
        events = core.list_namespaced_event(name, field_selector="reason=FailedCreate").items
        return [one.message for one in events]

    [message, *_] = until(said)
    assert "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1" in message
    until(lambda: batch.read_namespaced_job(name, name).status.succeeded == 3)


def test_a_restricted_namespace_refuses_what_could_harm(
    cluster: KubernetesDouble, core: client.CoreV1Api, name: str
) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    with pytest.raises(client.ApiException) as refused:
        core.create_namespaced_pod(name, pod("open", "true"))
    assert refused.value.status == 403
    message = json.loads(refused.value.body)["message"]
    assert 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in message
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True}
    context["seccompProfile"] = {"type": "RuntimeDefault"}
    core.create_namespaced_pod(name, pod("closed", "true", container={"securityContext": context}))


# ---- watches


def test_a_watch_goes_on_from_a_version_and_is_gone_when_that_is_too_old(
    cluster: KubernetesDouble, core: client.CoreV1Api, name: str
) -> None:
    old = core.list_namespaced_pod("default").metadata.resource_version
    core.create_namespaced_pod("default", pod(name, "true"))
    phases = []
    for event in watch.Watch().stream(
        core.list_namespaced_pod,
        "default",
        resource_version=old,
        field_selector=f"metadata.name={name}",
        timeout_seconds=20,
    ):
        phases.append((event["type"], event["object"].status.phase))
        if phases[-1][1] == "Succeeded":
            break
    assert phases[0] == ("ADDED", "Pending")
    cluster.forget_history()
    with pytest.raises(client.ApiException) as gone:
        for _ in watch.Watch().stream(core.list_namespaced_pod, "default", resource_version=old, timeout_seconds=2):
            pass
    assert gone.value.status == 410


def test_an_object_that_leaves_the_selection_is_deleted_for_its_watchers(core: client.CoreV1Api, name: str) -> None:
    version = core.create_namespaced_config_map("default", config_map(name)).metadata.resource_version
    core.patch_namespaced_config_map(name, "default", {"metadata": {"labels": {"of": "nobody"}}})
    core.patch_namespaced_config_map(name, "default", {"metadata": {"labels": {"of": "test"}}})
    events = watch.Watch().stream(
        core.list_namespaced_config_map,
        "default",
        resource_version=version,
        label_selector="of=test",
        timeout_seconds=1,
    )
    assert [event["type"] for event in events if event["object"].metadata.name == name] == ["DELETED", "ADDED"]


def test_bookmarks_carry_the_version(core: client.CoreV1Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_ml.testing.kubernetes.watch._BOOKMARK_SECONDS", 0.2)
    version = core.list_namespaced_config_map("default").metadata.resource_version
    for event in watch.Watch().stream(
        core.list_namespaced_config_map,
        "default",
        resource_version=version,
        allow_watch_bookmarks=True,
        timeout_seconds=2,
    ):
        assert event["type"] == "BOOKMARK"
        break


@pytest.mark.parametrize("how", ["cut", "silent", "gone"])
def test_broken_watches(healthy: KubernetesDouble, core: client.CoreV1Api, name: str, how: str) -> None:
    healthy.faults.break_watches(how, resource="configmaps", after_events=1)
    version = core.create_namespaced_config_map("default", config_map(name)).metadata.resource_version
    core.patch_namespaced_config_map(name, "default", {"data": {"a": "1"}})
    core.patch_namespaced_config_map(name, "default", {"data": {"a": "2"}})
    query = f"resourceVersion={version}&watch=true&timeoutSeconds=1&fieldSelector=metadata.name={name}"
    answer = core.api_client.call_api(
        f"/api/v1/namespaces/default/configmaps?{query}", "GET", auth_settings=["BearerToken"], _preload_content=False
    )
    began = time.monotonic()
    if how == "cut":
        with pytest.raises(urllib3.exceptions.ProtocolError):
            answer.read()
        return
    lines = [json.loads(line) for line in answer.data.splitlines()]
    types = [line["type"] for line in lines]
    assert types == {"silent": ["MODIFIED"], "gone": ["MODIFIED", "ERROR"]}[how]
    if how == "silent":
        assert time.monotonic() - began > 0.8


def test_the_asynchronous_client(cluster: KubernetesDouble, name: str) -> None:
    from kubernetes_asyncio import client as aclient
    from kubernetes_asyncio import config as aconfig
    from kubernetes_asyncio import watch as awatch

    async def run() -> list[str]:
        await aconfig.load_kube_config(config_file=str(cluster.kubeconfig))
        phases: list[str] = []
        async with aclient.ApiClient() as api, awatch.Watch() as watching:
            core = aclient.CoreV1Api(api)
            await core.create_namespaced_pod("default", pod(name, "true"))
            selector = f"metadata.name={name}"
            async for event in watching.stream(
                core.list_namespaced_pod, "default", field_selector=selector, timeout_seconds=20
            ):
                phases.append(event["object"].status.phase)
                if phases[-1] == "Succeeded":
                    break
        return phases

    assert asyncio.run(run())[-1] == "Succeeded"


# ---- faults of requests


def test_scripted_answers_and_their_count(
    healthy: KubernetesDouble, batch: client.BatchV1Api, core: client.CoreV1Api, name: str
) -> None:
    healthy.requests.reset()
    healthy.faults.fail_requests(503, verb="list", resource="jobs", times=1, skip=1)
    batch.list_namespaced_job("default")
    with pytest.raises(client.ApiException) as refused:
        batch.list_namespaced_job("default")
    assert refused.value.status == 503
    batch.list_namespaced_job("default")
    assert healthy.requests.count("list", "jobs") == 3
    assert healthy.requests.count("list", "pods") == 0


def test_too_many_requests_say_when_to_come_again(healthy: KubernetesDouble, core: client.CoreV1Api) -> None:
    healthy.requests.reset()
    healthy.faults.fail_requests(429, resource="pods", retry_after_seconds=1)
    began = time.monotonic()
    core.list_namespaced_pod("default")  # the client itself waits and asks again
    assert time.monotonic() - began >= 1
    assert healthy.requests.count("list", "pods") == 2


# ---- logs and commands


def test_parts_of_a_log(core: client.CoreV1Api, name: str) -> None:
    core.create_namespaced_pod("default", pod(name, "sh", "-c", "for i in 1 2 3 4; do echo line $i; done"))
    until(lambda: core.read_namespaced_pod(name, "default").status.phase == "Succeeded")

    def log(**query: Any) -> list[str]:
        data = core.read_namespaced_pod_log(name, "default", _preload_content=False, **query).data
        return [str(line) for line in data.decode().splitlines()]

    assert log(tail_lines=2) == ["line 3", "line 4"]
    assert log(tail_lines=0) == []
    assert log(limit_bytes=4) == ["line"]
    stamped = log(timestamps=True)
    assert [line.split(" ", 1)[1] for line in stamped] == log()
    assert stamped == log(timestamps=True)
    assert log(since_seconds=3600) == log()


def test_a_followed_log_ends_with_its_container(core: client.CoreV1Api, name: str) -> None:
    core.create_namespaced_pod("default", pod(name, "sh", "-c", "printf half; sleep 0.4; echo ' and half'"))
    until(lambda: core.read_namespaced_pod(name, "default").status.phase == "Running")
    answer = core.read_namespaced_pod_log(name, "default", follow=True, _preload_content=False)
    assert answer.data == b"half and half\n"


def test_no_log_before_the_container_runs(healthy: KubernetesDouble, core: client.CoreV1Api, name: str) -> None:
    healthy.faults.refuse_images("*")
    core.create_namespaced_pod("default", pod(name, "true"))
    with pytest.raises(client.ApiException) as refused:
        core.read_namespaced_pod_log(name, "default")
    assert refused.value.status == 400
    assert "is waiting to start" in refused.value.body
    core.delete_namespaced_pod(name, "default", grace_period_seconds=0)


def execute(core: client.CoreV1Api, name: str, *command: str) -> str:
    return str(
        stream(core.connect_get_namespaced_pod_exec, name, "default", command=list(command), stdout=True, stderr=True)
    )


def shell_in(core: client.CoreV1Api, name: str) -> Any:
    """A shell beside a pod's container, to be typed into."""
    return stream(
        core.connect_get_namespaced_pod_exec,
        name,
        "default",
        command=["/bin/sh"],
        stdin=True,
        stdout=True,
        stderr=True,
        _preload_content=False,
    )


def test_commands_run_beside_the_container(core: client.CoreV1Api, sleeper: str) -> None:
    assert execute(core, sleeper, "sh", "-c", "echo $HOSTNAME") == f"{sleeper}\n"


def test_a_kill_reaches_the_container_and_no_other_process(core: client.CoreV1Api, sleeper: str) -> None:
    bystander = subprocess.Popen(["sh", "-c", "sleep 30; true"])
    try:
        shell = shell_in(core, sleeper)
        shell.write_stdin("kill -2 $(pgrep -f sh)\n")
        shell.run_forever(timeout=10)
        done = until(lambda: (found := core.read_namespaced_pod(sleeper, "default")).status.phase == "Failed" and found)
        assert done.status.container_statuses[0].state.terminated.exit_code == 5
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_kill_that_is_typed_letter_by_letter_reaches_no_other_process(core: client.CoreV1Api, sleeper: str) -> None:
    bystander = subprocess.Popen(["sleep", "30"])
    try:
        shell = shell_in(core, sleeper)
        for letter in f"echo first\nkill -9 {bystander.pid}\n":
            shell.write_stdin(letter)
        shell.run_forever(timeout=10)
        assert shell.read_all() == "first\n"
        assert bystander.poll() is None
        until(lambda: core.read_namespaced_pod(sleeper, "default").status.phase == "Failed")
    finally:
        bystander.kill()
        bystander.wait()


def test_a_container_finds_its_own_processes_by_name_and_no_others(core: client.CoreV1Api, name: str) -> None:
    bystander = subprocess.Popen(["sleep", "31"])
    try:
        script = "sleep 32 & pgrep -x sleep | wc -l; pkill -x sleep; wait; killall nobody || echo none; echo end"
        core.create_namespaced_pod("default", pod(name, "sh", "-c", script))
        until(lambda: core.read_namespaced_pod(name, "default").status.phase == "Succeeded")
        text = str(core.read_namespaced_pod_log(name, "default", _preload_content=False).data.decode())
        assert text.split() == ["1", "none", "end"]
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_no_command_in_a_container_that_ended(core: client.CoreV1Api, batch: client.BatchV1Api, name: str) -> None:
    batch.create_namespaced_job("default", job(name, "true"))
    ended_job(batch, name)
    one = core.list_namespaced_pod("default", label_selector=f"job-name={name}").items[0].metadata.name
    with pytest.raises((client.ApiException, AttributeError)):  # the client stumbles over its own message
        execute(core, one, "true")


def test_the_port_is_of_this_machine_only(cluster: KubernetesDouble) -> None:
    port = int(cluster.url.rpartition(":")[2])
    others = {one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others:
        with socket.socket() as probe:
            probe.settimeout(1)
            assert probe.connect_ex((address, port)) != 0
