"""The backend that runs a compute profile or a submitted job, opened through Airflow connections."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING, Any

from airflow_ml.core.compute_choice import BATCH, KUBERNETES
from airflow_ml.errors import ConfigurationError, MissingDependency
from airflow_ml.hooks import store as store_hook
from airflow_ml.hooks.connection import get_connection

if TYPE_CHECKING:
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.core.job import JobHandle
    from airflow_ml.core.ports import ArtifactStore, JobBackend
    from airflow_ml.runtime.remote_job import RemoteJobs

_FORGET_SECONDS = 60.0
_forgotten_at = float("-inf")
#: A kubeconfig is read into the client library's one default, and taken from there: two at once would get each other's
#: cluster, in which their jobs are not to be found.
_connecting = threading.Lock()


def remote_jobs() -> RemoteJobs:
    """Return what leads remote jobs in this deployment's store."""
    from airflow_ml.runtime.remote_job import RemoteJobs  # not while a DAG file is parsed

    return RemoteJobs(_store(store_hook.store_uri()), job_backend)


def job_backend(place: ComputeProfile | JobHandle) -> JobBackend:
    """Return the backend that a profile means, or that a handle came from.

    One process has one backend for each connection: a thousand triggers share its client.

    Raises:
        ConfigurationError: a profile that does not run elsewhere.
        MissingDependency: the provider of its platform is not installed.
    """
    from airflow_ml.core.job import JobHandle

    if isinstance(place, JobHandle):
        return _open(place.kind, place.place.get("conn_id", ""), place.place.get("region", ""))
    if place.kind == KUBERNETES:
        from airflow_ml.core.pod_template import kubernetes_options

        return _open(KUBERNETES, kubernetes_options(place).conn_id, "")
    if place.kind == BATCH:
        from airflow_ml.core.batch_request import batch_options

        options = batch_options(place)
        return _open(BATCH, options.conn_id, options.region or "")
    raise ConfigurationError(
        f"The compute profile {place.name!r} runs beside its task", place.kind, "There is no remote job to look for."
    )


def forget_backends(*, at_once: bool = False) -> None:
    """Reopen connections from now on, at most once a minute: one does not answer, and may have been changed.

    Args:
        at_once: However often it is asked.
    """
    global _forgotten_at
    if at_once or time.monotonic() - _forgotten_at >= _FORGET_SECONDS:
        _forgotten_at = time.monotonic()
        _open.cache_clear()
        _store.cache_clear()


@functools.lru_cache(maxsize=4)
def _store(uri: str) -> ArtifactStore:
    """Return the store, one for a process: a client of S3 takes megabytes, and a triggerer has a thousand triggers."""
    return store_hook.artifact_store()


@functools.lru_cache(maxsize=32)
def _open(kind: str, conn_id: str, region: str) -> JobBackend:
    if kind == KUBERNETES:
        from airflow_ml.adapters.kubernetes import KubernetesJobs
        from airflow_ml.adapters.kubernetes_api import KubernetesApi

        return KubernetesJobs(KubernetesApi(functools.partial(_kubernetes_client, conn_id)), conn_id=conn_id)
    if kind == BATCH:
        from airflow_ml.adapters.batch import BatchJobs
        from airflow_ml.adapters.batch_api import BatchApi

        return BatchJobs(BatchApi(functools.partial(_aws_client, conn_id, region)), conn_id=conn_id, region=region)
    raise ConfigurationError("No backend of that kind", repr(kind), f"Use {KUBERNETES!r} or {BATCH!r}.")


def _kubernetes_client(conn_id: str) -> Any:
    try:
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
        from kubernetes.config import ConfigException
    except ImportError as error:
        raise MissingDependency(
            "Compute on Kubernetes needs a package that is not installed",
            "apache-airflow-providers-cncf-kubernetes",
            "Install airflow-ml[kubernetes] on workers and triggerers.",
        ) from error
    if conn_id != KubernetesHook.default_conn_name:  # without that one the cluster is the one that Airflow runs in
        get_connection(conn_id, conn_type="kubernetes")
    try:
        with _connecting:
            return KubernetesHook(conn_id=conn_id).get_conn()
    except ConfigException as error:
        raise ConfigurationError(
            "The Airflow connection opens no cluster",
            f"{conn_id}: {error}",
            "Where Airflow does not run in the cluster, its extra needs kube_config or kube_config_path.",
        ) from error


def _aws_client(conn_id: str, region: str, service: str) -> Any:
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
        from botocore.config import Config  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependency(
            "Compute on AWS Batch needs a package that is not installed",
            "apache-airflow-providers-amazon",
            "Install airflow-ml[amazon] on workers and triggerers.",
        ) from error
    from airflow_ml.adapters.batch_api import CLIENT_SETTINGS

    if conn_id != AwsBaseHook.default_conn_name:  # without that one boto3 finds credentials by itself
        get_connection(conn_id, conn_type="aws")
    hook: Any = AwsBaseHook(aws_conn_id=conn_id, client_type=service, region_name=region or None)
    return hook.get_client_type(region_name=hook.region_name, config=hook.config.merge(Config(**CLIENT_SETTINGS)))
