"""What a profile needs of its cluster, asked before anything runs: rights, objects, quota, nodes, admission."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_ml.adapters.kubernetes_api import Answer, KubernetesApi
from airflow_ml.adapters.kubernetes_kueue import VERSIONS as KUEUE_VERSIONS
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.finding import Finding, missing, present, unknown
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.indexed_job import indexed_job
from airflow_ml.core.job import JobRequest
from airflow_ml.core.kubernetes_options import PRIVILEGED, KubernetesOptions
from airflow_ml.core.node_fit import amount, capacity_words, free_of, misfit, reasons, requests_of
from airflow_ml.core.pod_template import gpu_resource, kubernetes_options, pod_template
from airflow_ml.errors import BackendUnavailable

#: What submitting, watching, explaining and cancelling take: API group, resource, subresource, verbs.
RIGHTS = (
    ("batch", "jobs", "", ("create", "get", "list", "delete")),
    ("", "pods", "", ("get", "list")),
    ("", "pods", "log", ("get",)),
    ("", "events", "", ("list",)),
)
#: What `GpuPodOperator` takes besides: Airflow's own pod operator makes, marks, follows and removes pods itself.
POD_RIGHTS = (("", "pods", "", ("create", "patch", "watch", "delete")),)
#: What telling a job's place in a queue of Kueue takes besides.
QUEUE_RIGHTS = (
    ("kueue.x-k8s.io", "workloads", "", ("list",)),
    ("visibility.kueue.x-k8s.io", "localqueues", "pendingworkloads", ("get",)),
)
#: Minor from which an index has a number of retries of its own without a feature gate.
_LEAST_MINOR = 29
#: Minor from which a share of the indexes can be enough; an older server forgets that it was asked for.
_LEAST_MINOR_OF_SHARES = 31


def examine_cluster(api: KubernetesApi, profile: ComputeProfile, *, store_uri: str) -> Iterator[Finding]:
    """Yield what is there and what is missing for a profile's jobs, in the order in which they would meet it.

    Args:
        api: Of the account that submits jobs.
        profile: Of kind ``kubernetes``.
        store_uri: The artifact store.
    """
    options = kubernetes_options(profile)
    try:
        version = api.call("GET", "/version")
    except BackendUnavailable as error:
        yield missing("connection", str(error), "Check the connection, or the kubeconfig.")
        return
    yield _version(version, options)
    yield from _rights(api, options)
    yield from _objects(api, options)
    yield from _quotas(api, profile, options)
    yield from _nodes(api, profile)
    yield _admission(api, profile, store_uri)


def _version(answer: Answer, options: KubernetesOptions) -> Finding:
    if answer.status != 200:
        return unknown("version", _words(answer))
    minor = "".join(letter for letter in str(answer.body.get("minor", "")) if letter.isdigit())
    seen = str(answer.body.get("gitVersion") or f"1.{minor}")
    if minor and int(minor) < _LEAST_MINOR:
        return missing("version", seen, f"Retries by index need Kubernetes 1.{_LEAST_MINOR} or newer.")
    if minor and int(minor) < _LEAST_MINOR_OF_SHARES and options.success_fraction is not None:
        remedy = f"Leave success_fraction out: it needs Kubernetes 1.{_LEAST_MINOR_OF_SHARES} or newer."
        return missing("version", seen, remedy)
    return present("version", seen)


def _rights(api: KubernetesApi, options: KubernetesOptions) -> Iterator[Finding]:
    wanted = [(right, "") for right in RIGHTS] + [(right, "GpuPodOperator") for right in POD_RIGHTS]
    if options.kueue_queue is not None:
        wanted += [(right, "telling what a queue waits for") for right in QUEUE_RIGHTS]
    for (group, resource, part, verbs), purpose in wanted:
        name = f"{resource}/{part}" if part else resource
        denied, untold = [], ""
        for verb in verbs:
            asked = {"namespace": options.namespace, "verb": verb, "group": group, "resource": resource}
            answer = api.call(
                "POST",
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                body={
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectAccessReview",
                    "spec": {"resourceAttributes": {**asked, **({"subresource": part} if part else {})}},
                },
            )
            if answer.status not in (200, 201):
                untold = _words(answer)
            elif not (answer.body.get("status") or {}).get("allowed"):
                denied.append(verb)
        check = f"rights: {name}, for {purpose}" if purpose else f"rights: {name}"
        if denied and purpose:
            yield unknown(check, f"may not {', '.join(denied)} in {options.namespace}; nothing else needs it")
        elif denied:
            remedy = "Grant them; `airflow-ml doctor --policy` prints the role."
            yield missing(check, f"may not {', '.join(denied)} in {options.namespace}", remedy)
        else:
            yield unknown(check, untold) if untold else present(check, ", ".join(verbs))


def _objects(api: KubernetesApi, options: KubernetesOptions) -> Iterator[Finding]:
    place, cluster = f"/api/v1/namespaces/{options.namespace}", "/apis"
    wanted = [
        ("namespace", options.namespace, "/api/v1/namespaces"),
        ("service account", options.service_account, f"{place}/serviceaccounts"),
        ("priority class", options.priority_class, f"{cluster}/scheduling.k8s.io/v1/priorityclasses"),
        ("runtime class", options.runtime_class, f"{cluster}/node.k8s.io/v1/runtimeclasses"),
        *(("pull secret", name, f"{place}/secrets") for name in options.image_pull_secrets),
        *(("secret", name, f"{place}/secrets") for name in sorted(_secrets(options))),
        *(("claim", name, f"{place}/persistentvolumeclaims") for name in options.claims.values()),
    ]
    for kind, name, path in wanted:
        if name is not None:
            yield _object(api.call("GET", f"{path}/{name}"), f"{kind} {name}", options)
    if options.kueue_queue is not None:
        yield _queue(api, options)


def _queue(api: KubernetesApi, options: KubernetesOptions) -> Finding:
    path, check = (
        f"namespaces/{options.namespace}/localqueues/{options.kueue_queue}",
        f"Kueue queue {options.kueue_queue}",
    )
    for version in KUEUE_VERSIONS:
        answer = api.call("GET", f"/apis/kueue.x-k8s.io/{version}/{path}")
        if answer.status != 404:
            break
    for condition in (answer.body.get("status") or {}).get("conditions") or () if answer.status == 200 else ():
        if condition.get("type") == "Active" and condition.get("status") == "False":
            seen = f"is not active: {condition.get('message') or condition.get('reason')}"
            return missing(check, seen, "Mend the queue, or its ClusterQueue: until then it lets no job go.")
    return _object(answer, check, options)


def _secrets(options: KubernetesOptions) -> set[str]:
    return {address.partition("/")[0] for address in options.secrets.values()}


def _object(answer: Answer, check: str, options: KubernetesOptions) -> Finding:
    if answer.status == 404:
        return missing(check, "does not exist", "Create it, or correct the profile.")
    if answer.status in (401, 403):
        return unknown(check, "may not be read by this account, which need not read it")
    if answer.status != 200:
        return unknown(check, _words(answer))
    enforced = ((answer.body.get("metadata") or {}).get("labels") or {}).get("pod-security.kubernetes.io/enforce")
    if enforced and options.pod_security == PRIVILEGED != enforced:
        return missing(check, f"enforces {enforced} pods", 'Take pod_security = "privileged" out of the profile.')
    phase = (answer.body.get("status") or {}).get("phase")
    if phase in ("Pending", "Lost", "Terminating"):
        return missing(check, f"is {phase}", "Wait for it, or mend it.")
    return present(check, f"exists, enforces {enforced} pods" if enforced else "exists")


def _quotas(api: KubernetesApi, profile: ComputeProfile, options: KubernetesOptions) -> Iterator[Finding]:
    answer = api.call("GET", f"/api/v1/namespaces/{options.namespace}/resourcequotas")
    if answer.status != 200:
        yield unknown("quota", "may not be read by this account" if answer.status == 403 else _words(answer))
        return
    spec: Any = pod_template(profile)["spec"]
    asked = requests_of(spec)
    for quota in answer.body.get("items") or ():
        status = quota.get("status") or {}
        hard, used = status.get("hard") or (quota.get("spec") or {}).get("hard") or {}, status.get("used") or {}
        fits = profile.parallelism
        narrow = ""
        for key, limit in hard.items():
            one = asked.get(key.removeprefix("requests.").removeprefix("limits."), amount(1) if key == "pods" else 0)
            room = int((amount(limit) - amount(used.get(key, 0))) // one) if one else fits
            if room < fits:
                fits, narrow = max(0, room), f"{key} {used.get(key, 0)} of {limit} used"
        check = f"quota {quota['metadata']['name']}"
        if fits == 0:
            yield missing(check, f"no room for one pod: {narrow}", "Raise the quota, or ask for less.")
        else:
            seen = f"room for {fits} of {profile.parallelism} pods side by side"
            yield present(check, f"{seen}: {narrow}" if narrow else seen)


def _nodes(api: KubernetesApi, profile: ComputeProfile) -> Iterator[Finding]:
    listed = api.call("GET", "/api/v1/nodes")
    if listed.status != 200:
        yield unknown("nodes", "may not be listed by this account" if listed.status == 403 else _words(listed))
        return
    nodes: Sequence[Mapping[str, Any]] = listed.body.get("items") or ()
    running = api.call("GET", "/api/v1/pods", query={"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"})
    pods: Sequence[Mapping[str, Any]] = running.body.get("items") or () if running.status == 200 else ()
    spec: Any = pod_template(profile)["spec"]
    whys = [misfit(node, spec) for node in nodes]
    now = sum(not misfit(node, spec, free_of(node, pods)) for node in nodes)
    if any(not why for why in whys):
        able = whys.count("")
        yield present("nodes", f"{able} of {len(nodes)} can take a pod of this profile, {now} have room for one now")
    else:
        seen = reasons(whys) or "there are none"
        yield missing(
            "nodes", f"none of {len(nodes)} can take a pod of this profile: {seen}",
            "Correct the profile, or add nodes; an autoscaler may still add one.",
        )  # fmt: skip
    gpus = profile.resources.gpus
    if gpus is not None:
        words = capacity_words(nodes, pods, gpu_resource(gpus))
        there = any(amount((one["status"].get("allocatable") or {}).get(gpu_resource(gpus), 0)) for one in nodes)
        remedy = "Add GPU nodes and the vendor's device plugin; an autoscaler may still add one."
        yield present("GPUs", words) if there else missing("GPUs", words, remedy)


def _admission(api: KubernetesApi, profile: ComputeProfile, store_uri: str) -> Finding:
    """Send a job of one call for a dry run: whatever the server's policies say, they say it now."""
    nothing = Artifact(uri="", digest="sha256:" + "0" * 64, format="", size_bytes=0)
    request = JobRequest(
        key=digest_json(["doctor", profile.name]), epoch=1, work=nothing, calls=1, runtime=nothing,
        store_uri=store_uri, profile=profile, owner={"dag": "doctor", "task": profile.name},
    )  # fmt: skip
    manifest: Any = indexed_job(request)
    path = f"/apis/batch/v1/namespaces/{manifest['metadata']['namespace']}/jobs"
    answer = api.call("POST", path, query={"dryRun": "All"}, body=manifest)
    if answer.status in (200, 201):
        return present("admission", "a job of this profile is accepted (dry run)")
    return missing("admission", _words(answer), "Do what the server says, in the profile or in the cluster.")


def _words(answer: Answer) -> str:
    body = answer.body
    said = body.get("message") or body.get("reason") if isinstance(body, Mapping) else body
    return f"HTTP {answer.status}: {said or 'no words'}"[:500]
