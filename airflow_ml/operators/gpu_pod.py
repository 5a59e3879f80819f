"""``GpuPodOperator``: any image and command in a pod as a compute profile describes it.

Importing this module imports Airflow's KubernetesPodOperator; ``from airflow_ml import GpuPodOperator`` does so where
the name is used, and nothing else of the package does it at all.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout

from airflow_ml.core.compute import check_profile, grown
from airflow_ml.core.compute_choice import split_compute
from airflow_ml.core.failure import Failure, index_failure, job_failed
from airflow_ml.core.pod_security import violations
from airflow_ml.core.pod_template import kubernetes_options, pod_template
from airflow_ml.core.variables import refuse_secrets
from airflow_ml.errors import ConfigurationError, MissingDependency
from airflow_ml.hooks.compute import compute_profile
from airflow_ml.operators.base import failing_at_once
from airflow_ml.operators.pod_end import PodEndManager, failure_of, refusal_of
from airflow_ml.operators.worker_end import will_be_tried_again
from airflow_ml.retry import attempt_profile
from airflow_ml.triggers.gpu_pod import GpuPodTrigger

try:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException, PodPhase
    from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults
except ModuleNotFoundError as error:
    raise MissingDependency(
        "GpuPodOperator needs a package that is not installed",
        str(error.name),
        "Install airflow-ml[kubernetes]; a DAG file without it imports from airflow_ml the names that it uses, not *.",
    ) from error

if TYPE_CHECKING:
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.errors import JobFailed

#: It sleeps until its file is read.
_SIDECAR_LIMITS = {"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "100Mi"}


class GpuPodOperator(KubernetesPodOperator):  # type: ignore[misc]  # untyped
    """A pod with the resources, GPUs, tolerations and security of a compute profile.

    Everything else is Airflow's KubernetesPodOperator, whose import takes 1.6 s and loads the Kubernetes client; only
    DAG files that use it pay for that. Let the command write its results to the artifact store or another place: there
    is no XCom sidecar unless ``do_xcom_push=True``.

    A pod that fails, is evicted, loses its node or does not start ends the task with `JobFailed`, whose reason is a row
    of the failure table: ``retry_policy=GpuRetryPolicy()`` retries what can succeed, with more memory if the profile
    allows it. The profile says how long the pod may wait for a node, and then for its image.

    Retry: continues with the previous try's pod if it still runs or has succeeded in the meantime. Clear, kill,
    timeout: deletes the pod. The end of the worker does not delete it, as long as the task has a try left to continue.

    Args:
        compute: Name of a profile of kind ``kubernetes``, or `airflow_ml.profile` for one with changes.
        image: Default: the profile's.
        cmds, arguments: Default: the image's own.
        kwargs: Arguments of KubernetesPodOperator. They take precedence over the profile, but cannot loosen its
            security: an image without a digest, root, privileges, the node's network or folders, and a secret as a
            plain variable are refused.

    Raises:
        ConfigurationError: the profile is of another kind, cannot work, or does not allow what is given.
        JobFailed: the pod failed; the message has the reason and the remedy.
    """

    def __init__(self, *, compute: Any, image: str | None = None, do_xcom_push: bool = False, **kwargs: Any) -> None:
        split_compute(compute)  # a mistake shows when the DAG file is parsed
        self._given = frozenset(kwargs)
        super().__init__(image=image, do_xcom_push=do_xcom_push, **kwargs)
        self.compute = compute
        self._instance: Any = None

    @cached_property
    def pod_manager(self) -> PodEndManager:
        """What watches the pod."""
        return PodEndManager(kube_client=self.client, callbacks=self.callbacks)

    def build_pod_request_obj(self, context: Any = None, **kwargs: Any) -> Any:
        """Return the pod; the sidecar has limits as every container has, without which a quota refuses the pod.

        Raises:
            ConfigurationError: the operator's own arguments make it something that its profile does not allow.
        """
        from kubernetes.client import ApiClient

        pod = super().build_pod_request_obj(context, **kwargs)
        for container in pod.spec.containers:
            asked = container.resources
            if container.name == PodDefaults.SIDECAR_CONTAINER_NAME and not getattr(asked, "limits", asked):
                asked.limits = dict(_SIDECAR_LIMITS)
        self._check(ApiClient().sanitize_for_serialization(pod.spec))
        return pod

    def _check(self, spec: Mapping[str, Any]) -> None:
        where, options = f"The pod of {self.task_id}", kubernetes_options(self._taken)
        check_profile(replace(self._taken, image=self.image), where=where)
        broken = violations(spec, options.pod_security)
        if broken:
            raise ConfigurationError(
                f"{where} is not {options.pod_security}", "; ".join(broken), "Leave it out, or loosen the profile."
            )
        plain = [
            one["name"] for container in spec["containers"] for one in container.get("env") or () if "value" in one
        ]
        refuse_secrets(plain, where=where, remedy="Name a secret of the namespace, by secrets of the profile.")

    def execute(self, context: Any) -> Any:
        """Take the profile of this deployment and run the pod."""
        self._instance = context["ti"]
        with failing_at_once():
            self._take(attempt_profile(self._profile(), context))
        try:
            return super().execute(context)
        except ConfigurationError as error:
            raise AirflowFailException(f"ConfigurationError: {error}") from error

    def defer(self, *, trigger: Any, **kwargs: Any) -> Any:
        """Defer with a trigger that asks for the task's state before it deletes the pod."""
        super().defer(trigger=GpuPodTrigger(**trigger.serialize()[1]), **kwargs)

    def trigger_reentry(self, context: Any, event: Any) -> Any:
        """Go on after a deferral with the same connection and namespace."""
        self._instance = context["ti"]
        self._take(attempt_profile(self._profile(), context))
        try:
            return super().trigger_reentry(context, event)
        except PodNotFoundException as error:
            gone = SimpleNamespace(metadata=SimpleNamespace(name=event["name"], namespace=event["namespace"]))
            found = failure_of(self.pod_manager, gone) or Failure(reason="lost", message=str(error))
            raise self._failed(found, str(event["name"])) from error

    def get_or_create_pod(self, pod_request_obj: Any, context: Any) -> Any:
        """Return the pod of the try before, or a new one.

        Airflow takes over one that runs, and repeats the work of one that ended well while nobody looked, for its XCom.

        Raises:
            JobFailed: the cluster refuses the pod.
        """
        from kubernetes.client.exceptions import ApiException

        if self.reattach_on_restart and not self.do_xcom_push:
            found = self.find_pod(pod_request_obj.metadata.namespace, context=context)
            if found is not None and found.status.phase == PodPhase.SUCCEEDED:
                self.log.info("Pod %s has succeeded in the meantime: it is not run again", found.metadata.name)
                return found
        try:
            return super().get_or_create_pod(pod_request_obj, context)
        except ApiException as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            raise self._failed(refusal, pod_request_obj.metadata.name) from error

    def rendered(self, profile: ComputeProfile) -> dict[str, Any]:
        """Return the pod as plain data, without any cluster; templates are as they are written."""
        from kubernetes.client import ApiClient

        self._take(profile)
        self.random_name_suffix = False
        wire: dict[str, Any] = ApiClient().sanitize_for_serialization(self.build_pod_request_obj(dry_run=True))
        return wire

    def on_kill(self) -> None:
        """Delete the pod, unless only the worker is told to end: the task's next try goes on with the pod then."""
        if not _timed_out() and will_be_tried_again(self._instance, self.log):
            self.log.warning("The task, or its next try, goes on: its pod is kept")
            return
        super().on_kill()

    def cleanup(self, pod: Any, remote_pod: Any, xcom_result: Any = None, context: Any = None) -> None:
        """Delete the pod, and raise where it failed: with the reason, asked before it is gone."""
        found = failure_of(self.pod_manager, remote_pod) if remote_pod and not self._killed else None
        try:
            super().cleanup(pod, remote_pod, xcom_result, context)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            if found is None:
                raise
            raise self._failed(found, remote_pod.metadata.name) from error

    def _failed(self, found: Failure, name: str) -> JobFailed:
        may_grow = grown(self._profile()) is not None
        return job_failed((index_failure(found, 0, name),), indexes=1, may_grow=may_grow)

    def _profile(self) -> ComputeProfile:
        profile = compute_profile(self.compute)
        if profile.kind != "kubernetes":
            raise ConfigurationError(
                "GpuPodOperator needs a profile of kind kubernetes",
                f"{profile.name!r} is of kind {profile.kind}",
                "Name another profile, or set [ml] compute_profiles on this deployment.",
            )
        return profile

    def _take(self, profile: ComputeProfile) -> None:
        self._taken = profile
        options = kubernetes_options(profile)
        template: Any = pod_template(profile, container=self.base_container_name)
        self.pod_template_dict = {"apiVersion": "v1", "kind": "Pod", **template}
        taken = {
            "namespace": options.namespace,
            "kubernetes_conn_id": options.conn_id,
            "schedule_timeout_seconds": math.ceil(options.schedule_timeout_seconds),
            "startup_timeout_seconds": math.ceil(options.start_timeout_seconds),
            "termination_message_policy": template["spec"]["containers"][0]["terminationMessagePolicy"],
            # Airflow's own sidecar has no security context, and a restricted namespace refuses the pod.
            "xcom_sidecar_container_security_context": template["spec"]["containers"][0]["securityContext"],
        }
        for name, value in taken.items():
            if name not in self._given:
                setattr(self, name, value)
        self.image: str | None = self.image or profile.image


def _timed_out() -> bool:
    """Whether this is called for the end of ``execution_timeout``, by which the task's state is still ``running``."""
    return isinstance(sys.exc_info()[1], AirflowTaskTimeout)
