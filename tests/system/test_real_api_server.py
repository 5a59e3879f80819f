"""What this package sends to a cluster, taken by a real API server with admission: the double may share our mistakes.

``CONTRIBUTING.md`` tells how to get the programs. Without a kubelet no pod runs; its status is written here where a
test needs one. A server before 1.30 drops fields that it does not know: they are named in ``NEWER``, and the double
checks them against the schemas of newer ones.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_ml.adapters.kubernetes import KubernetesJobs
from airflow_ml.adapters.kubernetes_api import Answer, KubernetesApi
from airflow_ml.adapters.kubernetes_doctor import POD_RIGHTS, RIGHTS, examine_cluster
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.compute import ComputeProfile, profile_from_dict
from airflow_ml.core.finding import MISSING
from airflow_ml.core.indexed_job import indexed_job
from airflow_ml.core.job import CANCELLED, LOST, WAITING, JobRequest
from airflow_ml.core.node_fit import amount
from airflow_ml.core.pod_template import kubernetes_options
from airflow_ml.core.policies import kubernetes_role
from airflow_ml.errors import BackendUnavailable, ConfigurationError, JobConflict, JobFailed
from airflow_ml.hooks.job_backend import forget_backends, job_backend
from airflow_ml.runtime.compute_profiles import read_profiles
from airflow_ml.testing.kubernetes_server import CONTROLLERS, LocalApiServer, missing_programs

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        bool(missing_programs()), reason=f"no program of a real API server is named by {missing_programs()}"
    ),
    pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning"),
]
with_controllers = pytest.mark.skipif(
    bool(missing_programs([CONTROLLERS])), reason=f"no program of a cluster's controllers is named by {CONTROLLERS}"
)

EXAMPLES = Path(__file__).parents[2] / "dags_examples" / "compute_profiles"
#: Fields of a Job that came with 1.21 to 1.30.
NEWER = frozenset(
    (
        "completionMode", "suspend", "podFailurePolicy", "backoffLimitPerIndex", "maxFailedIndexes",
        "podReplacementPolicy", "successPolicy",
    )
)  # fmt: skip
#: What the examples name, so that admission has something to find; and one that nobody made.
PRIORITY, RUNTIME, NO_PRIORITY = "training-high", "nvidia", "nobody-made-it"
EVERYTHING: dict[str, Any] = {
    "kind": "kubernetes", "image": f"registry.example.com/train@sha256:{'a' * 64}", "cpus": 1.5, "memory_gib": 3.3,
    "shm_gib": 1, "ephemeral_gib": 7, "gpus": {"count": 2, "memory_gib": 40, "product": "NVIDIA-A100-SXM4-80GB"},
    "parallelism": 3, "retries": 2, "timeout_seconds": 600.5, "calls_per_index": 2,
    "kubernetes": {
        "namespace": "training", "service_account": "trainer", "node_selector": {"pool": "a"}, "runtime_class": RUNTIME,
        "priority_class": PRIORITY, "kueue_queue": "team", "image_pull_secrets": ["registry", "other"],
        "tolerations": [{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}],
        "env": {"A": "1", "EMPTY": ""}, "secrets": {"TOKEN": "store/key"}, "claims": {"/mnt/store": "filestore"},
        "labels": {"team": "ml"}, "annotations": {"note": "any text: even this"}, "max_failed_indexes": 5,
        "success_fraction": 0.9, "ttl_seconds": 120, "suspend": True, "grace_seconds": 300,
    },
}  # fmt: skip
MORE: dict[str, dict[str, Any]] = {
    "everything": EVERYTHING,
    "slice": {**EVERYTHING, "gpus": {"mig": "1g.10gb", "count": 3}},
    "other-vendor": {**EVERYTHING, "gpus": {"resource": "amd.com/gpu"}},
    **{f"spot-{kind}": {**EVERYTHING, "kubernetes": {"spot": kind}} for kind in ("any", "prefer", "only", "never")},
    "root": {**EVERYTHING, "kubernetes": {"pod_security": "baseline", "run_as_user": 0}},
    "writable": {**EVERYTHING, "kubernetes": {"writable_root_filesystem": True}},
}


def profiles() -> Iterator[ComputeProfile]:
    for file in sorted(EXAMPLES.glob("*.toml")):
        for profile in (read_profiles(file) or {}).values():
            if profile.kind == "kubernetes":
                yield replace(profile, name=f"{file.stem}-{profile.name}")
    for name, settings in MORE.items():
        yield profile_from_dict(name, settings)


PROFILES = {profile.name: profile for profile in profiles()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalApiServer]:
    controllers = (
        "job", "garbagecollector", "serviceaccount", "serviceaccount-token", "resourcequota", "ttl-after-finished",
    )  # fmt: skip
    directory = tmp_path_factory.mktemp("api-server")
    with LocalApiServer(directory, users=["nobody"], controllers=controllers, gates={"TTLAfterFinished": True}) as made:
        api = KubernetesApi(made.client())
        for namespace in ("training", "airflow", "narrow"):
            put(api, "/api/v1/namespaces", {"kind": "Namespace", "metadata": {"name": namespace}})
        accounts = [(name, "default") for name in ("default", "training", "narrow")]  # a controller's, where one runs
        for namespace, account in (*accounts, ("training", "trainer"), ("airflow", "airflow-worker")):
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
            put(api, path, {"kind": "ServiceAccount", "metadata": {"name": account}}, there=account == "default")
        group = "/apis/scheduling.k8s.io/v1"
        put(api, f"{group}/priorityclasses", {"kind": "PriorityClass", "metadata": {"name": PRIORITY}, "value": 1000})
        runtime = {"kind": "RuntimeClass", "metadata": {"name": RUNTIME}, "handler": "nvidia"}
        put(api, "/apis/node.k8s.io/v1/runtimeclasses", runtime)
        limits = {"type": "Container", "max": {"cpu": "64", "memory": "512Gi"}, "default": {"cpu": "9"}}
        range_ = {"kind": "LimitRange", "metadata": {"name": "most"}, "spec": {"limits": [limits]}}
        put(api, "/api/v1/namespaces/training/limitranges", range_)
        yield made


@pytest.fixture(scope="module")
def api(server: LocalApiServer) -> KubernetesApi:
    return KubernetesApi(server.client())


@pytest.fixture(scope="module")
def unknown(api: KubernetesApi) -> Collection[str]:
    """Which of the newer fields this server says nothing of in its own schema."""
    said = api.get("/openapi/v2").body
    schemas = json.loads(said) if isinstance(said, str) else said  # an old server calls this one plain text
    schema = schemas["definitions"]["io.k8s.api.batch.v1.JobSpec"]["properties"]
    assert "parallelism" in schema
    return NEWER - set(schema)


@pytest.fixture
def backend(api: KubernetesApi) -> KubernetesJobs:
    return KubernetesJobs(api)


def put(api: KubernetesApi, path: str, body: Mapping[str, Any], *, there: bool = False) -> Any:
    group = path.split("/apis/")[-1].rpartition("/")[0].partition("/namespaces")[0] if "/apis/" in path else "v1"
    answer = api.call("POST", path, body={"apiVersion": group, **body})
    assert answer.status == 201 or (there and answer.status == 409), answer.message
    return answer.body


def asked(profile: ComputeProfile, key: str = "", *, calls: int = 12, epoch: int = 1, task: str = "a") -> JobRequest:
    nothing = Artifact(uri="", digest="sha256:" + "0" * 64, format="", size_bytes=0)
    return JobRequest(
        key=key or f"{profile.name}-{time.monotonic_ns()}", epoch=epoch, work=nothing, calls=calls, runtime=nothing,
        store_uri="s3://bucket/store", profile=profile, python="3.11", machine="x86_64",
        owner={"namespace": "prod", "dag": "größte_dag", "run": "scheduled__2026-01-01T00:00:00+00:00", "task": task},
    )  # fmt: skip


def plain(**options: Any) -> ComputeProfile:
    own = {"namespace": "training", **options.pop("kubernetes", {})}
    return profile_from_dict(
        "plain", {"kind": "kubernetes", "image": EVERYTHING["image"], **options, "kubernetes": own}
    )


def lost(sent: Any, kept: Any, unknown: Collection[str], path: str = "") -> Iterator[str]:
    """Yield what the server keeps otherwise than it was sent, but for what it fills in and what it cannot know."""
    name = path.rpartition(".")[2]
    if path.startswith("spec.") and name in unknown:
        assert kept is None, f"{path}: this server knows it after all"
        return
    if isinstance(sent, Mapping):
        for key, value in sent.items():
            yield from lost(value, (kept or {}).get(key), unknown, f"{path}.{key}".lstrip("."))
    elif isinstance(sent, list):
        if len(kept or ()) < len(sent):
            yield f"{path}: {sent} became {kept}"
        for number, (one, other) in enumerate(zip(sent, kept or (), strict=False)):
            yield from lost(one, other, unknown, f"{path}.{number}")
    elif sent != kept and not (kept is None and (sent == "" or (name, sent) == ("hostNetwork", False))):
        quantity = any(part in path for part in (".limits.", ".requests.", "sizeLimit"))
        if not quantity or kept is None or amount(sent) != amount(kept):
            yield f"{path}: {sent!r} became {kept!r}"


def find(api: KubernetesApi, manifest: Any) -> Answer:
    place = manifest["metadata"]
    return api.get(f"/apis/batch/v1/namespaces/{place['namespace']}/jobs/{place['name']}")


def soon(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


@pytest.mark.parametrize("name", PROFILES)
def test_each_profiles_job_is_accepted_kept_adopted_found_and_removed(
    name: str, backend: KubernetesJobs, api: KubernetesApi, unknown: Collection[str]
) -> None:
    request = asked(PROFILES[name])
    manifest: Any = backend.render(request)
    path = f"/apis/batch/v1/namespaces/{manifest['metadata']['namespace']}/jobs"
    dry = api.call("POST", path, query={"dryRun": "All"}, body=manifest)
    assert dry.status == 201, dry.message
    assert find(api, manifest).status == 404
    handle = backend.submit(request)
    kept = find(api, manifest).body
    assert list(lost(manifest, kept, unknown)) == []
    assert backend.submit(request) == handle  # 409, and it is ours
    [(again, annotations)] = [
        one for one in backend.found(manifest["metadata"]["namespace"]) if one[0].names == handle.names
    ]
    assert (again.epoch, again.place["uid"]) == (1, handle.place["uid"])
    assert annotations["airflow-ml/dag"] == "größte_dag"
    assert backend.observe(handle).phase in (WAITING, "running")
    backend.cancel(handle)
    assert backend.observe(handle).phase in (LOST, CANCELLED)
    backend.cancel(handle)  # of a job that is gone
    soon(lambda: find(api, manifest).status == 404)


def test_a_privileged_pod_is_made_only_where_the_server_allows_any(backend: KubernetesJobs, api: KubernetesApi) -> None:
    request = asked(profile_from_dict("p", {**EVERYTHING, "kubernetes": {"pod_security": "privileged"}}))
    with pytest.raises(ConfigurationError, match="disallowed by cluster policy"):  # --allow-privileged is off
        backend.submit(request)
    assert find(api, backend.render(request)).status == 404


def limits(job: Any) -> dict[str, str]:
    found: dict[str, str] = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    return found


def expression(job: Any) -> dict[str, Any]:
    node = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    [term] = node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    found: dict[str, Any] = term["matchExpressions"][0]
    return found


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda job: job["spec"]["template"]["spec"].update(restartPolicy="Always"), "restartPolicy"),
        (lambda job: job["spec"].update(parallelism="many"), "int32|parallelism"),
        (lambda job: job["metadata"].update(name="Upper_Case"), "metadata.name"),
        (lambda job: job["metadata"]["labels"].update(team="a b"), "metadata.labels"),
        (lambda job: limits(job).update(cpu="1GB"), "1GB|quant"),
        (lambda job: limits(job).update(cpu="1"), "requests"),
        (lambda job: job["spec"]["template"]["spec"]["volumes"].clear(), "volumeMounts"),
        (lambda job: job["spec"]["template"]["spec"]["tolerations"][0].update(operator="Perhaps"), "tolerations"),
        (lambda job: expression(job).update(values=["40.5", "1"]), "values"),
    ],
)
def test_a_mistake_is_refused_here_so_what_is_accepted_means_something(
    mistake: Callable[[Any], None], words: str, api: KubernetesApi
) -> None:
    manifest: Any = json.loads(json.dumps(indexed_job(asked(PROFILES["everything"]))))
    mistake(manifest)
    path = f"/apis/batch/v1/namespaces/{manifest['metadata']['namespace']}/jobs"
    for query in ({"dryRun": "All"}, {}):
        answer = api.call("POST", path, query=query, body=manifest)
        assert answer.status in (400, 422), answer
        assert any(word in answer.message for word in words.split("|")), answer.message


def test_what_only_the_server_finds_invalid_is_told_in_its_words_and_as_no_fault_of_the_cluster(
    backend: KubernetesJobs,
) -> None:
    wrong = plain(kubernetes={"tolerations": [{"key": "sku", "operator": "Exists", "value": "gpu"}]})
    with pytest.raises(ConfigurationError, match="tolerations"):
        backend.submit(asked(wrong))
    with pytest.raises(ConfigurationError, match="nowhere"):
        backend.submit(asked(plain(kubernetes={"namespace": "nowhere"})))


def test_a_job_of_that_name_of_somebody_else_is_left_alone(backend: KubernetesJobs, api: KubernetesApi) -> None:
    request = asked(plain())
    handle = backend.submit(request)
    with pytest.raises(JobConflict, match=handle.names[0]):
        backend.submit(replace(request, calls=3))
    other = replace(handle, place={**handle.place, "uid": "00000000-0000-0000-0000-000000000000"})
    backend.cancel(other)  # refused by its precondition
    assert backend.observe(other).phase == LOST
    assert find(api, backend.render(request)).status == 200
    backend.cancel(handle)


def test_the_rights_that_the_doctor_prints_are_enough_and_needed(
    server: LocalApiServer, api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = kubernetes_options(plain())
    token = put(
        api, "/api/v1/namespaces/airflow/serviceaccounts/airflow-worker/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )["status"]["token"]  # fmt: skip
    worker = KubernetesApi(server.client(token=token))
    backend = KubernetesJobs(worker)
    with pytest.raises(BackendUnavailable, match="cannot create resource"):
        backend.submit(asked(plain()))
    denied = {one.check for one in examine_cluster(worker, plain(), store_uri="s3://b/s") if one.state == MISSING}
    assert {"rights: jobs", "rights: pods", "rights: pods/log", "rights: events", "admission"} <= denied
    for rights, role in ((RIGHTS, "airflow-ml"), (POD_RIGHTS, "airflow-ml-pods")):
        for manifest in kubernetes_role(options, rights, account="airflow:airflow-worker", role=role):
            kind = f"{str(manifest['kind']).lower()}s"
            put(api, f"/apis/rbac.authorization.k8s.io/v1/namespaces/training/{kind}", manifest)
    request = asked(plain())
    handle = soon(lambda: submitted(backend, request))
    assert backend.observe(handle).phase in (WAITING, "running")
    assert list(backend.log(handle, 0)) == []
    assert [one.names for one, _ in backend.found("training")] == [handle.names]
    found = {one.check: one for one in examine_cluster(worker, plain(), store_uri="s3://b/s")}
    assert {check for check, one in found.items() if one.state == MISSING} - {"version", "nodes"} == set()
    assert "dry run" in found["admission"].seen
    backend.cancel(handle)
    with pytest.raises(BackendUnavailable, match="airflow-worker"):
        backend.submit(asked(plain(kubernetes={"namespace": "narrow"})))


def submitted(backend: KubernetesJobs, request: JobRequest) -> Any:
    """Return the handle; None until the server's authorizer has seen the new role."""
    try:
        return backend.submit(request)
    except BackendUnavailable:
        return None


