"""``GpuPodOperator``: any image and command in a pod as a compute profile describes it.

Importing this module imports Airflow's KubernetesPodOperator; ``from airflow_ml import GpuPodOperator`` does so where
the name is used, and nothing else of the package does it at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

from airflow_ml.core.compute import split_compute
from airflow_ml.core.pod_template import kubernetes_options, pod_template
from airflow_ml.errors import ConfigurationError
from airflow_ml.hooks.compute import compute_profile
from airflow_ml.operators.base import failing_at_once

if TYPE_CHECKING:
    from airflow_ml.core.compute import ComputeProfile


class GpuPodOperator(KubernetesPodOperator):  # type: ignore[misc]  # untyped
    """A pod with the resources, GPUs, tolerations and security of a compute profile.

    Everything else is Airflow's KubernetesPodOperator, whose import takes 1.6 s and loads the Kubernetes client; only
    DAG files that use it pay for that. Results belong into the artifact store or another place that the command writes
    to: there is no XCom sidecar unless ``do_xcom_push=True`` asks for it.

    Retry: goes on with the pod of the try before, where that still runs. Clear, kill, timeout: deletes the pod.

    Args:
        compute: Name of a profile of kind ``kubernetes``, or `airflow_ml.profile` for one with changes.
        image: Default: the profile's.
        cmds, arguments: Default: the image's own.
        kwargs: Arguments of KubernetesPodOperator; what is given there wins over the profile.

    Raises:
        ConfigurationError: the profile is of another kind, or cannot work.
    """

    def __init__(self, *, compute: Any, image: str | None = None, do_xcom_push: bool = False, **kwargs: Any) -> None:
        split_compute(compute)  # a mistake shows when the DAG file is parsed
        self._given = {"namespace", "kubernetes_conn_id"} & set(kwargs)
        super().__init__(image=image, do_xcom_push=do_xcom_push, **kwargs)
        self.compute = compute

    def execute(self, context: Any) -> Any:
        """Take the profile of this deployment and run the pod."""
        with failing_at_once():
            self._take(self._profile())
        return super().execute(context)

    def trigger_reentry(self, context: Any, event: Any) -> Any:
        """Go on after a deferral with the same connection and namespace."""
        self._take(self._profile())
        return super().trigger_reentry(context, event)

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
        options = kubernetes_options(profile)
        template = pod_template(profile, container=self.base_container_name)
        self.pod_template_dict = {"apiVersion": "v1", "kind": "Pod", **template}
        if "namespace" not in self._given:
            self.namespace = options.namespace
        if "kubernetes_conn_id" not in self._given:
            self.kubernetes_conn_id = options.conn_id
        self.image: str | None = self.image or profile.image
