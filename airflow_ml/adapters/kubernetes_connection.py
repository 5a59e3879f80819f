"""A connection to a cluster outside of Airflow: by the user's kubeconfig, or by the account of the pod that this is."""

from __future__ import annotations

import os
from pathlib import Path

from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.errors import BackendUnavailable, MissingDependency

#: For somebody who waits at a terminal.
_DEADLINE_SECONDS = 15.0


def open_cluster(context: str | None = None) -> KubernetesApi:
    """Return the connection.

    Args:
        context: Of the kubeconfig; None for its current one.

    Raises:
        MissingDependency: the package kubernetes is not installed.
        BackendUnavailable: there is neither a kubeconfig nor a pod's account.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise MissingDependency(
            "A cluster needs a package that is not installed", "kubernetes", "Install airflow-ml[kubernetes]."
        ) from error
    settings = client.Configuration()
    path = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    try:
        if any(Path(part).is_file() for part in path.split(os.pathsep)):
            config.load_kube_config(config_file=path, context=context, client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
    except Exception as error:
        raise BackendUnavailable(
            "No cluster is configured here", f"{type(error).__name__}: {error}", "Set KUBECONFIG."
        ) from error
    return KubernetesApi(client.ApiClient(settings), deadline_seconds=_DEADLINE_SECONDS)