def test_the_doctor_names_what_a_real_cluster_lacks(api: KubernetesApi, unknown: Collection[str]) -> None:
    profile = plain(gpus=1, kubernetes={"priority_class": NO_PRIORITY, "service_account": "trainer",
                                        "runtime_class": RUNTIME, "image_pull_secrets": ["registry"],
                                        "kueue_queue": "team"})  # fmt: skip
    found = {one.check: one for one in examine_cluster(api, profile, store_uri="s3://b/s")}
    missing = {check for check, one in found.items() if one.state == MISSING}
    assert {f"priority class {NO_PRIORITY}", "pull secret registry", "Kueue queue team", "nodes", "GPUs"} <= missing
    assert not {"service account trainer", "runtime class nvidia", "namespace training", "admission"} & missing
    if api.get("/version").body["minor"]:  # a server that was built without its version has none
        assert ("version" in missing) == ("backoffLimitPerIndex" in unknown)


@with_controllers
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"priority_class": NO_PRIORITY}, "no PriorityClass with name"),
        ({"runtime_class": "nobody-made-it"}, "RuntimeClass"),
        ({"service_account": "nobody-made-it"}, "service account"),
        ({"namespace": "narrow"}, "exceeded quota: little"),
    ],
)
def test_why_a_job_has_no_pods_is_told_in_the_controllers_words(
    options: dict[str, Any], reason: str, backend: KubernetesJobs, api: KubernetesApi
) -> None:
    if options.get("namespace") == "narrow":
        quota = {"kind": "ResourceQuota", "metadata": {"name": "little"}, "spec": {"hard": {"limits.cpu": "1"}}}
        put(api, "/api/v1/namespaces/narrow/resourcequotas", quota)
        soon(lambda: api.get("/api/v1/namespaces/narrow/resourcequotas/little").body.get("status", {}).get("hard"))
    handle = backend.submit(asked(plain(cpus=2, kubernetes=options)))
    status = soon(lambda: (now := backend.observe(handle)).waiting_for and now)
    assert (status.phase, reason in status.waiting_for) == (WAITING, True), status
    backend.cancel(handle)


