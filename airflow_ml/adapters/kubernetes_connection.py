"""A connection to a cluster outside of Airflow: by the user's kubeconfig, or by the account of the pod that this is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_ml.errors import BackendUnavailable, MissingDependency

_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    status: int
    body: Any


class KubeconfigApi:
    """Requests as plain JSON.

    Args:
        context: Of the kubeconfig; None for its current one.

    Raises:
        MissingDependency: the package kubernetes is not installed.
        BackendUnavailable: there is neither a kubeconfig nor a pod's account.
    """

    def __init__(self, context: str | None = None) -> None:
        try:
            from kubernetes import client, config
        except ImportError as error:
            raise MissingDependency(
                "Asking a cluster needs a package that is not installed",
                "kubernetes",
                "Install airflow-ml[kubernetes].",
            ) from error
        settings = client.Configuration()
        try:
            config.load_config(context=context, client_configuration=settings)
        except Exception as error:
            raise BackendUnavailable(
                "No cluster is configured here", f"{type(error).__name__}: {error}", "Set KUBECONFIG."
            ) from error
        settings.retries = 1
        self._client = client.ApiClient(settings)

    def call(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None) -> Answer:
        """Make a request and return the answer, whatever its status.

        Raises:
            BackendUnavailable: there is none.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            data, status, _ = self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                response_types_map=dict.fromkeys((200, 201, 202), "object"),
                _request_timeout=_TIMEOUT_SECONDS,
            )
            return Answer(int(status), data)
        except ApiException as error:
            return Answer(int(error.status or 0), _json(error.body))
        except (HTTPError, OSError) as error:
            raise BackendUnavailable(
                "The Kubernetes API cannot be reached", f"{type(error).__name__}: {error}", "Check the kubeconfig."
            ) from error


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if text else {}
    except (TypeError, ValueError):
        return str(text)