@with_controllers
def test_pods_of_the_controller_have_what_the_template_says_and_go_with_their_job(
    backend: KubernetesJobs, api: KubernetesApi, unknown: Collection[str]
) -> None:
    profile = profile_from_dict("e", {**EVERYTHING, "kubernetes": {**EVERYTHING["kubernetes"], "kueue_queue": None,
                                                                   "suspend": False}})  # fmt: skip
    request = asked(profile, calls=6)
    manifest: Any = backend.render(request)
    handle = backend.submit(request)
    path, selector = "/api/v1/namespaces/training/pods", f"job-name={handle.names[0]}"
    pods = soon(lambda: len(found := list(api.pages(path, labelSelector=selector, limit=2))) == 3 and found)
    for pod in pods:
        assert list(lost(manifest["spec"]["template"], pod, unknown, "template")) == []
        assert pod["spec"]["priority"] == 1000
    soon(lambda: backend.observe(handle).active == 3)  # written after the pods are made
    backend.cancel(handle)
    soon(lambda: not list(api.pages(path, labelSelector=selector)))


@pytest.fixture
def deployed(server: LocalApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles and connections of an Airflow: by kubeconfig in the connection, by its path, and by a context of it."""
    config = server.kubeconfig()
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    nowhere = {"name": "elsewhere", "context": {"cluster": "local", "user": "nobody"}}
    two = {**config, "contexts": [nowhere, *config["contexts"]], "current-context": "elsewhere",
           "users": [*config["users"], {"name": "nobody", "user": {"token": "wrong"}}]}  # fmt: skip
    (tmp_path / "two.json").write_text(json.dumps(two))
    extras = {
        "inline": {"kube_config": json.dumps(config)},
        "path": {"kube_config_path": str(file)},
        "context": {"kube_config_path": str(tmp_path / "two.json"), "cluster_context": "admin"},
    }
    for name, extra in extras.items():
        settings = {"conn_type": "kubernetes", "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(settings))
    monkeypatch.setattr("airflow_ml.operators.gpu_pod.compute_profile", lambda compute: PROFILES[compute])


def context(task: str) -> dict[str, Any]:
    date = datetime(2026, 1, 1, tzinfo=UTC)
    names = {"dag_id": "dag", "task_id": task, "run_id": "run", "map_index": -1, "try_number": 1, "is_mapped": False}
    instance = SimpleNamespace(**names, task=None, xcom_push=lambda **_: None, render_templates=lambda: None)
    run = SimpleNamespace(run_id="run", logical_date=date, run_after=date, dag_id="dag")
    dag = SimpleNamespace(dag_id="dag", is_subdag=False, parent_dag=None)
    return {"ti": instance, "task_instance": instance, "run_id": "run", "dag_run": run, "dag": dag,
            "logical_date": date, "ts": "2026"}  # fmt: skip


def gpu_pod(name: str, **settings: Any) -> Any:
    from airflow_ml import GpuPodOperator

    given = {"kubernetes_conn_id": "inline", "deferrable": True, "poll_interval": 0.2, **settings}
    return GpuPodOperator(task_id=name, compute=name, cmds=["python"], arguments=["-c", "pass"], **given)


def pods_of(api: KubernetesApi, namespace: str, task: str) -> list[Mapping[str, Any]]:
    return list(api.pages(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"task_id={task}"))


@pytest.mark.parametrize("name", PROFILES)
def test_each_profiles_pod_is_accepted_and_kept(
    name: str, api: KubernetesApi, unknown: Collection[str], deployed: None
) -> None:
    operator = gpu_pod(name, do_xcom_push=True)
    namespace = kubernetes_options(PROFILES[name]).namespace
    with pytest.raises(TaskDeferred):
        operator.execute(context(name))
    [kept] = pods_of(api, namespace, name)
    from kubernetes.client import ApiClient

    sent = ApiClient().sanitize_for_serialization(operator.pod_request_obj)
    del sent["apiVersion"], sent["kind"]  # no item of a list has them
    assert list(lost(sent, kept, unknown)) == []
    assert [one["name"] for one in kept["spec"]["containers"]] == ["base", "airflow-xcom-sidecar"]
    operator.on_kill()
    soon(lambda: not pods_of(api, namespace, name))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priority_class": NO_PRIORITY}, f"no PriorityClass with name {NO_PRIORITY}"),
        ({"runtime_class": "nobody-made-it"}, "RuntimeClass"),
        ({"service_account": "nobody-made-it"}, "service account"),
        ({"namespace": "nowhere"}, 'namespaces "nowhere" not found'),
        ({"tolerations": [{"key": "sku", "operator": "Exists", "value": "gpu"}]}, "tolerations"),
    ],
)
def test_a_pod_that_admission_refuses_fails_with_its_words(
    options: dict[str, Any], words: str, deployed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROFILES, "wrong", plain(kubernetes=options))
    with pytest.raises(JobFailed) as caught:
        gpu_pod("wrong").execute(context("wrong"))
    assert caught.value.reasons == ("refused",)
    assert words in str(caught.value)


@pytest.mark.parametrize("conn_id", ["inline", "path", "context"])
def test_a_job_is_submitted_by_each_kind_of_connection(conn_id: str, deployed: None) -> None:
    forget_backends(at_once=True)  # of the parameter before
    request = asked(plain(kubernetes={"conn_id": conn_id}))
    handle = job_backend(request.profile).submit(request)
    assert handle.place["conn_id"] == conn_id
    assert job_backend(handle).observe(handle).phase in (WAITING, "running")
    job_backend(handle).cancel(handle)


@pytest.mark.parametrize("conn_id", ["inline", "path", "context"])
def test_a_deferred_pod_is_watched_by_each_kind_of_connection(
    conn_id: str, server: LocalApiServer, api: KubernetesApi, deployed: None
) -> None:
    from kubernetes.client import CoreV1Api

    name = "eks-cpu"
    operator = gpu_pod(name, kubernetes_conn_id=conn_id)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context(name))
    [pod] = pods_of(api, "training", name)
    trigger = deferred.value.trigger
    kind, arguments = trigger.serialize()
    assert kind.endswith("GpuPodTrigger")
    trigger = type(trigger)(**arguments)  # as a triggerer makes it

    async def watched() -> Any:
        task = asyncio.ensure_future(anext(trigger.run()))
        await asyncio.sleep(1)
        assert not task.done(), task.result()
        ended = {"exitCode": 0, "reason": "Completed"}
        container = {"name": "base", "image": "x", "imageID": "x", "ready": False, "restartCount": 0,
                     "state": {"terminated": ended}}  # fmt: skip
        status = {"phase": "Succeeded", "containerStatuses": [container]}
        patch = CoreV1Api(server.client()).patch_namespaced_pod_status
        await asyncio.to_thread(patch, pod["metadata"]["name"], "training", {"status": status})
        return await asyncio.wait_for(task, 60)

    event = asyncio.run(watched()).payload
    assert event["status"] == "success", event
    again = gpu_pod(name, kubernetes_conn_id=conn_id)
    again.trigger_reentry(context(name), event)
    soon(lambda: not pods_of(api, "training", name))
